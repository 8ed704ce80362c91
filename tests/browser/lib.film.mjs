// Films for the fake camera: pictures of coupons that never existed, one after the other, as mjpeg.
// A picture is 1280×720 grey bytes.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { BUILD, modules } from "./lib.mjs";

export const WIDTH = 1280, HEIGHT = 720, FRAMES_PER_S = 30;
const PIXELS = WIDTH * HEIGHT, HEAD = "P5\n1280 720\n255\n".length;
const require = createRequire(path.join(modules, "x.js"));

/** Pages with an OCR line (tests/ocr): → [{printed, grey}] */
export function pages(seed, count, grade) {
  const r = spawnSync(path.join(BUILD, "bin/reader-measure"), ["-s", String(seed), String(count), grade], { maxBuffer: 1 << 30 });
  if (r.status !== 0) throw new Error(`reader-measure: ${r.stderr}`);
  return r.stderr.toString().trim().split("\n").map((printed, i) => ({
    printed, grey: r.stdout.subarray(i * (HEAD + PIXELS) + HEAD, (i + 1) * (HEAD + PIXELS)),
  }));
}

export const blank = () => Buffer.alloc(PIXELS, 225);

/** Modules of a QR code: {width, height, dark(x, y)} */
export async function qr(digits) {
  const { prepareZXingModule, writeBarcode } = require("zxing-wasm/writer");
  prepareZXingModule({ overrides: { wasmBinary: fs.readFileSync(require.resolve("zxing-wasm/writer/zxing_writer.wasm")) } });
  const { error, symbol } = await writeBarcode(digits, { format: "QRCode" });
  if (!symbol) throw new Error(error);
  return { width: symbol.width, height: symbol.height, dark: (x, y) => symbol.data[y * symbol.width + x] === 0 };
}

// Seven bars and gaps a character, 1 wide (JIS X 0506, NW-7).
const NW7 = {
  0: "0000011", 1: "0000110", 2: "0001001", 3: "1100000", 4: "0010010", 5: "1000010", 6: "0100001", 7: "0100100",
  8: "0110000", 9: "1001000", A: "0011010",
};

/** Modules of an NW-7 code between start and stop A; a wide bar is three narrow ones. */
export function nw7(digits) {
  const row = [];
  for (const c of `A${digits}A`) {
    [...NW7[c]].forEach((wide, i) => row.push(...Array(wide === "1" ? 3 : 1).fill(i % 2 === 0)));
    row.push(false);
  }
  const height = 40;
  return { width: row.length, height, dark: x => row[x] };
}

/** Prints a code onto a picture: `size` pixels a module, turned, as a lens a little out of focus sees it
 * (nine looks a pixel). */
export function print(grey, code, { x, y, size, turn = 0 }) {
  const cos = Math.cos(turn), sin = Math.sin(turn);
  const wide = code.width * size, high = code.height * size, quiet = 6 * size;
  const at = (px, py) => {
    const u = ((px - x) * cos + (py - y) * sin) / size, v = (-(px - x) * sin + (py - y) * cos) / size;
    return u >= 0 && v >= 0 && u < code.width && v < code.height && code.dark(Math.floor(u), Math.floor(v)) ? 40 : 225;
  };
  const reach = Math.hypot(wide, high) + quiet;
  for (let py = Math.max(0, Math.floor(y - quiet)); py < Math.min(HEIGHT, y + reach); py++)
    for (let px = Math.max(0, Math.floor(x - quiet)); px < Math.min(WIDTH, x + reach); px++) {
      const u = (px - x) * cos + (py - y) * sin, v = -(px - x) * sin + (py - y) * cos;
      if (u < -quiet || v < -quiet || u > wide + quiet || v > high + quiet) continue;
      let sum = 0;
      for (const dy of [-0.5, 0, 0.5]) for (const dx of [-0.5, 0, 0.5]) sum += at(px + dx, py + dy);
      grey[py * WIDTH + px] = sum / 9;
    }
  return grey;
}

function jpeg(grey) {
  // The fake camera takes three colours only.
  const ppm = Buffer.alloc(HEAD + 3 * PIXELS);
  ppm.write("P6\n1280 720\n255\n", "latin1");
  for (let p = 0; p < PIXELS; p++) ppm.fill(grey[p], HEAD + 3 * p, HEAD + 3 * p + 3);
  return spawnSync("cjpeg", ["-quality", "92", "-sample", "2x2"], { input: ppm, maxBuffer: 1 << 26 }).stdout;
}

/** `scenes`: [{grey, seconds}]; Chromium plays it from its beginning again and again. */
export function film(file, scenes) {
  const out = fs.openSync(file, "w");
  for (const { grey, seconds } of scenes) {
    const picture = jpeg(grey);
    for (let n = 0; n < Math.max(1, Math.round(seconds * FRAMES_PER_S)); n++) fs.writeSync(out, picture);
  }
  fs.closeSync(out);
}
