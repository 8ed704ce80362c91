// What goes wrong at a site: the server dies, an answer is lost, the tablet restarts without network,
// the session ends, the terminal is revoked.  Nothing is lost and nothing is doubled, as the
// municipality sees it.
import fs from "node:fs";
import path from "node:path";
import { Stack, Tablet, axe, equal, finish, look, ok, until } from "./lib.mjs";

const stack = await Stack.start({ "tablet-api": { answer_wait_ms: 5000 } });
const one = new Tablet(stack, "tablet-1"), two = new Tablet(stack, "tablet-2");
const line = n => `21131032${stack.samples[n].coupon_number}`;
const states = async n => ((await stack.do("doses", { coupon: stack.samples[n].coupon_number })).doses ?? []).map(d => d.state);
const kept = async n => until(async () => (await one.unsent()) === n);
/** What is said before a reading is confirmed; it is not.  `wanted` is waited for. */
async function words(p, digits, wanted) {
  await p.fill("#line", digits);
  await p.press("#line", "Enter");
  await p.waitForSelector("#yes");
  const there = async () => wanted.test(await p.innerText(".result"));
  await (wanted ? until(there) : p.waitForTimeout(300)); // a look into the filter is no request
  const text = await p.innerText(".result");
  await p.click("#no");
  return text;
}
const filters = p => p.evaluate(async () => {
  const db = await new Promise(r => { const o = indexedDB.open("vrs-tablet"); o.onsuccess = () => r(o.result); });
  const n = await new Promise(r => { const c = db.transaction("filters").objectStore("filters").count(); c.onsuccess = () => r(c.result); });
  db.close();
  return n;
});
try {
  await stack.do("setting", { name: "coupon_filter", value: 1 });
  const p = await one.open();
  await one.go();
  stack.users["site-lead"] = (await stack.do("supervisor", { user: "site-lead" })).password;
  await one.logIn("site-1");
  await one.setUp();
  const handOver = () => p.getByRole("button", { name: "交代・終了" }).click();
  const next = () => p.getByRole("button", { name: "終了して次の人に渡す" }).click();
  await handOver();
  equal(await p.locator("#code").count(), 0, "who has no right to it sets no code for work without network");
  ok(/権限のある責任者/.test(await p.innerText("main")), "and is told who does");
  await axe(p, "hand-over");
  await next();
  await until(async () => { // known here as soon as the next snapshot is
    await p.fill("#user", "site-lead");
    await p.fill("#password", stack.users["site-lead"]);
    await p.click("button.main");
    await p.waitForSelector("#product, [role=alert]:not(:empty)");
    return (await p.locator("#product").count()) > 0;
  }, 30);
  await one.setUp();
  await handOver();
  await p.fill("#code", "kaijo-12345");
  await p.fill("#again", "kaijo-12345");
  await p.getByRole("button", { name: "解錠コードを設定する" }).click();
  await p.getByText("設定しました。").waitFor();
  await look(p, "21-unlock-set");
  await next();
  await one.logIn("site-1");
  await one.setUp();

  // A refused one, for later: nothing but a log-in may touch it.
  await one.read("219999970000000001");
  await p.waitForSelector(".attention");

  ok(await until(async () => (await filters(p)) === 1, 20), "the municipality's coupon filter is loaded");

  // An answer that is lost: committed, then the connection breaks before the outcome is told.
  await stack.do("stop", { name: "vrs-server" });
  await one.read(line(0));
  await p.waitForTimeout(700); // on its way, and parked
  await stack.do("kill", { name: "tablet-api" });
  equal(await one.unsent(), 1, "lost answer: the reading stays");
  await stack.do("go_on", { name: "vrs-server" });

  // The server is dead, and says nothing.
  ok(await until(async () => /つながっていません/.test(await p.innerText(".notices"))), "dead server: said in words");
  await one.read(line(1));
  ok(await kept(2), "dead server: two wait, and it shows");
  ok(/送信を待っています/.test(await p.innerText(".result")), "amber with words while it waits");
  equal(await p.locator(".mark.green").count(), 0, "nothing is green without a receipt");
  await look(p, "26-without-server");
  const unknown = /発行済みの一覧（.*時点）にありません。番号を確かめてください/;
  ok(unknown.test(await words(p, "211310325999999999", unknown)),
    "a number that was not issued: a warning without network");
  ok(!/発行済みの一覧/.test(await words(p, line(5))), "an issued one: none");

  // The session is gone with the server.
  await stack.do("restart", { name: "tablet-api" });
  await p.getByText("ログインの有効時間が過ぎました").waitFor({ timeout: 40000 });
  equal(await one.unsent(), 2, "expired session: everything is kept");
  await look(p, "27-session-ended");
  await p.getByRole("button", { name: "ログインし直す" }).click();
  await one.logIn("site-1");
  ok(await kept(0), "after the log-in both are sent");
  equal([await states(0), await states(1)], [["recorded"], ["recorded"]], "one dose each in the municipality's records");

  // Restart of the tablet without network.
  await stack.do("kill", { name: "tablet-api" });
  await one.read(line(2));
  ok(await kept(1), "kept without network");
  await one.close();
  const q = await one.open();
  await one.go();
  ok(await q.locator("h1").innerText() === "ログイン", "the app starts without network");
  equal(await one.unsent(), 1, "and the reading is still there");
  await q.fill("#code", "falsch-000");
  await q.getByRole("button", { name: "読み取りを続ける" }).click();
  ok(/解錠コードが違います/.test(await q.locator("[role=alert]", { hasText: "解錠" }).innerText()), "a wrong code opens nothing");
  await look(q, "15-unlock");
  await q.fill("#code", "kaijo-12345");
  await q.getByRole("button", { name: "読み取りを続ける" }).click();
  await q.waitForSelector("#line");
  ok(unknown.test(await words(q, "211310325999999999", unknown)), "the filter is there after a restart");
  await one.read(line(3));
  ok(await kept(2), "the unlock fills the outbox");
  const there = async name => (await q.getByRole("button", { name }).count()) > 0;
  ok(!(await there("ワクチン・会場")) && !(await there("接種前の確認")), "and nothing else: no other vaccine");
  await q.getByRole("button", { name: "記録と枚数" }).click();
  ok(/存在しない自治体コード/.test(await q.innerText(".card.red")), "what was refused is still there after the restart");
  ok(!(await there("取り消す")) && !(await there("取り下げ")) && !(await there("直して登録")) && !(await there("まとめて訂正")),
    "nothing undone, mended or thrown away", await q.innerText("main"));
  await look(q, "28-unlocked-records");
  await q.getByRole("button", { name: "交代・終了" }).click();
  equal(await q.locator("#code").count(), 0, "and no new code");
  const asksForCode = async days => { // in another tab, so many days later
    const tab = await one.context.newPage();
    await tab.addInitScript(ms => {
      const now = Date.now;
      Date.now = () => now() + ms;
    }, days * 86400000);
    await tab.goto(stack.url + "/");
    await tab.waitForSelector("html[data-ready]");
    const asks = (await tab.locator("#code").count()) > 0;
    await tab.close();
    return asks;
  };
  equal([await asksForCode(6.9), await asksForCode(7.1), await asksForCode(6.9)], [true, false, false],
    "the code ends after seven days, and does not come back when the clock is set back");
  const requests = await q.evaluate(() => performance.getEntriesByType("resource").filter(e => /\/v1\//.test(e.name)).map(e => e.name.replace(/.*\/v1/, "/v1")));
  equal([...new Set(requests)].sort(), ["/v1/app-state", "/v1/vaccines"], "nothing was sent or asked");
  const stored = await q.evaluate(async () => {
    const found = [];
    for (const { name } of await indexedDB.databases()) {
      const db = await new Promise(r => { const o = indexedDB.open(name); o.onsuccess = () => r(o.result); });
      for (const s of db.objectStoreNames)
        found.push(await new Promise(r => { const g = db.transaction(s).objectStore(s).getAll(); g.onsuccess = () => r(g.result); }));
    }
    return JSON.stringify(found);
  });
  ok([0, 1, 2, 3].every(n => !stored.includes(stack.samples[n].coupon_number)), "no coupon number is stored in the clear");
  ok(stored.includes("sealed"), "control: the look finds the sealed ones");
  await stack.do("restart", { name: "tablet-api" });
  await q.getByRole("button", { name: "ログインする" }).click();
  await one.logIn("site-1");
  ok(await kept(0), "after the log-in the sealed readings are relayed");
  ok(await until(async () => (await states(2)).length === 1 && (await states(3)).length === 1), "and arrive");
  equal([await states(2), await states(3)], [["recorded"], ["recorded"]], "once each");

  // A revoked terminal, with a reading that waits; a second tablet brings it.
  const r = await two.open();
  await two.go();
  await two.logIn("site-2");
  await two.setUp();
  await r.waitForFunction(() => navigator.serviceWorker.controller !== null || navigator.serviceWorker.ready);
  await stack.do("kill", { name: "tablet-api" });
  await two.read(line(4));
  ok(await until(async () => (await two.unsent()) === 1), "the second tablet keeps one");
  await r.getByRole("button", { name: "交代・終了" }).click();
  ok(await r.getByRole("button", { name: "終了して次の人に渡す" }).isDisabled(), "hand-over is blocked while one is unsent");
  await look(r, "16-handover-blocked");
  await stack.do("restart", { name: "tablet-api" });
  await stack.do("control", { verb: "terminal.revoke", name: "tablet-2" });
  await until(async () => {
    await r.reload();
    return /利用を停止/.test(await r.locator("h1").innerText().catch(() => ""));
  }, 20);
  ok(/通信の障害ではありません/.test(await r.innerText("main")), "revoked: says so, and that it is not the network", await r.innerText("body"));
  await axe(r, "revoked");
  equal(await two.unsent(), 1, "revoked: the reading is kept");
  await r.getByRole("button", { name: "記録と枚数" }).click();
  const [download] = await Promise.all([r.waitForEvent("download"), r.getByRole("button", { name: /ファイルに書き出す/ }).click()]);
  const file = path.join(stack.home, "handover.json");
  await download.saveAs(file);
  ok(!fs.readFileSync(file, "utf8").includes(stack.samples[4].coupon_number), "the file holds no number in the clear");
  await q.getByText("ログインの有効時間が過ぎました").waitFor({ timeout: 40000 }).catch(() => {});
  await one.go();
  await one.logIn("site-1");
  await q.getByRole("button", { name: "記録と枚数" }).click();
  await q.setInputFiles("#file", file);
  await q.getByText("1件を受け取りました").waitFor();
  ok(await kept(0), "the second tablet relays it");
  ok(await until(async () => (await states(4)).join() === "recorded"), "it is recorded, once", String(await states(4)));
  await q.setInputFiles("#file", file);
  await q.getByText("すべて受け取り済みの記録です").waitFor();
  equal([one.errors, two.errors], [[], []], "no error in the pages");
} finally {
  await one.remove();
  await two.remove();
  await stack.stop();
}
finish();
