/** The words of both sides, in the order of the conversation, put together from the events of a call. */
import { isObject, number, text, type VoiceCall, type WireEvent } from "@patchbay/client";

/** What one side said at one time. */
export interface Spoken {
  /** The item's id at the provider. */
  readonly id: string;
  readonly who: "you" | "them";
  /** The words so far; empty while, or if, they are not known. */
  words: string;
  /** No more words will come. */
  isDone: boolean;
  /** From here on nobody heard it: it was cut. A position in `words`. */
  cutAt?: number;
  /** How long it was spoken, where that is known. */
  lengthMs?: number;
  /** It was written, not spoken. */
  isWritten?: boolean;
}

/** Letters a second of speech, where nothing better is known: 150 words a minute of 6 letters. */
const LETTERS_PER_S = 15;
/** Kept of a long call: the latest. */
const KEPT_MAX = 500;

export class Words {
  #spoken: Spoken[] = [];
  /** When the person began to speak, by item, in the provider's time. */
  #began = new Map<string, number>();

  /** Everything, in order. */
  get all(): readonly Spoken[] {
    return this.#spoken;
  }

  /** Listens to a call from now on, and tells what changed, until the function that is answered is called. */
  follow(call: VoiceCall, tell: (spoken: Spoken) => void): () => void {
    const changed = (spoken: Spoken | undefined) => {
      if (spoken) tell(spoken);
    };
    const stop = [
      call.on("event", ({ event }) => changed(this.take(event))),
      call.on("cut", ({ itemId, heardMs, totalMs }) => changed(this.cut(itemId, heardMs, totalMs))),
    ];
    return () => stop.forEach((one) => one());
  }

  /** What changed because of an event, if something did. */
  take(event: WireEvent): Spoken | undefined {
    const id = text(event, "item_id");
    const about = event.type.replace(/^response\.output_/, "");
    switch (about) {
      case "input_audio_buffer.speech_started":
        if (id) this.#began.set(id, number(event, "audio_start_ms") ?? 0);
        return id ? this.#of(id, "you") : undefined;
      case "input_audio_buffer.speech_stopped":
        return id ? this.#stopped(id, number(event, "audio_end_ms")) : undefined;
      case "conversation.item.input_audio_transcription.delta":
        return id ? this.#grow(id, "you", text(event, "delta")) : undefined;
      case "conversation.item.input_audio_transcription.completed":
        return id ? this.#finish(id, "you", text(event, "transcript")) : undefined;
      case "conversation.item.input_audio_transcription.failed":
        return id ? this.#finish(id, "you", undefined) : undefined;
      case "audio_transcript.delta":
      case "text.delta":
        return id ? this.#grow(id, "them", text(event, "delta")) : undefined;
      case "audio_transcript.done":
        return id ? this.#finish(id, "them", text(event, "transcript")) : undefined;
      case "text.done":
        return id ? this.#finish(id, "them", text(event, "text")) : undefined;
      case "conversation.item.truncated":
        return id ? this.cut(id, number(event, "audio_end_ms") ?? 0) : undefined;
      case "conversation.item.create":
      case "conversation.item.added":
      case "conversation.item.created":
        return this.#added(event["item"]);
      case "item.added":
        return this.#added(event["item"]);
      case "item.done":
      case "conversation.item.done":
        return this.#ended(event["item"]);
      default:
        return undefined;
    }
  }

  /** Nobody heard it beyond `heardMs`, of `totalMs` that came, where that is known. */
  cut(id: string, heardMs: number, totalMs?: number): Spoken | undefined {
    const spoken = this.#spoken.find((one) => one.id === id);
    if (!spoken || spoken.cutAt !== undefined) return undefined;
    const letters = totalMs ? (spoken.words.length * heardMs) / totalMs : (heardMs / 1000) * LETTERS_PER_S;
    spoken.cutAt = atWord(spoken.words, letters);
    spoken.isDone = true;
    spoken.lengthMs = heardMs;
    return spoken;
  }

  #of(id: string, who: Spoken["who"]): Spoken {
    const known = this.#spoken.find((one) => one.id === id);
    if (known) return known;
    const spoken: Spoken = { id, who, words: "", isDone: false };
    this.#spoken.push(spoken);
    if (this.#spoken.length > KEPT_MAX) this.#spoken.shift();
    return spoken;
  }

  /** What comes late of something that was cut is not said any more. */
  #grow(id: string, who: Spoken["who"], delta = ""): Spoken {
    const spoken = this.#of(id, who);
    if (!spoken.isDone || spoken.words === "") spoken.words += spoken.cutAt === undefined ? delta : "";
    return spoken;
  }

  #finish(id: string, who: Spoken["who"], words: string | undefined): Spoken {
    const spoken = this.#of(id, who);
    if (spoken.cutAt === undefined && words !== undefined) spoken.words = words.trim();
    spoken.isDone = true;
    return spoken;
  }

  #stopped(id: string, endMs: number | undefined): Spoken {
    const spoken = this.#of(id, "you");
    const began = this.#began.get(id);
    if (began !== undefined && endMs !== undefined) spoken.lengthMs = Math.max(0, endMs - began);
    return spoken;
  }

  #added(item: unknown): Spoken | undefined {
    const id = text(item, "id");
    const role = text(item, "role");
    if (!id || text(item, "type") !== "message" || role === "system") return undefined;
    const spoken = this.#of(id, role === "user" ? "you" : "them");
    const words = wordsOf(item);
    if (words && !spoken.words) spoken.words = words;
    if (role === "user" && hasText(item)) Object.assign(spoken, { isDone: true, isWritten: true });
    return spoken;
  }

  #ended(item: unknown): Spoken | undefined {
    const spoken = this.#added(item);
    // A person's words are transcribed on their own time; an answer that is done gets no more.
    if (spoken?.who === "them") spoken.isDone = true;
    return spoken;
  }
}

function wordsOf(item: unknown): string {
  const parts = isObject(item) && Array.isArray(item["content"]) ? (item["content"] as unknown[]) : [];
  return parts.map((part) => text(part, "transcript") ?? text(part, "text") ?? "").join(" ").trim();
}

function hasText(item: unknown): boolean {
  const parts = isObject(item) && Array.isArray(item["content"]) ? (item["content"] as unknown[]) : [];
  return parts.some((part) => text(part, "type") === "input_text");
}

/** The end of the last word that lies wholly before `letters`. */
function atWord(words: string, letters: number): number {
  if (letters >= words.length) return words.length;
  const end = words.lastIndexOf(" ", letters);
  return Math.max(0, end);
}
