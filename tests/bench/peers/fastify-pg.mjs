// The plain thing, as its guides show it: Fastify 5, a JSON schema, PostgreSQL through a pool of pg.
// One row a dose, unique by its key, durable (the server's synchronous_commit) before the 201.
import { randomUUID } from "node:crypto";
import Fastify from "fastify";
import pg from "pg";

const [port, socketDir, poolSize] = process.argv.slice(2);
const pool = new pg.Pool({ host: socketDir, user: "bench", database: "bench", max: Number(poolSize) });
await pool.query(`CREATE TABLE IF NOT EXISTS dose (
  receipt_id uuid PRIMARY KEY, idempotency_key text NOT NULL UNIQUE, ocr_line text NOT NULL, status text NOT NULL,
  vaccinated_on date NOT NULL, product text NOT NULL, lot text NOT NULL, site text NOT NULL, read_by text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now())`);

const insert = {
  name: "insert-dose", // prepared once a connection
  text: `INSERT INTO dose (receipt_id, idempotency_key, ocr_line, status, vaccinated_on, product, lot, site, read_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
};
const text = { type: "string", maxLength: 200 };
const app = Fastify();
app.post("/v1/doses", {
  schema: {
    headers: { type: "object", required: ["idempotency-key"] },
    body: {
      type: "object",
      required: ["ocr_line", "status", "vaccinated_on", "product", "lot", "site", "read_by"],
      properties: {
        ocr_line: { type: "string", pattern: "^[0-9]{18}$" }, status: text, vaccinated_on: { type: "string", format: "date" },
        product: text, lot: text, site: text, read_by: text,
      },
    },
    response: { 201: { type: "object", properties: { receipt_id: text, outcome: text } } },
  },
}, async (request, reply) => {
  const b = request.body, id = randomUUID();
  await pool.query({ ...insert, values: [
    id, request.headers["idempotency-key"], b.ocr_line, b.status, b.vaccinated_on, b.product, b.lot, b.site, b.read_by] });
  return reply.code(201).send({ receipt_id: id, outcome: "recorded" });
});
app.get("/count", async () => (await pool.query("SELECT count(*)::int AS rows FROM dose")).rows[0]);
await app.listen({ host: "127.0.0.1", port: Number(port) });
