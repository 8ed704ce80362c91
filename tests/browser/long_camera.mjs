// Twenty generated coupons (a hundred in the long run), each 2.2 s before Chromium's fake camera: at least 95 % read, none wrong,
// and every one that was confirmed arrives.
import path from "node:path";
import { Stack, Tablet, equal, finish, ok, until } from "./lib.mjs";
import { blank, film, pages, print, qr } from "./lib.film.mjs";

const SEED = Number(process.env.VRS_SEED ?? 1900000001), COUNT = process.env.VRS_LONG ? 100 : 20, SECONDS = 2.2;

const stack = await Stack.start();
const video = path.join(stack.home, "film.mjpeg");
const scenes = pages(SEED, COUNT, "typical").map(({ grey, printed }) => ({ grey, printed, seconds: SECONDS }));
const printed = scenes.map(s => s.printed);
// A busy machine plays it more slowly: each coupon has its pictures all the same, and a QR code says that it is over.
const END = "211310320001000007";
film(video, [...scenes, { grey: print(blank(), await qr(END), { x: 520, y: 250, size: 8 }), seconds: SECONDS }]);
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
  const over = until(() => p.evaluate(end => window.accepted.some(a => a.digits === end), END), 4 * COUNT * SECONDS);
  ok(await over, "the film was shown to its end");
  const all = await p.evaluate(() => window.accepted);
  const accepted = all.slice(0, all.findIndex(a => a.digits === END));
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
