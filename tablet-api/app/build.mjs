// Bundles the app:  node build.mjs OUT READER_WASM [NODE_MODULES]
// Everything is served by ourselves under a strict CSP; hashed names never change, the rest is
// asked for again by ETag.  NAME.gz stands beside each file that is worth it.
import crypto from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";

const here = path.dirname(fileURLToPath(import.meta.url));
const [out, readerWasm, modules = path.join(here, "node_modules")] = process.argv.slice(2).map(p => path.resolve(p));
const require = createRequire(path.join(modules, "x.js"));
const esbuild = require("esbuild");
const made = new Map(); // name → bytes

const hash = bytes => crypto.createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const hashed = (name, bytes) => {
  const { name: stem, ext } = path.parse(name);
  const full = `${stem}-${hash(bytes)}${ext}`;
  made.set(full, bytes);
  return full;
};

// zxing-wasm would ask a foreign host for its wasm; nothing of that is left in the bundle.
const selfHosted = {
  name: "self-hosted",
  setup(build) {
    build.onLoad({ filter: /zxing-wasm.*\.js$/ }, args => ({
      contents: fs.readFileSync(args.path, "utf8").replace(/https:\/\/[a-z.]*jsdelivr\.net\/npm\//g, "/app/"),
    }));
  },
};

function bundle(entry, define = {}) {
  return esbuild.build({
    entryPoints: [path.join(here, "src", entry)], bundle: true, write: false, minify: true, format: "iife",
    target: ["chrome120", "safari17"], jsx: "automatic", jsxImportSource: "preact", nodePaths: [modules],
    legalComments: "none", charset: "utf8", define, plugins: [selfHosted], logLevel: "warning",
    external: ["module", "fs", "path"],
  }).then(r => Buffer.from(r.outputFiles[0].contents));
}

const zxing = require.resolve("zxing-wasm/reader/zxing_reader.wasm");
const names = {
  READER_WASM: hashed("reader.wasm", fs.readFileSync(readerWasm)),
  ZXING_WASM: hashed("zxing.wasm", fs.readFileSync(zxing)),
};
made.set("reader.wasm", fs.readFileSync(readerWasm));
const asDefine = o => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, JSON.stringify("/app/" + v)]));
names.READER_WORKER = hashed("reader-worker.js", await bundle("reader-worker.js", asDefine(names)));
// The values of デジタル庁's tokens that the style sheet uses; all of them would be 30 kB.
const tokens = fs.readFileSync(require.resolve("@digital-go-jp/design-tokens/dist/tokens.css"), "utf8");
const css = fs.readFileSync(path.join(here, "src", "app.css"), "utf8");
const values = new Map([...tokens.matchAll(/(--[a-z0-9-]+):\s*([^;]+);/g)].map(m => [m[1], m[2].trim()]));
const wanted = new Set();
const want = text => {
  for (const [, name] of text.matchAll(/var\((--(?:color|font|line|letter|elevation|border)[a-z0-9-]*)\)/g)) {
    if (wanted.has(name)) continue;
    if (!values.has(name)) throw new Error(`app.css: the design tokens have no ${name}`);
    wanted.add(name);
    want(values.get(name));
  }
};
want(css);
const root = `:root{${[...wanted].map(n => `${n}:${values.get(n)}`).join(";")}}\n`;
names.CSS = hashed("app.css", Buffer.from((await esbuild.transform(root + css, { loader: "css", minify: true })).code));
const version = hash(Buffer.concat([...made.values()].concat(await bundle("main.jsx", { ...asDefine(names), VERSION: '""' }))));
names.APP = hashed("app.js", await bundle("main.jsx", { ...asDefine(names), VERSION: JSON.stringify(version) }));
const icons = ["icon.svg", "icon-192.png", "icon-512.png"].filter(n => fs.existsSync(path.join(here, "static", n)));
for (const icon of icons) made.set(icon, fs.readFileSync(path.join(here, "static", icon)));
made.set("manifest.webmanifest", fs.readFileSync(path.join(here, "static", "manifest.webmanifest")));
let html = fs.readFileSync(path.join(here, "static", "index.html"), "utf8");
html = html.replace("{{app.css}}", "/app/" + names.CSS).replace("{{app.js}}", "/app/" + names.APP);
made.set("index.html", Buffer.from(html));
const shell = ["/", ...["READER_WASM", "ZXING_WASM", "READER_WORKER", "CSS", "APP"].map(k => "/app/" + names[k]),
  "/app/manifest.webmanifest", ...icons.map(n => "/app/" + n)];
made.set("sw.js", await bundle("sw.js", { SHELL: JSON.stringify(shell), VERSION: JSON.stringify(version) }));

fs.rmSync(out, { recursive: true, force: true });
fs.mkdirSync(out, { recursive: true });
let total = 0;
for (const [name, bytes] of made) {
  fs.writeFileSync(path.join(out, name), bytes);
  const gz = zlib.gzipSync(bytes, { level: 9 });
  if (name !== "reader.wasm") total += Math.min(gz.length, bytes.length);
  if (gz.length < bytes.length * 0.9) fs.writeFileSync(path.join(out, name + ".gz"), gz);
}
const limit = 600 * 1000;
console.log(`  APP  ${out}: ${(total / 1000).toFixed(0)} kB gzip of ${limit / 1000}`);
if (total > limit) throw new Error("the app is larger than 600 kB gzip");
