// lib/wire.h: fields tag (1 byte), length (4 bytes, big-endian), bytes.

const utf8 = new TextEncoder();

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export function field(tag, bytes) {
  const head = new Uint8Array(5);
  head[0] = tag;
  new DataView(head.buffer).setUint32(1, bytes.length);
  return concat(head, bytes);
}

export const text = (tag, s) => field(tag, utf8.encode(s));

export function number(tag, value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(value));
  return field(tag, bytes);
}

export const fromBase64 = s => Uint8Array.from(atob(s), c => c.charCodeAt(0));
export const toBase64 = bytes => btoa(String.fromCharCode(...bytes));
export const fromHex = s => Uint8Array.from(s.match(/../g) ?? [], h => parseInt(h, 16));
export const toHex = bytes => [...bytes].map(b => b.toString(16).padStart(2, "0")).join("");
