// The plain thing, as its guides show it: Express 5, express.json(), better-sqlite3 in WAL with
// synchronous=FULL.  One row a dose, unique by its key, durable before the 201.
import { randomUUID } from "node:crypto";
import Database from "better-sqlite3";
import express from "express";

const [port, file] = process.argv.slice(2);
const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.exec(`CREATE TABLE IF NOT EXISTS dose (
  receipt_id TEXT PRIMARY KEY, idempotency_key TEXT NOT NULL UNIQUE, ocr_line TEXT NOT NULL, status TEXT NOT NULL,
  vaccinated_on TEXT NOT NULL, product TEXT NOT NULL, lot TEXT NOT NULL, site TEXT NOT NULL, read_by TEXT NOT NULL,
  received_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID`);
const insert = db.prepare(`INSERT INTO dose
  (receipt_id, idempotency_key, ocr_line, status, vaccinated_on, product, lot, site, read_by)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);

const NEEDED = ["ocr_line", "status", "vaccinated_on", "product", "lot", "site", "read_by"];
const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.post("/v1/doses", express.json(), (req, res) => {
  const b = req.body, key = req.get("idempotency-key");
  if (!key || NEEDED.some((n) => typeof b?.[n] !== "string") || !/^[0-9]{18}$/.test(b.ocr_line))
    return res.status(422).json({ title: "not a dose" });
  const id = randomUUID();
  insert.run(id, key, b.ocr_line, b.status, b.vaccinated_on, b.product, b.lot, b.site, b.read_by);
  res.status(201).json({ receipt_id: id, outcome: "recorded" });
});
app.get("/count", (req, res) => res.json(db.prepare("SELECT count(*) AS rows FROM dose").get()));
app.listen(Number(port), "127.0.0.1");
