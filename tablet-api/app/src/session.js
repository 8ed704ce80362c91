// Who works here: log in, log out, what is fetched once a session is open.
import { call, hasToken, setToken } from "./api.js";
import * as db from "./db.js";
import { loadFilters, recallFilters } from "./filter-load.js";
import { note, schedule, stopped } from "./outbox.js";
import { change, state } from "./state.js";

/** What the app needs to start; the last one is kept for a start without network. */
export async function loadApp() {
  const [app, vaccines] = await Promise.all([call("GET", "/v1/app-state"), call("GET", "/v1/vaccines")]);
  note(app);
  if (app.ok && vaccines.ok) {
    change({ app: app.json, vaccines: vaccines.json.products, revoked: null });
    await db.setSetting("app", { app: app.json, vaccines: vaccines.json.products });
    schedule(0);
    await recallFilters();
    loadFilters();
    return true;
  }
  stopped(app);
  const kept = await db.setting("app");
  if (kept) change({ app: kept.app, vaccines: kept.vaccines });
  await recallFilters();
  return false;
}

export async function logIn(user_id, password) {
  const r = await call("POST", "/v1/sessions", { user_id, password });
  note(r);
  if (!r.ok) {
    stopped({ code: r.code, detail: r.detail });
    return r.away ? "サーバーにつながりません。通信を確認してください。読み取った記録はこの端末に保管されています。" : r.detail;
  }
  setToken(r.json.token);
  change({ user: { user_id: r.json.user_id, roles: r.json.roles, rights: r.json.rights ?? [] }, session: "open", page: state.sitting ? "read" : "setup" });
  await loadApp();
  schedule(0);
  return null;
}

/** The next person chooses product and lot anew, but for a local session, which cannot choose. */
export async function logOut() {
  const local = state.session === "local";
  if (hasToken()) await call("DELETE", "/v1/sessions/current");
  setToken(null);
  if (!local) await db.remove("settings", "sitting");
  change({ user: null, session: "none", sitting: local ? state.sitting : null, page: "login" });
}
