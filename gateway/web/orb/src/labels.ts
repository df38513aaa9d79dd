/** What stands under the orb: the state, in words. */
import type { CallState } from "@patchbay/client";

export const LABELS: Record<CallState, string> = {
  idle: "Ready",
  connecting: "Connecting…",
  listening: "Listening",
  hearing: "Hearing you",
  thinking: "Thinking…",
  speaking: "Speaking",
  interrupted: "Interrupted",
  muted: "Muted",
  error: "Something went wrong",
};

/** Whether a text names a state. */
export function isState(text: string | null): text is CallState {
  return text !== null && Object.hasOwn(LABELS, text);
}
