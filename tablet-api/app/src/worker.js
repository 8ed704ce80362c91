// The service worker: the app for a start without network.  A new version waits for a person's word.
import { change } from "./state.js";

export async function registerWorker() {
  if (!navigator.serviceWorker) return;
  try {
    const r = await navigator.serviceWorker.register("/app/sw.js", { scope: "/", updateViaCache: "none" });
    const offer = () => {
      if (r.waiting && navigator.serviceWorker.controller) change({ newVersion: () => r.waiting?.postMessage("switch") });
    };
    offer();
    r.addEventListener("updatefound", () => r.installing?.addEventListener("statechange", offer));
    let had = !!navigator.serviceWorker.controller;
    navigator.serviceWorker.addEventListener("controllerchange", () => {
      if (had) location.reload();
      had = true;
    });
    setInterval(() => r.update().catch(() => {}), 30 * 60000);
  } catch { /* no offline start, everything else works */ }
}
