/** Figures as people read them. */
import type { Listed } from "./operator.svelte.ts";

/** When, on the clock of the reader. */
export function clock(unixS: number): string {
  return new Date(unixS * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** How long it lasted, or has lasted so far. */
export function since(call: Listed): string {
  const ms = call.state === "ended" ? (call.duration_ms ?? 0) : Math.max(0, Date.now() - call.started_at * 1000);
  const seconds = Math.floor(ms / 1000);
  return call.state === "lost" ? "–" : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export function money(microUsd: number | undefined): string {
  return microUsd === undefined ? "–" : `$${(microUsd / 1e6).toFixed(microUsd < 10_000 ? 4 : 2)}`;
}
