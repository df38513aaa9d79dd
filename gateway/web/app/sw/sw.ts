/**
 * Keeps the shell of the page, so that it opens without a network and says what is wrong. It never touches a call: not `/v1`, not
 * `/signaling`, no stream of events, nothing but GETs of the shell's own files.
 */
declare const self: ServiceWorkerGlobalScope;
declare const __SHELL__: string[];
declare const __VERSION__: string;

const CACHE = `shell-${__VERSION__}`;

self.addEventListener("install", (event) => {
  const fresh = __SHELL__.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOlder().then(() => self.clients.claim()));
});

async function dropOlder(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
}

// The page asks for it, when no call is up.
self.addEventListener("message", (event) => {
  if (event.data === "take over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const isShell = url.origin === self.location.origin && __SHELL__.includes(url.pathname);
  if (event.request.method !== "GET" || !isShell) return;
  event.respondWith(isHashed(url) ? kept(event.request) : newest(event.request, url.pathname));
});

function isHashed(url: URL): boolean {
  return url.pathname.startsWith("/assets/");
}

async function kept(request: Request): Promise<Response> {
  return (await caches.match(request)) ?? fetch(request);
}

/** What the gateway has, if it answers soon; else what was kept. */
async function newest(request: Request, path: string): Promise<Response> {
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(3_000) });
    if (answer.ok) return answer;
  } catch {
    // No network, or no gateway: the shell says so.
  }
  return (await caches.match(path)) ?? Response.error();
}
