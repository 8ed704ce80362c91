// The coupon filter as the tablet reads it: signature, end, municipality, and the bits of lib/bloom.h.
import crypto from "node:crypto";
import { equal, finish, ok } from "./lib.mjs";
import { looked, missing, opened } from "../../tablet-api/app/src/filter.js";

const TOWN = "131032", MADE = Date.parse("2021-07-01T00:00:00.000Z"), DAY = 86400000;
const iso = ms => new Date(ms).toISOString();
const number = i => String(2100000000 + 37 * i);
const line = n => `21${TOWN}${n}`;

// As vrs-server makes it (lib/bloom.h); the hash of the bits stands in tests/unit/test_bloom.c, too.
const key = Buffer.from([...Array(16).keys()]), bits = Buffer.alloc(80);
for (let i = 0; i < 40; i++) {
  const h = crypto.createHmac("sha256", key).update(number(i)).digest();
  for (let j = 0; j < 8; j++) {
    const at = h.readUInt32BE(4 * j) % (8 * bits.length);
    bits[at >> 3] |= 1 << (at & 7);
  }
}
equal(crypto.createHash("sha256").update(bits).digest("hex"),
  "522b056e57166cee29fd5df8bb7b150f21640be11b961e0f37d47ed313568eba", "the same bits as lib/bloom.c sets");

const pair = crypto.generateKeyPairSync("ed25519");
const keys = [{ key_id: "log-0001", key: Buffer.from(pair.publicKey.export({ format: "jwk" }).x, "base64url").toString("base64") }];
function shard(change = {}) {
  const f = { municipality_code: TOWN, shard: "", made_at: iso(MADE), expires_at: iso(MADE + DAY), key: key.toString("hex"), key_id: "log-0001", ...change };
  const hash = crypto.createHash("sha256").update(bits).digest("hex");
  const text = ["coupon-filter", "vrs-coupon-filter/1", f.municipality_code, f.shard, f.made_at, f.expires_at, f.key, bits.length, hash, ""].join("\n");
  return { ...f, bits: bits.toString("base64"), signature: crypto.sign(null, Buffer.from(text), pair.privateKey).toString("base64") };
}

const whole = await opened(shard(), keys, TOWN);
ok(whole, "a signed shard is opened");
const answers = [];
for (let i = 0; i < 40; i++) answers.push((await looked(line(number(i)), [whole], MADE + 1)).answer);
ok(answers.every(a => a === "issued"), "each issued number is in it", answers);
let unknown = 0;
for (let i = 0; i < 2000; i++) unknown += (await looked(line(String(5000000000 + i)), [whole], MADE + 1)).answer === "not_issued";
ok(unknown >= 1985, "of 2,000 others hardly one passes", unknown);

for (const [what, f] of [
  ["one bit of it", { ...shard(), bits: Buffer.from(bits.map((b, i) => (i === 7 ? b ^ 1 : b))).toString("base64") }],
  ["its end", { ...shard(), expires_at: iso(MADE + 30 * DAY) }],
  ["its date", { ...shard(), made_at: iso(MADE + 1) }],
  ["its shard", { ...shard(), shard: "7" }],
  ["its key", { ...shard(), key: "00".repeat(16) }],
  ["its signature", { ...shard(), signature: Buffer.alloc(64).toString("base64") }],
  ["the signing key's name", { ...shard(), key_id: "log-0002" }],
]) equal(await opened(f, keys, TOWN), null, `with ${what} changed it is not opened`);
equal(await opened(shard({ municipality_code: "142051" }), keys, TOWN), null, "another municipality's is not opened, though it is signed");
equal(await opened(shard({ shard: "abc" }), keys, TOWN), null, "a shard is named by digits");

equal((await looked(line("5000000000"), [whole], MADE + DAY)).answer, "expired", "after its end it says nothing");
equal((await looked(`21142051${number(0)}`, [whole], MADE)).answer, "none", "of another municipality's coupons it says nothing");
const seven = await opened(shard({ shard: "37" }), keys, TOWN);
equal((await looked(line("5000000038"), [seven], MADE)).answer, "none", "nor of numbers that another shard covers");
equal((await looked(line(number(1)), [seven], MADE)).answer, "issued", "those with its last digits it knows");

equal(missing([], MADE), "00", "to be loaded: from 00 on");
equal(missing([whole], MADE), null, "the whole town in one shard: nothing more");
equal(missing([whole], MADE + DAY / 2), "00", "again in the second half of its life");
const tens = await Promise.all([..."0123456789"].filter(d => d !== "4").map(d => opened(shard({ shard: d }), keys, TOWN)));
equal(missing(tens, MADE), "04", "by the shard that is missing");
finish();
