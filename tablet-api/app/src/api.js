// One request to tablet-api, told apart by what must follow:
//   {ok, status, json}                              done
//   {problem, status, code, detail, json, wait_ms}  refused; `again`: later with the same key
//   {away}                                          no answer: the network, or the server

const TIMEOUT_MS = 15000;
let token = null;

export const setToken = t => { token = t; };
export const hasToken = () => token !== null;

export async function call(method, path, body, key) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = "Bearer " + token;
  if (key) headers["Idempotency-Key"] = key;
  const sent = Date.now();
  let r;
  try {
    r = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
      credentials: "same-origin", redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const json = r.status === 204 ? null : await r.json().catch(() => null);
    const server = Date.parse(r.headers.get("Date") ?? "");
    const clock = Number.isNaN(server) ? null : (sent + Date.now()) / 2 - server;
    if (r.ok && (json !== null || r.status === 204)) return { ok: true, status: r.status, json, clock };
    if (r.ok) return { away: true };
    const again = r.status >= 500 || [408, 425, 429].includes(r.status) || json?.code === "request_in_progress";
    const wait_ms = 1000 * (Number(r.headers.get("Retry-After")) || 0);
    return { problem: true, status: r.status, code: json?.code ?? "", detail: json?.detail ?? `エラー（${r.status}）`, json, again, wait_ms, clock };
  } catch {
    return { away: true };
  }
}
