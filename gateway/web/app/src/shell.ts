/** The service worker: kept up to date, but never in the middle of a call. */

let isInCall = (): boolean => false;

/** Says how to find out whether a call is up. */
export function callsAre(isUp: () => boolean): void {
  isInCall = isUp;
}

export function keepShell(): void {
  if (!("serviceWorker" in navigator)) return;
  void navigator.serviceWorker
    .register("/sw.js")
    .then((kept) => kept.addEventListener("updatefound", () => watch(kept)))
    .catch(() => undefined);
}

function watch(kept: ServiceWorkerRegistration): void {
  const fresh = kept.installing;
  fresh?.addEventListener("statechange", () => {
    if (fresh.state === "installed" && !isInCall()) fresh.postMessage("take over");
  });
}
