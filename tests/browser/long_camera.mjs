// Twenty generated coupons (a hundred in the long run), each 2.2 s before Chromium's fake camera: at least 95 % read, none wrong,
// and every one that was confirmed arrives.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { BUILD, Stack, Tablet, equal, finish, ok, until } from "./lib.mjs";

const SEED = process.env.VRS_SEED ?? "1900000001", COUNT = process.env.VRS_LONG ? 100 : 20, FRAMES = 66; // 2.2 s of 30 a second
const HEAD = "P5\n1280 720\n255\n".length, PIXELS = 1280 * 720;

/** → the printed numbers; the film is written to `file` */
function film(file) {
  const r = spawnSync(path.join(BUILD, "bin/reader-measure"), ["-s", SEED, String(COUNT), "typical"], { maxBuffer: 1 << 30 });
  const out = fs.openSync(file, "w");
  for (let i = 0; i < COUNT; i++) {
    const pgm = r.stdout.subarray(i * (HEAD + PIXELS), (i + 1) * (HEAD + PIXELS));
    // The fake camera takes three colours only.
    const ppm = Buffer.alloc(HEAD + 3 * PIXELS);
    ppm.write("P6\n1280 720\n255\n", "latin1");
    for (let p = 0; p < PIXELS; p++) ppm.fill(pgm[HEAD + p], HEAD + 3 * p, HEAD + 3 * p + 3);
    const jpeg = spawnSync("cjpeg", ["-quality", "92", "-sample", "2x2"], { input: ppm, maxBuffer: 1 << 26 });
    for (let n = 0; n < FRAMES; n++) fs.writeSync(out, jpeg.stdout);
  }
  fs.closeSync(out);
  return r.stderr.toString().trim().split("\n");
}

const stack = await Stack.start();
const video = path.join(stack.home, "film.mjpeg");
const printed = film(video);
console.log(`# seed ${SEED}`);
const tablet = new Tablet(stack, "tablet-1", { video });
try {
  const p = await tablet.open();
  await tablet.go();
  await tablet.logIn("site-1");
  // A hand at the button: confirms whatever is shown, as soon as it is shown.
  await p.evaluate(() => {
    window.accepted = [];
    window.clashes = 0;
    setInterval(() => {
      const yes = document.getElementById("yes");
      if (document.querySelector(".result .card.amber ul")) window.clashes++;
      if (!yes) return;
      window.accepted.push({
        digits: document.querySelector(".digits.big [aria-hidden]").textContent.replaceAll("-", ""), at: performance.now(),
        asked: document.querySelector(".warn b") !== null,
      });
      yes.click();
    }, 100);
  });
  await tablet.setUp();
  await p.waitForFunction(() => document.querySelector("video")?.videoWidth > 0);
  await p.waitForTimeout(COUNT * 2200 + 300); // the length of the film
  const accepted = await p.evaluate(() => window.accepted);
  const clashes = await p.evaluate(() => window.clashes);
  const first = accepted.filter(a => !a.asked).map(a => a.digits);
  const wrong = first.filter(d => !printed.includes(d));
  const missed = printed.filter(d => !first.includes(d));
  equal(wrong, [], "no wrong number was shown");
  ok(missed.length <= COUNT * 0.05, `${COUNT - missed.length} of ${COUNT} coupons read`, `missed ${missed.join(" ")}, ${clashes} clashes`);
  equal(new Set(first).size, first.length, "none was read twice while it was in view");
  ok(await until(async () => (await tablet.unsent()) === 0), "all are sent");
  equal(tablet.errors, [], "no error in the page");
} finally {
  await tablet.remove();
  await stack.stop();
}
finish();
