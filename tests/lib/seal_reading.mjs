// Seals readings as a tablet does, with the app's own code:
//     node tests/lib/seal_reading.mjs INBOX_KEY < lines of {"key", "municipality", "dose"}    a base64 each
import fs from "node:fs";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node.js 18
const { encodeDose, relayAad, seal } = await import("../../tablet-api/app/src/seal.js");
const { fromBase64, toBase64 } = await import("../../tablet-api/app/src/wire.js");

for (const line of fs.readFileSync(0, "utf8").trim().split("\n")) {
  const { key, municipality, dose } = JSON.parse(line);
  console.log(toBase64(await seal(fromBase64(process.argv[2]), relayAad(key, municipality), encodeDose(dose))));
}
