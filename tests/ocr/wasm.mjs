// Reads PGM frames (one behind the other, 1280x720) with the tablet's reader:
//     node tests/ocr/wasm.mjs reader.wasm FRAMES.pgm     one line a frame: reason, digits, ms
import fs from "node:fs";

const { instance } = await WebAssembly.instantiate(fs.readFileSync(process.argv[2]));
const reader = instance.exports;
const bytes = fs.readFileSync(process.argv[3]);
const head = "P5\n1280 720\n255\n".length, pixels = 1280 * 720;
for (let at = 0; at < bytes.length; at += head + pixels) {
  const picture = reader.reader_open(1280, 720);
  new Uint8Array(reader.memory.buffer, picture, pixels).set(bytes.subarray(at + head, at + head + pixels));
  const start = performance.now();
  const reason = reader.reader_run();
  const ms = performance.now() - start;
  const answer = new Uint8Array(reader.memory.buffer, reader.reader_answer(), 56);
  const digits = String.fromCharCode(...answer.subarray(0, 18)).replaceAll("\0", "");
  console.log(`${reason} ${reason === 0 ? digits : "-"} ${ms.toFixed(2)}`);
}
