// Without network: was a ticket number issued?  The municipality's signed filter
// (docs/decisions/0013-coupon-filter.md), in shards by last digits.  It gives a warning to confirm; it
// never refuses, and never proves anything.  (No page, no network: plain, and tested in node.)
import { fromBase64, fromHex, toHex } from "./wire.js";

const DIGITS = 2; // of a ticket number name what is asked for
const HASHES = 8;

const utf8 = s => new TextEncoder().encode(s);

/** A shard as it came; null when it is not signed so, or of another municipality. `keys`: of app-state. */
export async function opened(f, keys, municipality) {
  const signer = keys.find(k => k.key_id === f.key_id);
  if (!signer || f.municipality_code !== municipality || !/^\d{0,2}$/.test(f.shard)) return null;
  const bits = fromBase64(f.bits);
  const hash = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bits)));
  const text = ["coupon-filter", "vrs-coupon-filter/1", f.municipality_code, f.shard, f.made_at, f.expires_at, f.key,
    bits.length, hash, ""].join("\n");
  const pub = await crypto.subtle.importKey("raw", fromBase64(signer.key), "Ed25519", false, ["verify"]);
  if (bits.length === 0 || !(await crypto.subtle.verify("Ed25519", pub, fromBase64(f.signature), utf8(text)))) return null;
  const key = await crypto.subtle.importKey("raw", fromHex(f.key), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return { shard: f.shard, municipality, made: Date.parse(f.made_at), ends: Date.parse(f.expires_at), bits, key };
}

/** lib/bloom.h: all eight bits are set. */
export async function has(filter, number) {
  const hash = new DataView(await crypto.subtle.sign("HMAC", filter.key, utf8(number)));
  for (let i = 0; i < HASHES; i++) {
    const at = hash.getUint32(4 * i) % (8 * filter.bits.length);
    if (!((filter.bits[at >> 3] >> (at & 7)) & 1)) return false;
  }
  return true;
}

/** "issued" (as far as one can tell) | "not_issued" | "expired" | "none": nothing is known. */
export async function looked(digits, filters, now) {
  const over = filters.filter(f => digits.slice(2, 8) === f.municipality && digits.endsWith(f.shard)).sort((a, b) => b.made - a.made);
  const filter = over.find(f => f.ends > now);
  if (!filter) return { answer: over.length ? "expired" : "none" };
  return { answer: (await has(filter, digits.slice(8))) ? "issued" : "not_issued", made: filter.made };
}

/** The next two digits for which the filter is missing or in the second half of its life. */
export function missing(filters, now) {
  for (let i = 0; i < 10 ** DIGITS; i++) {
    const digits = String(i).padStart(DIGITS, "0");
    if (!filters.some(f => digits.endsWith(f.shard) && now < (f.made + f.ends) / 2)) return digits;
  }
  return null;
}
