/* global SHELL, VERSION */
// The app itself, for a start without network.  The API is never kept and never answered from here.
const CACHE = "vrs-app-" + VERSION;

self.addEventListener("install", e => {
  e.waitUntil(caches.open(CACHE).then(c => c.addAll(SHELL.map(u => new Request(u, { cache: "no-cache" })))));
});

self.addEventListener("activate", e => {
  e.waitUntil(caches.keys()
    .then(names => Promise.all(names.filter(n => n !== CACHE).map(n => caches.delete(n))))
    .then(() => self.clients.claim()));
});

// A new version waits until the person says so.
self.addEventListener("message", e => {
  if (e.data === "switch") self.skipWaiting();
});

self.addEventListener("fetch", e => {
  const url = new URL(e.request.url);
  if (e.request.method !== "GET" || url.origin !== location.origin) return;
  if (url.pathname !== "/" && !url.pathname.startsWith("/app/")) return;
  e.respondWith(caches.open(CACHE).then(c => c.match(url.pathname)).then(hit => hit ?? fetch(e.request)));
});
