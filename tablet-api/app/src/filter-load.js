// The shards of the coupon filter on this tablet: loaded one after the other while there is a network
// and nothing to send, kept until they end.
import { call } from "./api.js";
import * as db from "./db.js";
import { looked, missing, opened } from "./filter.js";
import { note, stopped } from "./outbox.js";
import { state } from "./state.js";

const PACE_MS = 3000, BUSY_MS = 5000, LATER_MS = 600000;
const held = new Map(); // shard → what opened() made
let timer = 0;

const clock = () => Date.now() - state.clock;

/** For a reading without network → {warnings, note}: words for the page that asks whether to register it. */
export async function offlineWords(digits) {
  const { answer, made } = await looked(digits, [...held.values()], clock());
  const day = made && new Date(made).toLocaleString("ja-JP", { month: "numeric", day: "numeric", hour: "numeric", minute: "2-digit" });
  return {
    warnings: answer === "not_issued" ? [`この接種券番号は発行済みの一覧（${day}時点）にありません。番号を確かめてください。`] : [],
    note: answer === "expired" ? "発行済みの一覧の期限が切れているため、番号の照合はしていません。" : null,
  };
}

async function take(f, fresh) {
  const filter = await opened(f, state.app.log_keys, state.app.municipality_code).catch(() => null);
  if (!filter) {
    if (!fresh) await db.remove("filters", f.shard);
    return false;
  }
  // Finer shards of an earlier filter that this one covers are of no more use.
  for (const name of held.keys()) {
    if (name !== filter.shard && name.endsWith(filter.shard)) {
      held.delete(name);
      await db.remove("filters", name);
    }
  }
  held.set(filter.shard, filter);
  if (fresh) await db.put("filters", f);
  return true;
}

/** After a start: what was kept.  An ended one stays so long that the page can say so: a day. */
export async function recallFilters() {
  for (const f of await db.all("filters")) {
    if (state.app && Date.parse(f.expires_at) > clock() - 86400000) await take(f, false);
    else await db.remove("filters", f.shard);
  }
}

/** While there is a session and nothing else to send: one shard after the other. */
export function loadFilters(ms = 0) {
  clearTimeout(timer);
  timer = setTimeout(load, ms);
}

async function load() {
  if (state.session !== "open" || state.revoked || !state.app) return; // the next log-in begins anew
  const digits = missing([...held.values()].filter(f => f.municipality === state.app.municipality_code), clock());
  if (digits === null || !state.online || state.waiting.length > 0) return loadFilters(digits === null ? LATER_MS : BUSY_MS);
  const r = await call("GET", `/v1/coupon-filter/${digits}`);
  note(r);
  if (r.ok) return loadFilters((await take(r.json, true)) ? PACE_MS : LATER_MS);
  if (stopped(r) || r.status === 404 || r.status === 403) return; // the municipality has not switched it on
  loadFilters(r.status === 429 ? LATER_MS : r.wait_ms || BUSY_MS);
}
