/** Who holds the floor, put together from events: what the orb shows. */
import type { WireEvent } from "./wire.ts";

/** Nine states of a call. */
export type CallState =
  | "idle"
  | "connecting"
  | "listening"
  | "hearing"
  | "thinking"
  | "speaking"
  | "interrupted"
  | "muted"
  | "error";

/** How long an interruption is shown. */
export const INTERRUPTED_MS = 200;
/** An answer that is owed and does not come is no longer waited for. */
const OWED_MS = 15_000;

export class Floor {
  connection: "idle" | "connecting" | "open" | "error" = "idle";
  isMuted = false;
  #isHearing = false;
  #isPlaying = false;
  #isAnswering = false;
  #owedUntil = 0;
  #interruptedUntil = 0;

  /** Whether an answer is being made. */
  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  /** Whether an answer is being heard. */
  get isPlaying(): boolean {
    return this.#isPlaying;
  }

  /** The state at `now`, in milliseconds of any clock. */
  state(now: number): CallState {
    if (this.connection !== "open") return this.connection;
    if (now < this.#interruptedUntil) return "interrupted";
    if (this.#isHearing) return "hearing";
    if (this.#isPlaying) return "speaking";
    if (this.#isAnswering || now < this.#owedUntil) return "thinking";
    return this.isMuted ? "muted" : "listening";
  }

  /** A call begins or ends: nothing of the last one holds. */
  reset(): void {
    this.#isHearing = this.#isPlaying = this.#isAnswering = false;
    this.#owedUntil = this.#interruptedUntil = 0;
  }

  /** The first sound of an answer, or its last. */
  plays(isPlaying: boolean): void {
    this.#isPlaying = isPlaying;
    if (isPlaying) this.#owedUntil = 0;
  }

  /** What was being said is cut. */
  cut(now: number): void {
    if (this.#isPlaying) this.#interruptedUntil = now + INTERRUPTED_MS;
    this.#isPlaying = false;
    this.#isAnswering = false;
  }

  /** An answer is owed: something was written. */
  asked(now: number): void {
    this.#owedUntil = now + OWED_MS;
  }

  take(event: WireEvent, now: number): void {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#isHearing = true;
        this.#owedUntil = 0;
        break;
      case "input_audio_buffer.speech_stopped":
        this.#isHearing = false;
        this.asked(now);
        break;
      case "input_audio_buffer.cleared":
        this.#isHearing = false;
        break;
      case "response.created":
        this.#isAnswering = true;
        break;
      case "response.done":
        this.#isAnswering = false;
        this.#owedUntil = 0;
        break;
    }
  }
}
