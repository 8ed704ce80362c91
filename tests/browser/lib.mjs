// What the browser tests share: a running stack, Debian's Chromium with a terminal's certificate,
// one printed line a test.
//
// The certificate stands in an NSS database in a private HOME, and a policy chooses it without
// asking.  Chromium reads policies from one folder of the system only: it gets its own by a mount
// namespace that ends with it, so nothing outside is changed.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const BUILD = path.resolve(process.env.VRS_BUILD ?? path.join(ROOT, "build"));
const beside = path.join(ROOT, "tablet-api/app/node_modules");
export const modules = fs.existsSync(path.join(beside, "playwright-core")) ? beside : path.join(BUILD, "node/node_modules");
const require = createRequire(path.join(modules, "x.js"));
const { chromium } = require("playwright-core");
const axeSource = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

let failed = 0;
export function ok(holds, name, why = "") {
  console.log(`${holds ? "ok" : "not ok"} - ${name}`);
  if (!holds) {
    failed++;
    for (const line of String(why).split("\n").filter(Boolean)) console.log(`#   ${line}`);
  }
  return !!holds;
}
export const equal = (got, want, name) =>
  ok(JSON.stringify(got) === JSON.stringify(want), name, `got  ${JSON.stringify(got)}\nwant ${JSON.stringify(want)}`);

/** Asks again until it holds; a test that waits has a reason to wait for. */
export async function until(ask, seconds = 15) {
  const end = Date.now() + 1000 * seconds;
  for (;;) {
    const got = await ask();
    if (got || Date.now() > end) return got;
    await new Promise(r => setTimeout(r, 50));
  }
}

export class Stack {
  static async start(overrides = {}) {
    const s = new Stack();
    s.child = spawn("python3", [path.join(ROOT, "tests/browser/stack.py"), JSON.stringify(overrides)],
      { env: { ...process.env, VRS_BUILD: BUILD }, stdio: ["pipe", "pipe", "inherit"] });
    s.lines = readline.createInterface({ input: s.child.stdout })[Symbol.asyncIterator]();
    const first = await s.lines.next();
    if (first.done) throw new Error("the stack did not start");
    Object.assign(s, JSON.parse(first.value));
    return s;
  }

  async do(verb, values = {}) {
    this.child.stdin.write(JSON.stringify({ do: verb, ...values }) + "\n");
    const answer = JSON.parse((await this.lines.next()).value);
    if (answer.failed) throw new Error(`${verb}: ${answer.failed}`);
    return answer;
  }

  async stop() {
    this.child.stdin.end();
    await new Promise(r => this.child.once("exit", r));
  }
}

const run = (program, args, options = {}) => {
  const r = spawnSync(program, args, { encoding: "utf8", ...options });
  if (r.status !== 0) throw new Error(`${program} ${args[0]}: ${r.stderr}`);
};

/** A tablet: Chromium with a profile that outlives close() (as a tablet that is switched off). */
export class Tablet {
  constructor(stack, name, options = {}) {
    Object.assign(this, { stack, name, options });
    this.home = fs.mkdtempSync(path.join(os.tmpdir(), `vrs-${name}-`));
    const db = path.join(this.home, ".pki/nssdb");
    fs.mkdirSync(db, { recursive: true });
    const [cert, key] = stack.certs[name];
    run("certutil", ["-d", `sql:${db}`, "-N", "--empty-password"]);
    run("certutil", ["-d", `sql:${db}`, "-A", "-t", "C,,", "-n", "ca", "-i", stack.ca]);
    const p12 = path.join(this.home, "t.p12");
    run("openssl", ["pkcs12", "-export", "-in", cert, "-inkey", key, "-out", p12, "-passout", "pass:x", "-name", name]);
    run("pk12util", ["-d", `sql:${db}`, "-i", p12, "-W", "x", "-K", ""]);
    const policies = path.join(this.home, "etc/policies/managed");
    fs.mkdirSync(policies, { recursive: true });
    fs.writeFileSync(path.join(policies, "vrs.json"), JSON.stringify({
      AutoSelectCertificateForUrls: [JSON.stringify({ pattern: stack.url, filter: {} })],
      VideoCaptureAllowedUrls: [stack.url],
    }));
    this.start = path.join(this.home, "chromium");
    fs.writeFileSync(this.start, `#!/bin/sh
exec unshare ${process.getuid() === 0 ? "-m" : "-rm"} sh -c 'mount --bind "${this.home}/etc" /etc/chromium && exec /usr/bin/chromium "$@"' sh "$@"
`, { mode: 0o755 });
  }

  async open() {
    const video = this.options.video
      ? [`--use-file-for-fake-video-capture=${this.options.video}`] : [];
    this.context = await chromium.launchPersistentContext(path.join(this.home, "profile"), {
      executablePath: this.start, headless: true, viewport: { width: 1280, height: 800 }, locale: "ja-JP",
      timezoneId: "Asia/Tokyo", env: { ...process.env, HOME: this.home, TMPDIR: this.home, LANGUAGE: "ja" },
      args: ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", ...video,
        "--disable-gpu", "--lang=ja", ...(this.options.args ?? [])],
      ...(this.options.context ?? {}),
    });
    this.page = this.context.pages()[0] ?? await this.context.newPage();
    this.errors = [];
    this.page.on("pageerror", e => this.errors.push(String(e)));
    this.page.on("console", m => {
      if (m.type() === "error" && !/Failed to load resource|net::ERR/.test(m.text())) this.errors.push(m.text());
    });
    return this.page;
  }

  async go() {
    await this.page.goto(this.stack.url + "/");
    await this.page.waitForSelector("html[data-ready]");
  }

  async close() {
    await this.context?.close();
    this.context = null;
  }

  async remove() {
    await this.close();
    fs.rmSync(this.home, { recursive: true, force: true });
  }

  async logIn(user) {
    const p = this.page;
    await p.fill("#user", user);
    await p.fill("#password", this.stack.users[user]);
    await p.click("button.main");
    await p.waitForSelector("#product, #line");
  }

  async setUp(lot = "FF3620") {
    const p = this.page;
    await p.selectOption("#product", "comirnaty");
    await p.fill("#lot", lot);
    await p.fill("#expires", "2030-01-31");
    if (!(await p.inputValue("#site"))) await p.fill("#site", "港区スポーツセンター");
    await p.click("button.main");
    await p.waitForSelector("#line");
  }

  /** By keyboard: the digits, Enter, and Enter again on 「登録する」. */
  async read(digits) {
    const p = this.page;
    await p.fill("#line", digits);
    await p.press("#line", "Enter");
    await p.waitForSelector("#yes", { timeout: 5000 }).catch(async e => {
      throw new Error(`${digits} is not asked about: ${await p.innerText("main")}\n${e.message}`);
    });
    await p.click("#yes");
  }

  unsent() {
    return this.page.locator("#unsent b").innerText().then(Number);
  }
}

/** axe over what the page shows now. */
export async function axe(page, name) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }));
  ok(violations.length === 0, `axe: ${name}`,
    violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160)).join(" | ")}`).join("\n"));
}

/** A page as a whole: axe, and the same at 200 %: nothing to scroll sideways for, nothing small.  With
 * VRS_SCREENS=folder it is kept as a picture (docs/screens). */
export async function look(page, name) {
  const screens = process.env.VRS_SCREENS;
  const shot = as => page.screenshot({ path: path.join(screens, `${as}.png`), fullPage: true });
  await axe(page, name);
  if (screens) {
    fs.mkdirSync(screens, { recursive: true });
    await shot(name);
  }
  await page.setViewportSize({ width: 640, height: 400 });
  const wide = await page.evaluate(() => [...document.querySelectorAll("body *")].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".skip, .unseen, option, select")).map(e => e.outerHTML.slice(0, 80)));
  ok(wide.length === 0, `200 % zoom: ${name}`, wide.join("\n"));
  if (screens && /confirm$|doses-so-far/.test(name)) await shot(`${name}-200`);
  const small = await page.evaluate(() => [...document.querySelectorAll("button, input:not([type=checkbox]), select")]
    .filter(e => e.offsetParent && (e.getBoundingClientRect().height < 44 || parseFloat(getComputedStyle(e).fontSize) < 16)).map(e => e.outerHTML.slice(0, 80)));
  ok(small.length === 0, `text and buttons are large enough: ${name}`, small.join("\n"));
  await page.setViewportSize({ width: 1280, height: 800 });
}

export function finish() {
  process.exitCode = failed ? 1 : 0;
}
