// The camera, with the readers themselves: QR at once, OCR and NW-7 after two equal reads, what two
// readers disagree about not at all.  Then the same page with readers that follow a script, so that
// what depends on timing happens each time: a number is gone at once, and read again it is a question.
import path from "node:path";
import { Stack, Tablet, equal, finish, look, ok, until } from "./lib.mjs";
import { blank, film, nw7, pages, print, qr } from "./lib.film.mjs";

const stack = await Stack.start({ "tablet-api": { again_window_s: 600 } });
const line = n => `21131032${stack.samples[n].coupon_number}`;
const doses = async n => (await stack.do("doses", { coupon: stack.samples[n].coupon_number })).doses;

const [plain] = pages(1900000321, 1, "good"); // a municipality that exists
const [other] = pages(1900000302, 1, "good");
const both = print(Buffer.from(other.grey), await qr(line(2)), { x: 40, y: 30, size: 7 });
const scenes = [
  { grey: blank(), seconds: 0.8 },
  { grey: print(blank(), await qr(line(0)), { x: 520, y: 250, size: 8, turn: 0.1 }), seconds: 1.5 },
  { grey: blank(), seconds: 0.8 },
  { grey: print(blank(), nw7(line(1)), { x: 220, y: 300, size: 3, turn: 0.03 }), seconds: 2.2 },
  { grey: blank(), seconds: 0.8 },
  { grey: print(blank(), nw7(stack.samples[3].coupon_number), { x: 350, y: 300, size: 3 }), seconds: 1.5 },
  { grey: blank(), seconds: 0.8 },
  { grey: plain.grey, seconds: 2.2 },
  { grey: blank(), seconds: 0.8 },
  { grey: both, seconds: 1.5 },
];
const video = path.join(stack.home, "codes.mjpeg");
film(video, scenes);
const tablet = new Tablet(stack, "tablet-1", { video });

/** In the page: what the readers saw, picture by picture, and what the page made of it. */
function watch() {
  window.pictures = [];
  const Real = Worker;
  window.Worker = class extends Real {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => data.reads && window.pictures.push(data.reads));
    }
  };
  window.asked = []; // {digits, pictures before}
  window.refused = new Set();
  setInterval(() => {
    for (const e of document.querySelectorAll(".result .card.amber ul .digits [aria-hidden]"))
      window.refused.add(e.textContent.replaceAll("-", ""));
    const yes = document.getElementById("yes");
    if (!yes) return;
    window.asked.push({ digits: document.querySelector(".digits.big [aria-hidden]").textContent.replaceAll("-", ""), after: window.pictures.length });
    yes.click();
  }, 20);
}

/** In the page: readers that see what the test puts into window.view, and sealing that waits for window.gate. */
function script() {
  window.view = [];
  window.seen = 0;
  window.Worker = class {
    postMessage({ id, bitmap }) {
      bitmap.close();
      const reads = window.view;
      setTimeout(() => {
        window.seen++;
        this.onmessage?.({ data: { id, reads, why: "", ms: 1 } });
      }, 10);
    }
    terminate() {
      this.onmessage = null;
    }
  };
  const real = crypto.subtle.generateKey.bind(crypto.subtle);
  crypto.subtle.generateKey = async (...args) => {
    await window.gate;
    return real(...args);
  };
}

async function readers() {
  const p = await tablet.open();
  await p.addInitScript(watch);
  const posted = [];
  p.on("request", r => {
    if (r.method() === "POST" && /\/v1\/doses$/.test(r.url())) posted.push(r.postDataJSON());
  });
  await tablet.go();
  await tablet.logIn("site-1");
  await tablet.setUp();
  const total = scenes.reduce((s, x) => s + x.seconds, 0);
  ok(await until(async () => p.evaluate(d => window.refused.has(d), line(2)), 3 * total), "QR and OCR that differ in one view: refused");
  ok(await p.evaluate(d => window.refused.has(d), other.printed), "and both numbers are shown");
  const asked = await p.evaluate(() => window.asked);
  const before = d => p.evaluate(([d, n]) => window.pictures.slice(0, n).filter(reads => reads.some(r => r.digits === d)).length,
    [d, asked.find(a => a.digits === d)?.after ?? 0]);
  equal(asked.map(a => a.digits), [line(0), line(1), plain.printed], "QR, NW-7 and OCR line are read, once each, and nothing else");
  equal(await before(line(0)), 1, "QR at once");
  ok(await before(line(1)) === 2, "NW-7 after two equal reads", await before(line(1)));
  ok(await before(plain.printed) === 2, "the OCR line after two equal reads", await before(plain.printed));
  ok(await until(async () => (await tablet.unsent()) === 0), "all are sent");
  equal(posted.map(d => [d.ocr_line, d.read_by, d.confirmed_again]),
    [[line(0), "qr", undefined], [line(1), "nw7", undefined], [plain.printed, "ocr", undefined]],
    "each with its reader, and none as a repetition that a person meant");
  await tablet.close();
}

async function scripted() {
  const p = await tablet.open();
  await p.addInitScript(script);
  await tablet.go();
  await tablet.logIn("site-1");
  if (await p.locator("#product").count()) await tablet.setUp();
  const show = (...reads) => p.evaluate(view => { window.view = view; }, reads.map(digits => ({ by: "ocr", digits })));
  const frames = n => p.evaluate(n => { window.until = window.seen + n; }, n).then(() => p.waitForFunction(() => window.seen >= window.until));
  /** Longer out of view than the policy needs to call it gone. */
  const away = async () => {
    await show();
    const from = await p.evaluate(() => performance.now());
    await frames(4);
    await p.waitForFunction(t => performance.now() - t > 700, from);
    await frames(1);
  };
  const hold = () => p.evaluate(() => { window.gate = new Promise((go, no) => Object.assign(window, { go, no })); });
  const release = () => p.evaluate(() => window.go());

  await hold(); // the machine is busy: nothing gets as far as the disk
  await show(line(4));
  await p.waitForSelector("#yes");
  equal(await p.locator(".warn b").count(), 0, "the first time it is no repetition");
  await p.waitForTimeout(800); // the person looks at the paper, longer than a coupon needs to be gone
  await show();
  await p.click("#yes");
  equal(await p.locator(".digits.big").count(), 0, "the number is gone at once");
  await frames(3);
  await show(line(4));
  await frames(5);
  equal(await p.locator("#yes").count(), 0, "missed for three pictures after the question, it is still in view: ignored");
  await away();
  await show(line(4));
  await p.waitForSelector("#yes");
  equal(await p.locator(".warn b").count(), 1, "away and read anew before the first is even on disk: a question");
  ok(await p.evaluate(() => document.activeElement.id === "no"), "whose safe answer has the focus");
  await show();
  await p.click("#no");
  await p.fill("#line", line(4));
  await p.press("#line", "Enter");
  await p.waitForSelector("#yes");
  equal(await p.locator(".warn b").count(), 1, "and so it is when it is typed");
  await p.click("#no");
  await release();
  ok(await until(async () => (await tablet.unsent()) === 0 && (await p.locator(".mark.green").count()) === 1), "the first is recorded");
  equal((await doses(4)).length, 1, "once");

  await p.fill("#line", line(5));
  await p.press("#line", "Enter");
  await p.evaluate(() => {
    const yes = document.getElementById("yes") ?? { click() {} };
    yes.click();
    yes.click();
  });
  ok(await until(async () => (await doses(5))?.length === 1 && (await tablet.unsent()) === 0), "two taps on one button: one dose");
  equal(await p.locator("#count").innerText(), "5", "and one coupon in the count");

  // What this tablet forgot in a restart, the server asks.
  await p.reload();
  await p.waitForSelector("html[data-ready]");
  await tablet.logIn("site-1");
  await tablet.read(line(5));
  await p.waitForSelector(".attention");
  await p.getByRole("button", { name: "記録と枚数" }).click();
  ok(/数秒前/.test(await p.innerText(".card.red")), "the server's question stands in 要対応", await p.innerText("main"));
  await look(p, "24-asked-by-the-server");
  await p.getByRole("button", { name: "同じ券で間違いない" }).click();
  ok(await until(async () => (await p.locator(".attention").count()) === 0 && /登録済み（同じ記録/.test(await p.innerText(".rows"))),
    "a person answers it: the same record", await p.innerText("main"));

  // Undone, and read again: meant, by all who might ask.
  await p.getByRole("button", { name: "読み取り", exact: true }).click();
  await tablet.read(line(6));
  ok(await until(async () => (await doses(6))?.length === 1), "recorded");
  await p.getByRole("button", { name: "記録と枚数" }).click();
  await p.getByRole("button", { name: "取り消す" }).first().click();
  await p.locator(".card.amber button.main").click();
  await until(async () => /取り消しました/.test(await p.innerText(".rows")));
  await p.getByRole("button", { name: "読み取り", exact: true }).click();
  await p.fill("#line", line(6));
  await p.press("#line", "Enter");
  await p.waitForSelector("#yes");
  equal(await p.locator(".warn b").count(), 0, "undone and read again is no question");
  await p.click("#yes");
  ok(await until(async () => (await doses(6)).map(d => d.state).join() === "review"), "and goes to the municipality, which looks at it");

  // A tablet that cannot keep it says so, with the number.
  await hold();
  await tablet.read(line(7));
  await p.evaluate(() => window.no(new Error("disk full")));
  await p.waitForSelector(".card.red");
  ok(/保管できませんでした/.test(await p.innerText(".card.red")) && (await p.innerText(".card.red")).includes(stack.samples[7].coupon_number),
    "what could not be kept is shown again, in red");
  await look(p, "25-not-kept");
  await p.evaluate(() => { window.gate = null; });
  await p.fill("#line", line(7));
  await p.press("#line", "Enter");
  await p.waitForSelector("#yes");
  equal(await p.locator(".warn b").count(), 0, "and may be read again without a question");
  await p.click("#yes");
  ok(await until(async () => (await doses(7))?.length === 1), "then it is recorded");
}

try {
  await readers();
  await scripted();
  equal(tablet.errors, [], "no error in the page");
} finally {
  await tablet.remove();
  await stack.stop();
}
finish();
