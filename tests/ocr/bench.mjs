// `make bench-reader`: our reader beside Debian's tesseract on the same frames, and the tablet's build beside the native one.
//
//     node tests/ocr/bench.mjs BUILD [FRAMES a grade [SEED]]
//
// Tesseract gets what is best for it: not the frame but its printed line, cut out where it is known to stand, upright, digits
// 32 pixels high, as one line of nothing but digits; and only 18 digits with a fitting check digit count as read, as with ours.
// It gives each line a confidence: a second column asks for 90 of 100.  A line of letters is no coupon: whatever is read of it
// is wrong.  Each frame is read by the native build and the tablet's in turn, so that who shares the machine slows both.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const [build, count = "300", seed = String(2_000_000_000 + (Date.now() % 1_000_000_000))] = process.argv.slice(2);
const MEASURE = path.join(build, "bin/reader-measure");
const GRADES = ["good", "typical", "poor", "hard", "letters", "negative"];
const AT_ONCE = 50, WIDTH = 1280, HEIGHT = 720, SURE = 90, TARGET_MS = 25;
const work = fs.mkdtempSync(path.join(os.tmpdir(), "bench-reader-"));

/** PGM pictures of one size, one behind the other, and what stands in each. */
function pictures(option, first, many, grade) {
  const r = spawnSync(MEASURE, [option, String(first), String(many), grade], { maxBuffer: 2 ** 30 });
  if (r.status !== 0) throw new Error(`reader-measure: ${r.stderr}`);
  const size = r.stdout.length / many;
  const truth = r.stderr.toString().trim().split("\n");
  return truth.map((t, i) => ({ pgm: r.stdout.subarray(i * size, (i + 1) * size), truth: t }));
}

/** The native reader as a process that answers frame after frame. */
class Native {
  constructor() {
    this.process = spawn(MEASURE, ["-i"], { stdio: ["pipe", "pipe", "inherit"] });
    this.process.stdout.setEncoding("utf8").on("data", (text) => this.answered?.(text));
  }
  read(pgm) {
    return new Promise((resolve) => {
      this.answered = (text) => {
        const [, digits, ms] = text.trim().split(" ");
        resolve({ digits, ms: Number(ms) });
      };
      this.process.stdin.write(pgm);
    });
  }
  close() { this.process.stdin.end(); }
}

/** The tablet's build, in this process as in a worker of the page. */
class Tablet {
  static async open(file) {
    const tablet = new Tablet();
    tablet.reader = (await WebAssembly.instantiate(fs.readFileSync(file))).instance.exports;
    return tablet;
  }
  read(pgm) {
    const { reader } = this;
    const at = reader.reader_open(WIDTH, HEIGHT);
    new Uint8Array(reader.memory.buffer, at, WIDTH * HEIGHT).set(pgm.subarray(pgm.length - WIDTH * HEIGHT));
    const before = process.cpuUsage();
    const reason = reader.reader_run();
    const spent = process.cpuUsage(before);
    const digits = Buffer.from(reader.memory.buffer, reader.reader_answer(), 18).toString("latin1");
    return { digits: reason === 0 ? digits : "-", ms: (spent.user + spent.system) / 1000 };
  }
}

/** Kind, turn and the check digit of the municipality, as in ocr-ingest/reader.c. */
function fits(line) {
  if (!/^[12][1-9]\d{16}$/.test(line)) return false;
  let sum = 0;
  for (let i = 0; i < 5; i++) sum += Number(line[2 + i]) * (6 - i);
  return Number(line[7]) === (sum % 11 === 0 ? 1 : (11 - (sum % 11)) % 10);
}

/** Lines in one call: its start costs once, and is taken off below.  [{digits, sure}] */
function tesseract(lines) {
  const list = path.join(work, "list.txt");
  fs.writeFileSync(list, lines.map(({ pgm }, i) => {
    const file = path.join(work, `${i}.pgm`);
    fs.writeFileSync(file, pgm);
    return file;
  }).join("\n") + "\n");
  const before = cpuOfChildren();
  const r = spawnSync("tesseract", [list, "-", "--psm", "7", "-l", "eng", "-c", "tessedit_char_whitelist=0123456789", "tsv"],
    { maxBuffer: 2 ** 28, env: { ...process.env, OMP_THREAD_LIMIT: "1" } });
  if (r.status !== 0 && lines.length === 1) { // it crashes now and then: nothing was read
    crashed++;
    return { read: [{ digits: "", sure: 0 }], ms: cpuOfChildren() - before };
  }
  if (r.status !== 0) { // one of them: each for itself, as many starts taken off
    const each = lines.map((line) => tesseract([line]));
    return { read: each.flatMap((e) => e.read), ms: each.reduce((sum, e) => sum + e.ms, 0) - (lines.length - 1) * start };
  }
  const read = lines.map(() => ({ digits: "", sure: 100 }));
  for (const row of r.stdout.toString().split("\n").slice(1)) {
    const field = row.split("\t"); // level, page, block, …, 10 confidence, 11 text
    if (field[0] !== "5") continue;
    const line = read[Number(field[1]) - 1];
    line.digits += field[11].trim();
    line.sure = Math.min(line.sure, Number(field[10]));
  }
  return { read, ms: cpuOfChildren() - before };
}

/** CPU of children that ended, in ms (steps of 10 ms: only sums of many lines are told from it). */
function cpuOfChildren() {
  const stat = fs.readFileSync("/proc/self/stat", "latin1");
  const after = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(after[13]) + Number(after[14])) * 10;
}

const share = (n, all) => `${((100 * n) / all).toFixed(1)} %`;
const at = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

const hasTesseract = spawnSync("tesseract", ["--version"]).status === 0;
const native = new Native(), tablet = await Tablet.open(path.join(build, "reader.wasm"));
const nativeMs = [], tabletMs = [];
let wrongInAll = 0, different = 0, crashed = 0, start = 0;
console.log(`${count} frames a grade from seed ${seed}, ${WIDTH}×${HEIGHT}; ms are of CPU` +
  (hasTesseract ? `; ${spawnSync("tesseract", ["--version"]).stdout.toString().split("\n")[0]}` : "; no tesseract here: apt-get install tesseract-ocr"));
console.log(["grade", "ours: read", "wrong", "ms", "wasm ms", "tesseract: read", "wrong", "read, sure", "wrong", "ms a line"].join(" | "));
// Warm up: a page reads for hours.
for (const { pgm } of pictures("-s", Number(seed) - 20, 20, "typical")) tablet.read(pgm);
start = hasTesseract ? tesseract(pictures("-l", seed, 1, "good")).ms : 0;
for (const grade of GRADES) {
  const ours = { read: 0, wrong: 0, ms: [], wasm: [] }, theirs = { read: 0, wrong: 0, sureRead: 0, sureWrong: 0, ms: 0 };
  for (let done = 0; done < Number(count); done += AT_ONCE) {
    const many = Math.min(AT_ONCE, Number(count) - done), first = Number(seed) + done;
    for (const { pgm, truth } of pictures("-s", first, many, grade)) {
      const n = await native.read(pgm), t = tablet.read(pgm);
      different += n.digits !== t.digits;
      ours.ms.push(n.ms);
      ours.wasm.push(t.ms);
      if (n.digits !== "-") n.digits === truth ? ours.read++ : ours.wrong++;
    }
    if (!hasTesseract || grade === "negative") continue; // nothing there to cut out
    const lines = pictures("-l", first, many, grade);
    const { read, ms } = tesseract(lines);
    theirs.ms += Math.max(0, ms - start);
    read.forEach(({ digits, sure }, i) => {
      if (!fits(digits)) return;
      const right = digits === lines[i].truth;
      right ? theirs.read++ : theirs.wrong++;
      if (sure >= SURE) right ? theirs.sureRead++ : theirs.sureWrong++;
    });
  }
  const mean = (list) => (list.reduce((a, b) => a + b, 0) / list.length).toFixed(1);
  const other = !hasTesseract || grade === "negative" ? ["–", "–", "–", "–", "–"]
    : [share(theirs.read, count), theirs.wrong, share(theirs.sureRead, count), theirs.sureWrong, (theirs.ms / count).toFixed(1)];
  console.log([grade, share(ours.read, count), ours.wrong, mean(ours.ms), mean(ours.wasm), ...other].join(" | "));
  nativeMs.push(...ours.ms);
  tabletMs.push(...ours.wasm);
  wrongInAll += ours.wrong;
}
native.close();
fs.rmSync(work, { recursive: true });
for (const list of [nativeMs, tabletMs]) list.sort((a, b) => a - b);
const line = (name, list) => `${name}: median ${at(list, 0.5).toFixed(1)} ms, 95 % within ${at(list, 0.95).toFixed(1)} ms, 99 % within ${at(list, 0.99).toFixed(1)} ms`;
console.log(`${line("native", nativeMs)}\n${line("wasm", tabletMs)} (target ${TARGET_MS}); ` +
  `median ${(at(tabletMs, 0.5) / at(nativeMs, 0.5)).toFixed(2)} of native`);
if (crashed > 0) console.log(`tesseract crashed on ${crashed} lines`);
if (different > 0) console.log(`${different} frames were read differently by the two builds`);
process.exit(wrongInAll > 0 || different > 0 || at(tabletMs, 0.5) > TARGET_MS ? 1 : 0);
