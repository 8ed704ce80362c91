// A receipt's proof (docs/proof.md): that the dose is in its municipality's log, under a signed head.
import { concat, fromBase64, fromHex, toHex } from "./wire.js";

const utf8 = s => new TextEncoder().encode(s);
const sha = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));

/** RFC 9162 2.1.3.2: the root that leaf and path lead to, null when the path does not fit. */
export async function rootOf(leaf, index, size, path) {
  let fn = BigInt(index), sn = BigInt(size) - 1n, r = leaf;
  if (fn > sn) return null;
  for (const p of path) {
    if (sn === 0n) return null;
    if (fn & 1n || fn === sn) {
      r = await sha(Uint8Array.of(1), p, r);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      r = await sha(Uint8Array.of(1), r, p);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n ? r : null;
}

/** `receipt`: the answer; `dose`: what was posted; `keys`: [{key_id, key}] of app-state. */
export async function proofHolds(receipt, dose, keys) {
  const p = receipt.proof;
  const key = keys.find(k => k.key_id === p.key_id);
  if (!key) return false;
  const statement = ["vrs-receipt/1", receipt.receipt_id, receipt.dose_id, receipt.outcome, dose.ocr_line, dose.status,
    dose.vaccinated_on, dose.product, dose.lot, ""].join("\n");
  const commitment = await sha(utf8(statement));
  const leaf = await sha(Uint8Array.of(0), commitment, fromHex(p.entry_hash));
  const root = await rootOf(leaf, p.entry - 1, p.size, p.path.map(fromHex));
  if (root === null || toHex(root) !== p.root) return false;
  const head = ["vrs-log/1", p.municipality_code, p.epoch, p.size, p.root, p.signed_at, ""].join("\n");
  const pub = await crypto.subtle.importKey("raw", fromBase64(key.key), "Ed25519", false, ["verify"]);
  return p.municipality_code === dose.ocr_line.slice(2, 8) &&
    crypto.subtle.verify("Ed25519", pub, fromBase64(p.signature), utf8(head));
}
