// What a person is told in words before anything is sent: too soon, recorded already, moved out, misread,
// a wrong clock, a new version of the app; and the check before the shot.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { BUILD, Stack, Tablet, equal, finish, look, ok, until } from "./lib.mjs";

const app = fs.mkdtempSync(path.join(os.tmpdir(), "vrs-app-"));
fs.chmodSync(app, 0o755);
fs.cpSync(path.join(BUILD, "app"), app, { recursive: true });
const stack = await Stack.start({ "tablet-api": { app_dir: app, doctor_per_day: 12 } });
const line = (n, turn = 1) => `2${turn}131032${stack.samples[n].coupon_number}`;
const doses = async n => (await stack.do("doses", { coupon: stack.samples[n].coupon_number })).doses;
const tablet = new Tablet(stack, "tablet-1");
let p;

async function type(digits) {
  await p.fill("#line", digits);
  await p.press("#line", "Enter");
}

/** The question about these digits, once it says what is looked for. */
async function told(digits, words) {
  await type(digits);
  await p.waitForSelector("#yes");
  ok(await until(async () => words.test(await p.innerText(".result .card"))), `said before sending: ${words.source}`, await p.innerText(".result"));
}

async function reading() {
  await tablet.read(line(0));
  await until(async () => (await doses(0))?.length === 1);
  const sent = [];
  p.on("request", r => /\/v1\/doses/.test(r.url()) && r.method() === "POST" && sent.push(r.url()));
  await told(line(0, 2), /間隔が足りません。このワクチンの2回目は\d+年\d+月\d+日以降です/);
  await look(p, "17-too-soon");
  ok(await p.evaluate(() => document.activeElement.id === "no") && /それでも登録する/.test(await p.innerText("#yes")),
    "Enter alone is the safe answer then");
  await p.click("#no");
  await stack.do("move_out", { coupon: stack.samples[1].coupon_number, since: "2021-06-01" });
  await told(line(1), /転出しています/);
  await p.click("#no");
  await told("211310329999999999", /まだ自治体に登録されていません/);
  await p.click("#no");
  const misread = line(2).replace(/1(?=\d$)|4(?=\d$)/, c => (c === "1" ? "4" : "1")); // 1 and 4 are taken for each other
  const other = misread === line(2) ? line(2).slice(0, -1) + { 1: "4", 4: "1", 8: "3", 3: "8", 5: "6", 6: "5", 0: "8", 9: "8", 7: "1", 2: "7" }[line(2).at(-1)] : misread;
  await told(other, /登録のある似た番号です/);
  await look(p, "18-misread");
  equal(sent, [], "nothing was sent for any of them");
  const choices = await p.locator(".warn button").allInnerTexts();
  const right = choices.find(c => c.replaceAll("-", "") === line(2));
  ok(right, "the issued coupon is among them", String(choices));
  await p.getByRole("button", { name: right ?? choices[0], exact: true }).click();
  ok(await until(async () => (await p.innerText(".digits.big [aria-hidden]")).replaceAll("-", "") === line(2)), "chosen, it is asked about like any other");
  await p.click("#yes");
  ok(await until(async () => (await doses(2))?.length === 1), "and only then recorded");
}

async function beforeTheShot() {
  equal(await p.getByRole("button", { name: "接種前の確認" }).count(), 0, "the check before the shot is for sites that want it");
  await p.getByRole("button", { name: "ワクチン・会場" }).click();
  await p.check("#pre_shot");
  await p.click("button.main");
  await p.getByRole("button", { name: "接種前の確認" }).click();
  await look(p, "22-before-the-shot");
  await type(line(0, 2));
  ok(await until(async () => /これまで\s*1回[\s\S]*次は\s*2回目[\s\S]*次の接種ができる日\s*\d+年\d+月\d+日以降/.test(await p.innerText(".result"))),
    "doses so far, the next one and its first day", await p.innerText(".result"));
  ok(/間隔が足りません/.test(await p.innerText(".result")), "and that today is too soon");
  ok(!/登録する/.test(await p.innerText("main")), "nothing is recorded here");
  await look(p, "23-doses-so-far");
  await type(line(0));
  ok(await until(async () => /この接種券は1回目のものです。次は2回目です/.test(await p.innerText(".result"))), "a coupon of another turn is said to be one");
  await type(line(3));
  ok(await until(async () => /これまで\s*0回/.test(await p.innerText(".result"))), "somebody without doses");
  ok(!(await p.innerText(".result")).includes(stack.samples[0].coupon_number), "the one before is gone");
  await type("211310329999999999");
  ok(await until(async () => /自治体に登録されていません/.test(await p.innerText(".result"))), "an unknown one");
  await type("214620120009999995");
  ok(await until(async () => /別の自治体の接種券のため/.test(await p.innerText(".result"))), "another municipality's");
  for (let i = 0; i < 12; i++) {
    await type(line(i % 2 ? 3 : 4));
    await until(async () => /これまで\s*\d回|件数を超え/.test(await p.innerText(".result")));
  }
  ok(/今日確認できる件数を超えました/.test(await p.innerText(".result")), "a day has its limit, and it is said", await p.innerText(".result"));
  await p.getByRole("button", { name: "表示を消す" }).click();
  equal(await p.locator(".digits.big").count(), 0, "what was shown is gone on a word");
  await p.getByRole("button", { name: "読み取り", exact: true }).click();
}

/** The same app with another name on it, as a new release would be. */
function release(from, to, words) {
  fs.rmSync(app, { recursive: true });
  fs.cpSync(path.join(BUILD, "app"), app, { recursive: true });
  fs.chmodSync(app, 0o755);
  const old = fs.readdirSync(app).find(f => /^app-[0-9a-f]+\.js$/.test(f)), fresh = `app-${to}.js`;
  const edit = (file, change) => {
    fs.writeFileSync(path.join(app, file), change(fs.readFileSync(path.join(app, file), "utf8")));
    fs.rmSync(path.join(app, `${file}.gz`), { force: true });
  };
  edit(old, s => s.replaceAll(from, words));
  fs.renameSync(path.join(app, old), path.join(app, fresh));
  edit("index.html", s => s.replace(old, fresh));
  edit("sw.js", s => s.replaceAll(old, fresh).replace(/vrs-app-"\s*\+\s*"[0-9a-f]+"|vrs-app-[0-9a-f]+/, m => m.replace(/[0-9a-f]{16}/, to)));
}

async function newVersion() {
  await p.evaluate(() => navigator.serviceWorker.ready);
  await stack.do("kill", { name: "tablet-api" });
  await tablet.read(line(5));
  release("接種記録の読み取り", "0123456789abcdef", "接種記録の読み取り・新版");
  await stack.do("restart", { name: "tablet-api" });
  await p.reload({ waitUntil: "commit" });
  await p.waitForSelector("html[data-ready]");
  const offer = p.getByText("新しい版があります");
  await offer.waitFor();
  ok(!/新版/.test(await p.innerText("header")), "a new version is told, and not switched to");
  ok(/送り終えると切り替えられます/.test(await p.innerText(".notices")) && await p.getByRole("button", { name: "新しい版に切り替える" }).isDisabled(),
    "not before what waits is sent");
  await look(p, "20-new-version");
  await tablet.logIn("site-1");
  ok(await until(async () => (await tablet.unsent()) === 0), "sent after the log-in");
  await p.reload();
  await p.waitForSelector("html[data-ready]");
  await offer.waitFor();
  ok(!/新版/.test(await p.innerText("header")), "also the next start is the version that one knows");
  await p.getByRole("button", { name: "新しい版に切り替える" }).click();
  ok(await until(async () => /新版/.test(await p.innerText("header").catch(() => ""))), "on a word it is there");
  await p.waitForSelector("html[data-ready]");
  equal(await p.getByText("新しい版があります").count(), 0, "and offered no more");
}

/** In the page: a clock that is wrong. */
function shift(ms) {
  const Real = Date;
  window.Date = class extends Real {
    constructor(...a) {
      if (a.length) super(...a);
      else super(Real.now() + ms);
    }
    static now() {
      return Real.now() + ms;
    }
  };
}

async function clock() {
  const today = await p.evaluate(() => new Date(Date.now() + 9 * 3600000).toISOString().slice(0, 10));
  await p.addInitScript(shift, 26 * 3600000);
  await p.reload();
  await p.waitForSelector("html[data-ready]");
  ok(await until(async () => /この端末の時計が約26時間進んでいます/.test(await p.innerText(".notices"))), "a wrong clock is said at once", await p.innerText("body"));
  await tablet.logIn("site-1");
  await p.waitForSelector("#product");
  equal(await p.inputValue("#vaccinated_on"), today, "the day of the shot is the server's");
  await look(p, "19-clock");
  await tablet.setUp();
  ok(/時計が約26時間進んで/.test(await p.innerText(".notices")), "and stays said while reading");
}

try {
  p = await tablet.open();
  await tablet.go();
  await tablet.logIn("site-1");
  await tablet.setUp();
  await reading();
  await beforeTheShot();
  await newVersion();
  await clock();
  equal(tablet.errors, [], "no error in the page");
} finally {
  await tablet.remove();
  await stack.stop();
  fs.rmSync(app, { recursive: true, force: true });
}
finish();
