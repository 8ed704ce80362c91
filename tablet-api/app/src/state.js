// The one state of the app and who is told of its changes; pages only read it and call acts.
import { useEffect, useState } from "preact/hooks";

export const state = {
  page: "login",
  user: null, // {user_id, roles, rights}
  session: "none", // none | open | expired | local (unlocked without network)
  revoked: null, // words, when the terminal is refused
  online: true, // the last request had an answer
  app: null, // app-state
  clock: 0, // ms that this tablet is ahead
  vaccines: [],
  sitting: null, // {product, lot, expires, vaccinated_on, site, physician}
  waiting: [], // rows of the outbox without a problem
  attention: [], // rows with a problem: 要対応
  done: [], // receipts of today, newest first
  exported: [], // ids that were written to a file for a second tablet
  unlock: null, // the local unlock as it was set, null none
  newVersion: null, // acts: switches to it
};

const listeners = new Set();

export function change(part) {
  Object.assign(state, part);
  for (const l of listeners) l();
}

export function useApp() {
  const [, again] = useState(0);
  useEffect(() => {
    const l = () => again(n => n + 1);
    listeners.add(l);
    return () => listeners.delete(l);
  }, []);
  return state;
}

/** The Japanese day of a moment. */
export const day = (ms = Date.now()) => new Date(ms + 9 * 3600000).toISOString().slice(0, 10);
/** 2021-07-19 → 2021年7月19日 */
export const japanese = date => date.replace(/^(\d+)-0?(\d+)-0?(\d+)$/, "$1年$2月$3日");
export const time = ms => new Date(ms).toLocaleTimeString("ja-JP", { hour: "2-digit", minute: "2-digit" });
