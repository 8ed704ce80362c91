// Seals a reading to the inside's public key: the form of lib/crypto.h's sealer (X25519, HKDF,
// XAES-256-GCM).  Nobody on this tablet can open it again, neither can tablet-api.
import { concat, number, text } from "./wire.js";

const crypt = crypto.subtle;
const zero = n => new Uint8Array(n);

/** The plaintext: struct line_dose of tablet-api/line.h. */
export function encodeDose(d) {
  return concat(
    text(1, d.ocr_line), number(2, d.status === "given" ? 1 : 0), text(3, d.vaccinated_on), text(4, d.product),
    text(5, d.lot), text(6, d.site), d.physician ? text(7, d.physician) : zero(0), text(8, d.read_by),
    number(9, Date.parse(d.read_at)), text(10, d.terminal), d.staff ? text(11, d.staff) : zero(0), number(12, 0));
}

/** What the seal is bound to: line_relay_aad() of tablet-api/line.h. */
export const relayAad = (key, municipality) => concat(text(1, "tablet-reading-1"), text(2, key), text(3, municipality));

async function hkdf(shared, salt) {
  const key = await crypt.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
  const info = new TextEncoder().encode("vrs sealed 1");
  return new Uint8Array(await crypt.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 256));
}

// One block of AES: CBC with a zero IV, its padding block cut off.
async function block(key, input) {
  return new Uint8Array(await crypt.encrypt({ name: "AES-CBC", iv: zero(16) }, key, input)).slice(0, 16);
}

/** C2SP XAES-256-GCM. */
export async function xaesSeal(raw, nonce, aad, plain) {
  const aes = await crypt.importKey("raw", raw, "AES-CBC", false, ["encrypt"]);
  const l = await block(aes, zero(16));
  const k1 = zero(16);
  for (let i = 0; i < 16; i++) k1[i] = (l[i] << 1) | (i < 15 ? l[i + 1] >> 7 : 0);
  if (l[0] & 0x80) k1[15] ^= 0x87;
  const half = async n => {
    const m = concat(Uint8Array.of(0, n, 0x58, 0), nonce.slice(0, 12));
    return block(aes, m.map((b, i) => b ^ k1[i]));
  };
  const derived = concat(await half(1), await half(2));
  const gcm = await crypt.importKey("raw", derived, "AES-GCM", false, ["encrypt"]);
  const sealed = await crypt.encrypt({ name: "AES-GCM", iv: nonce.slice(12), additionalData: aad }, gcm, plain);
  return concat(nonce, new Uint8Array(sealed));
}

export async function seal(inboxKey, aad, plain) {
  const pair = await crypt.generateKey("X25519", true, ["deriveBits"]);
  const ephemeral = new Uint8Array(await crypt.exportKey("raw", pair.publicKey));
  const to = await crypt.importKey("raw", inboxKey, "X25519", false, []);
  const shared = new Uint8Array(await crypt.deriveBits({ name: "X25519", public: to }, pair.privateKey, 256));
  const key = await hkdf(shared, concat(ephemeral, inboxKey));
  const nonce = crypto.getRandomValues(new Uint8Array(24));
  return concat(Uint8Array.of(1), ephemeral, await xaesSeal(key, nonce, aad, plain));
}
