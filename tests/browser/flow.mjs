// From the log-in to the receipt, by keyboard and scanner; what a page must and must not show.
import { Stack, Tablet, axe, equal, finish, ok, until } from "./lib.mjs";

const stack = await Stack.start();
const tablet = new Tablet(stack, "tablet-1");
try {
  const p = await tablet.open();
  await tablet.go();
  await axe(p, "log-in");
  await tablet.logIn("site-1");
  await axe(p, "product, lot, date, site");
  await tablet.setUp();
  const line = n => `21131032${stack.samples[n].coupon_number}`;
  await axe(p, "reading");
  await p.fill("#line", line(0).slice(0, 7) + "9");
  ok(/検査数字/.test(await p.innerText("#line-state")), "a wrong check digit is said while typing");
  await p.fill("#line", line(0).replace(/\d/g, d => String.fromCharCode(d.charCodeAt(0) + 0xfee0)));
  await p.press("#line", "Enter");
  await p.waitForSelector("#yes");
  ok((await p.innerText(".digits.big")).startsWith(`2-1-131032-${stack.samples[0].coupon_number}`), "full-width digits, shown as 1-1-6-10");
  await axe(p, "confirming");
  await p.keyboard.type(line(1)); // a scanner that did not wait
  await p.keyboard.press("Enter");
  await p.getByText("先にこの接種券の").waitFor();
  ok((await p.innerText(".digits.big")).startsWith(`2-1-131032-${stack.samples[0].coupon_number}`), "a scanner's Enter does not answer the question");
  await axe(p, "the next one too early");
  await p.press("#yes", "Enter");
  equal(await p.locator(".digits.big").count(), 0, "the number is gone at once");
  await p.waitForSelector(".mark.green");
  ok(/記録済み.*証明を確認済み/.test(await p.innerText(".mark.green")), "green with its receipt and proof", await p.innerText(".mark"));
  await p.focus("#line");
  await p.keyboard.type(`a${line(1)}a`);
  await p.keyboard.press("Enter");
  await p.waitForSelector("#yes");
  await p.click("#yes");
  await until(async () => (await p.locator(".mark.green").count()) === 1 && (await tablet.unsent()) === 0);
  const doses = [];
  for (const n of [0, 1]) doses.push((await stack.do("doses", { coupon: stack.samples[n].coupon_number })).doses);
  equal(doses.map(d => d.map(x => [x.lot, x.state])), [[["FF3620", "recorded"]], [["FF3620", "recorded"]]], "both stand in the municipality's records");
  await p.getByRole("button", { name: "記録と枚数" }).click();
  await axe(p, "records and count");
  ok(/受け付け済み\s*2 枚/.test(await p.innerText(".counts")), "today's count", await p.innerText(".counts"));
  await p.getByRole("button", { name: "取り消す" }).first().click();
  await p.locator(".card.amber button.main").click();
  await until(async () => /取り消しました/.test(await p.innerText(".rows")));
  equal((await stack.do("doses", { coupon: stack.samples[1].coupon_number })).doses.filter(d => d.state === "recorded").length, 0, "undone in the municipality's records");
  equal(tablet.errors, [], "no error in the page");
} finally {
  await tablet.remove();
  await stack.stop();
}
finish();
