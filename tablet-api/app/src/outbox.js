// From a confirmed reading to its receipt.  A reading is sealed and on disk before it is sent, and
// leaves the disk only after a 2xx; a refusal keeps it in the list 要対応 until a person acts.
//
//   add ─► disk (sealed) ─► POST /v1/doses (while the words are in memory)      ─► 2xx ─► off the disk
//                        └► POST /v1/doses:relay (after a restart: sealed only) ─┘
import { Again } from "./again.js";
import { call } from "./api.js";
import { dashed, isNotGiven } from "./coupon.js";
import * as db from "./db.js";
import { proofHolds } from "./proof.js";
import { encodeDose, relayAad, seal } from "./seal.js";
import { change, day, state } from "./state.js";
import { fromBase64, toBase64 } from "./wire.js";

const RETRY_MS = [1000, 2000, 4000, 8000];
const OUTCOME_MS = 5000; // pending receipts are asked for so often
const words = new Map(); // id → the posted dose: memory only
const readings = new Again();
let timer = 0, failures = 0, busy = false;

export const GOOD = new Set(["recorded", "duplicate"]);
export const WORDS = {
  recorded: "記録済み",
  duplicate: "登録済み（同じ記録が既にあります）",
  recorded_for_review: "受け付けました（自治体の確認待ち）",
  waiting_for_coupon: "受け付けました（接種券の登録待ち）",
  conflict: "受け付けました（別の記録と矛盾・確認待ち）",
  pending: "受け付けました（結果待ち）",
  cancelled: "取り消しました",
  cancel_refused: "取り消せませんでした",
};

export const numberOf = row => {
  const dose = words.get(row.id);
  return dose ? dashed(dose.ocr_line) : "";
};
export const doseOf = id => words.get(id);

/** Of this tablet: what came by a file of another one is sent, but not counted here. */
export const isOwn = row => !state.app || row.terminal === state.app.terminal;

async function show() {
  const rows = (await db.all("outbox")).sort((a, b) => a.at - b.at);
  const today = day();
  const done = (await db.all("receipts")).sort((a, b) => b.at - a.at);
  for (const old of done.filter(r => r.day !== today)) await db.remove("receipts", old.id);
  change({
    waiting: rows.filter(r => !r.problem), attention: rows.filter(r => r.problem), done: done.filter(r => r.day === today),
  });
}

export async function start() {
  await navigator.storage?.persist?.();
  await show();
  schedule(0);
  setInterval(askOutcomes, OUTCOME_MS);
}

/** Was this number read here moments ago?  Then it is a question. */
export const asksAgain = digits => readings.asks(digits, performance.now());

/** A confirmed reading; `asked`: also that the same number again is meant.  Resolves when it is safe
 * on this tablet. */
export async function add(digits, readBy, asked) {
  const { sitting, app, user } = state;
  const meant = asked || readings.meant(digits, performance.now());
  readings.note(digits, performance.now()); // before the first await
  const dose = {
    ocr_line: digits, status: isNotGiven(digits) ? "not_given" : "given", vaccinated_on: sitting.vaccinated_on,
    product: sitting.product, lot: sitting.lot, site: sitting.site, read_by: readBy, read_at: new Date().toISOString(),
  };
  if (sitting.physician) dose.physician = sitting.physician;
  if (meant) dose.confirmed_again = true;
  try {
    return await keep(dose, user?.user_id ?? "", app);
  } catch (e) {
    readings.forget(digits);
    throw e;
  }
}

/** `after`: {receipt_id, key} of a record that this one replaces: cancelled first, then this is sent. */
async function keep(dose, staff, app, after) {
  const id = crypto.randomUUID();
  const municipality = dose.ocr_line.slice(2, 8);
  const plain = encodeDose({ ...dose, terminal: app.terminal, staff });
  const sealed = await seal(fromBase64(app.inbox_key), relayAad(id, municipality), plain);
  words.set(id, dose);
  const row = { id, municipality, sealed: toBase64(sealed), at: Date.now(), staff, terminal: app.terminal };
  if (after) row.after = after;
  await db.put("outbox", row);
  change({ waiting: [...state.waiting, row] });
  schedule(0);
  return row;
}

export function schedule(ms) {
  clearTimeout(timer);
  timer = setTimeout(send, ms);
}

async function send() {
  if (busy || state.session !== "open" || state.revoked) return;
  busy = true;
  try {
    let wait = 0;
    while (wait === 0 && state.waiting.length > 0 && state.session === "open") wait = await sendOne(state.waiting[0]);
    if (wait > 0) schedule(wait);
  } finally {
    busy = false;
  }
}

/** → ms until the next try, 0 go on */
async function sendOne(row) {
  if (row.after) return replace(row);
  const dose = words.get(row.id);
  const r = dose
    ? await call("POST", "/v1/doses", dose, row.id)
    : await call("POST", "/v1/doses:relay", { idempotency_key: row.id, municipality_code: row.municipality, sealed: row.sealed });
  note(r);
  if (r.ok) {
    failures = 0;
    await settle(row, dose, r.json);
    return 0;
  }
  if (stopped(r)) return -1;
  if (r.away || r.again) return Math.max(r.wait_ms ?? 0, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  await attend(row, r);
  return 0;
}

/** The old record is cancelled; only then the new one may go. */
async function replace(row) {
  const { receipt_id, key } = row.after;
  const r = await call("POST", `/v1/doses/${receipt_id}:cancel`, { reason: "会場での訂正（同じ接種券を登録し直し）" }, key);
  note(r);
  if (r.ok) {
    const old = state.done.find(d => d.receipt_id === receipt_id);
    if (old) await update({ ...old, outcome: "cancelled" });
    const { after, ...free } = row;
    await db.put("outbox", free);
    change({ waiting: state.waiting.map(w => (w.id === row.id ? free : w)) });
    return 0;
  }
  if (stopped(r)) return -1;
  if (r.away || r.again) return Math.max(r.wait_ms ?? 0, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  await attend(row, r);
  return 0;
}

/** A lot that was wrong all morning: every chosen record again with other words, resumable. */
export async function mend(rows, changes) {
  for (const row of rows)
    await keep({ ...words.get(row.id), ...changes, confirmed_again: true }, row.staff, state.app, { receipt_id: row.receipt_id, key: crypto.randomUUID() });
}

/** What waits, for a second tablet: it can bring it to the server, and do nothing else with it. */
export async function exported() {
  const rows = [...state.waiting, ...state.attention].filter(r => !r.after);
  const readings = rows.map(({ id, municipality, sealed, at, staff, terminal }) => ({ id, municipality, sealed, at, staff, terminal }));
  await db.setSetting("exported", rows.map(r => r.id));
  change({ exported: rows.map(r => r.id) });
  return JSON.stringify({ format: "vrs-handover/1", terminal: state.app?.terminal, exported_at: new Date().toISOString(), readings }, null, 1);
}

/** → how many were new; throws words for a person */
export async function received(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("このファイルは読み取り記録の書き出しではありません。");
  }
  const forms = { id: /^[0-9a-f-]{36}$/, municipality: /^\d{6}$/, sealed: /^[A-Za-z0-9+/]{80,5465}={0,2}$/, terminal: /^[\w.-]{1,63}$/ };
  const good = r => r && Object.entries(forms).every(([name, form]) => form.test(r[name])) && Number.isFinite(r.at) && String(r.staff).length < 64;
  if (file?.format !== "vrs-handover/1" || !Array.isArray(file.readings) || !file.readings.every(good))
    throw new Error("このファイルは読み取り記録の書き出しではありません。");
  const known = new Set([...state.waiting, ...state.attention, ...state.done].map(r => r.id));
  const fresh = file.readings.filter(r => !known.has(r.id));
  for (const { id, municipality, sealed, at, staff, terminal } of fresh)
    await db.put("outbox", { id, municipality, sealed, at, staff: String(staff), terminal });
  await show();
  schedule(0);
  return fresh.length;
}

/** What an answer says about the network, the session and the terminal. */
export function note(r) {
  if (state.online === !!r.away) change({ online: !r.away });
  if (typeof r.clock === "number") {
    const tolerance = 1000 * (state.app?.clock_tolerance_seconds ?? 120);
    const off = Math.abs(r.clock) > tolerance ? r.clock : 0;
    if ((off === 0) !== (state.clock === 0)) change({ clock: off });
  }
}

/** The session has ended, or the terminal is refused: everything is kept. */
export function stopped(r) {
  if (r.status === 401) {
    change({ session: "expired" });
    return true;
  }
  if (r.code === "terminal_revoked" || r.code === "system_not_registered") {
    change({ revoked: { code: r.code, detail: r.detail } });
    return true;
  }
  return false;
}

async function attend(row, r) {
  const problem = { code: r.code, detail: r.detail, candidates: r.json?.candidates };
  // Candidates are coupon numbers: for the eyes of whoever reads now, not for the disk.
  await db.put("outbox", { ...row, problem: { code: r.code, detail: r.detail } });
  change({
    waiting: state.waiting.filter(w => w.id !== row.id), attention: [...state.attention, { ...row, problem }],
  });
}

async function settle(row, dose, receipt) {
  const done = {
    id: row.id, receipt_id: receipt.receipt_id, outcome: receipt.outcome, at: row.at, staff: row.staff, day: day(row.at),
    terminal: row.terminal, municipality: row.municipality, proof: await proofOf(receipt, dose), warnings: receipt.warnings ?? [],
  };
  await db.put("receipts", done); // before the reading goes: it is always in one of the two
  await db.remove("outbox", row.id);
  change({ waiting: state.waiting.filter(w => w.id !== row.id), done: [done, ...state.done.filter(d => d.id !== row.id)] });
}

/** holds | fails | later | unread (the words of the reading are gone after a restart) */
async function proofOf(receipt, dose) {
  if (!receipt.proof) return "later";
  if (!dose) return "unread";
  try {
    return (await proofHolds(receipt, dose, state.app?.log_keys ?? [])) ? "holds" : "fails";
  } catch {
    return "fails";
  }
}

/** Green only for what is recorded, and not when its proof is wrong. */
export const isGreen = d => GOOD.has(d.outcome) && d.proof !== "fails";

async function askOutcomes() {
  if (state.session !== "open" || state.revoked) return;
  const open = state.done.filter(d => d.outcome === "pending" || d.outcome === "waiting_for_coupon" ||
    (GOOD.has(d.outcome) && d.proof === "later")).slice(0, 10);
  for (const d of open) {
    const r = await call("GET", `/v1/doses/${d.receipt_id}`);
    note(r);
    if (!r.ok) {
      stopped(r);
      return;
    }
    const proof = await proofOf(r.json, words.get(d.id));
    if (r.json.outcome === d.outcome && proof === d.proof) continue;
    await update({ ...d, outcome: r.json.outcome, proof, warnings: r.json.warnings ?? [] });
  }
}

async function update(row) {
  await db.put("receipts", row);
  change({ done: state.done.map(d => (d.id === row.id ? row : d)) });
}

/** Undo: the receipt's claim only; → null or the reason why not. */
export async function cancel(row, reason) {
  const key = row.cancel_key ?? crypto.randomUUID(); // the same key when it is tried again
  await update({ ...row, cancel_key: key });
  const r = await call("POST", `/v1/doses/${row.receipt_id}:cancel`, { reason }, key);
  note(r);
  if (r.ok) {
    await update({ ...row, cancel_key: key, outcome: "cancelled" });
    if (words.has(row.id)) readings.undo(words.get(row.id).ocr_line);
    return null;
  }
  stopped(r);
  return r.away ? "通信できません。つながってから、もう一度取り消してください。" : r.detail;
}

/** 要対応: a person has dealt with it (typed anew, or decided against it). */
export async function dismiss(id) {
  await db.remove("outbox", id);
  words.delete(id);
  change({ attention: state.attention.filter(a => a.id !== id), waiting: state.waiting.filter(a => a.id !== id) });
}

/** 要対応: the server asked whether the same coupon again is meant, and a person said yes. */
export async function confirmAgain(row) {
  const { problem, ...free } = row;
  const dose = words.get(row.id);
  if (dose) words.set(row.id, { ...dose, confirmed_again: true });
  await db.put("outbox", free);
  change({ attention: state.attention.filter(a => a.id !== row.id), waiting: [...state.waiting, free] });
  schedule(0);
}

/** 要対応: corrected digits as a new reading; the old one goes when the new one is safe. */
export async function correct(row, digits, asked) {
  const { confirmed_again, ...dose } = words.get(row.id) ?? {};
  if (!dose.ocr_line) return;
  readings.note(digits, performance.now());
  const status = isNotGiven(digits) ? "not_given" : "given";
  await keep({ ...dose, ocr_line: digits, status, read_by: "manual", ...(asked && { confirmed_again: true }) }, row.staff, state.app);
  await dismiss(row.id);
}
