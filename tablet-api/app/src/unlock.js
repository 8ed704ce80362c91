// After a restart without network: a code that a supervisor set while logged in opens reading again.
// It may fill the outbox and nothing else: nothing is sent, asked, undone or mended before a log-in.
//
// A supervisor is whom the municipality gave the right outbox.unlock, as the server said at the log-in.
// The code ends by itself: what was taken back meanwhile cannot be asked for without network.
import * as db from "./db.js";
import { change, state } from "./state.js";
import { fromBase64, toBase64 } from "./wire.js";

const ROUNDS = 600000, TRIES = 5, DAYS = 7;
const RIGHT = "outbox.unlock";
export const SHORTEST = 8;

async function derive(code, salt) {
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(code), "PBKDF2", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations: ROUNDS }, key, 256));
}

export const maySetUnlock = () => state.session === "open" && !!state.user?.rights.includes(RIGHT);

async function kept() {
  const u = await db.setting("unlock");
  if (u && !(u.ends > Date.now())) await db.remove("settings", "unlock");
  return u?.ends > Date.now() ? u : null;
}

export async function recallUnlock() {
  change({ unlock: await kept() });
}

/** By a supervisor who is logged in: their name stands for what is read under the code. */
export async function setUnlock(code) {
  if (!maySetUnlock()) throw new Error("outbox.unlock");
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const hash = toBase64(await derive(code, salt));
  const unlock = { user_id: state.user.user_id, salt: toBase64(salt), hash, tries: TRIES, ends: Date.now() + DAYS * 86400000 };
  await db.setSetting("unlock", unlock);
  change({ unlock });
}

/** → null or why not.  The code is gone after too many wrong ones. */
export async function unlock(code) {
  const u = await kept();
  if (!u) return "この端末には解錠コードが設定されていません。通信できる場所でログインしてください。";
  // Counted before it is compared: pulling the plug gives no free try.
  if (u.tries <= 1) await db.remove("settings", "unlock");
  else await db.setSetting("unlock", { ...u, tries: u.tries - 1 });
  const same = toBase64(await derive(code, fromBase64(u.salt))) === u.hash;
  if (same) {
    await db.setSetting("unlock", { ...u, tries: TRIES });
    change({ session: "local", user: { user_id: u.user_id, roles: [], rights: [] }, page: "read" });
    return null;
  }
  await recallUnlock();
  return u.tries <= 1 ? "解錠コードを続けて間違えたため、使えなくなりました。通信できる場所でログインしてください。"
    : `解錠コードが違います。あと${u.tries - 1}回で使えなくなります。`;
}
