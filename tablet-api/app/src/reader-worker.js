// Reads pictures off the page's thread: our reader for the OCR line, zxing for QR and NW-7.
//   in   {id, bitmap, nw7}     → out {id, reads: [{by, digits, doubts?}], why, ms}
import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import { problemOf } from "./coupon.js";

/* global READER_WASM, ZXING_WASM */
const REASONS = ["", "no_line", "cut_line", "unsure_digit", "check_digit", "two_lines", "bad_picture"];
prepareZXingModule({ overrides: { locateFile: () => ZXING_WASM } });
const ready = WebAssembly.instantiateStreaming(fetch(READER_WASM)).then(({ instance }) => instance.exports);
let canvas = new OffscreenCanvas(1280, 720);
let context = canvas.getContext("2d", { willReadFrequently: true });

function grey(rgba, out) {
  for (let i = 0, j = 0; i < out.length; i++, j += 4)
    out[i] = (rgba[j] * 77 + rgba[j + 1] * 150 + rgba[j + 2] * 29) >> 8;
}

async function line(picture) {
  const reader = await ready;
  const at = reader.reader_open(picture.width, picture.height);
  if (at === 0) return { why: "bad_picture" };
  grey(picture.data, new Uint8Array(reader.memory.buffer, at, picture.width * picture.height));
  const why = reader.reader_run();
  if (why !== 0) return { why: REASONS[why] };
  const answer = new Uint8Array(reader.memory.buffer, reader.reader_answer(), 3 * 18 + 1);
  const doubts = { confidence: [...answer.slice(19, 37)], second: [...answer.slice(37, 55)].map(d => (d > 9 ? -1 : d)) };
  return { digits: String.fromCharCode(...answer.slice(0, 18)), doubts };
}

const bars = (picture, formats) =>
  readBarcodes(picture, { formats, tryHarder: formats[0] !== "QRCode", tryRotate: true, tryInvert: false, maxNumberOfSymbols: 4 })
    .then(found => found.filter(f => f.isValid).map(f => f.text.replace(/[A-D\s-]/gi, "")).filter(d => problemOf(d) === null));

// Narrow bars of a small print: twice as large, and sharpened by the scaler.
function enlarged(bitmap) {
  const big = new OffscreenCanvas(bitmap.width * 2, bitmap.height * 2);
  const to = big.getContext("2d");
  to.imageSmoothingQuality = "high";
  to.drawImage(bitmap, 0, 0, big.width, big.height);
  return to.getImageData(0, 0, big.width, big.height);
}

self.onmessage = async ({ data: { id, bitmap, nw7 } }) => {
  const start = performance.now();
  const reads = [];
  let why = "";
  try {
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      context = canvas.getContext("2d", { willReadFrequently: true });
    }
    context.drawImage(bitmap, 0, 0);
    const picture = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const ocr = await line(picture);
    if (ocr.digits) reads.push({ by: "ocr", ...ocr });
    else why = ocr.why;
    for (const digits of await bars(picture, ["QRCode"])) reads.push({ by: "qr", digits });
    if (nw7 && reads.length === 0)
      for (const digits of await bars(enlarged(bitmap), ["Codabar"])) reads.push({ by: "nw7", digits });
  } catch (e) {
    why = "failed: " + e.message;
  } finally {
    bitmap.close();
  }
  self.postMessage({ id, reads, why, ms: performance.now() - start });
};
