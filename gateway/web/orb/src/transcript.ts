/**
 * `<voice-transcript>`: the words of both sides. `show(spoken)` puts one in or changes it.
 *
 * A `role="log"`: a screen reader is told each sentence once it is whole, never half a word. What is not whole yet is there for the
 * eye only. Attributes `you` and `them` name the two. Parts: `log`, `entry`, `you`, `them`, `who`, `words`, `cut`, `empty`.
 */
import { endOfSentences } from "./sentence.ts";
import { define, sheet } from "./sheet.ts";
import type { Spoken } from "./words.ts";

const STYLE = sheet(`
:host { display: block; overflow-y: auto; overscroll-behavior: contain; }
[part=log] { display: flex; flex-direction: column; gap: .9rem; padding: 1rem; min-height: 100%; box-sizing: border-box; }
[part~=entry] { max-width: min(34rem, 88%); align-self: flex-start; }
[part~=you] { align-self: flex-end; text-align: end; }
[part=who] { display: block; font-size: .75rem; font-weight: 600; letter-spacing: .03em; color: var(--transcript-soft, inherit); margin: 0 .25rem .2rem; }
[part=words] { display: inline-block; text-align: start; padding: .55rem .85rem; border-radius: 1.1rem; border-end-start-radius: .3rem; background: var(--transcript-them, color-mix(in srgb, currentColor 8%, transparent)); overflow-wrap: anywhere; }
[part~=you] [part=words] { border-radius: 1.1rem; border-end-end-radius: .3rem; background: var(--transcript-you, color-mix(in srgb, currentColor 16%, transparent)); }
[part=cut] { text-decoration-thickness: .1em; color: var(--transcript-soft, inherit); }
.soft { color: var(--transcript-soft, inherit); font-style: italic; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
[part=empty] { margin: auto; text-align: center; max-width: 24rem; color: var(--transcript-soft, inherit); }
`);

const NAMES = { you: "You", them: "Assistant" } as const;

/** What is in the page of one entry. */
interface Shown {
  readonly entry: HTMLElement;
  readonly words: HTMLElement;
  /** Letters that are in the page as whole sentences. */
  told: number;
}

export class VoiceTranscript extends HTMLElement {
  readonly #log = document.createElement("div");
  readonly #empty = document.createElement("p");
  #shown = new Map<string, Shown>();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    this.#log.setAttribute("part", "log");
    this.#log.setAttribute("role", "log");
    this.#log.setAttribute("aria-label", "Transcript");
    this.#log.tabIndex = 0;
    this.#empty.setAttribute("part", "empty");
    this.#empty.append(document.createElement("slot"));
    this.#log.append(this.#empty);
    root.append(this.#log);
  }

  /** Puts it in, or brings it up to date. */
  show(spoken: Spoken): void {
    const wasAtEnd = this.scrollHeight - this.scrollTop - this.clientHeight < 80;
    const shown = this.#shown.get(spoken.id) ?? this.#add(spoken);
    if (spoken.words === "") this.#showWordless(shown, spoken);
    else if (spoken.cutAt === undefined) this.#showWords(shown, spoken);
    else this.#showCut(shown, spoken, spoken.cutAt);
    if (wasAtEnd) this.scrollTop = this.scrollHeight;
  }

  clear(): void {
    this.#shown.clear();
    this.#log.replaceChildren(this.#empty);
    this.#busy();
  }

  #add(spoken: Spoken): Shown {
    this.#empty.remove();
    const entry = document.createElement("div");
    entry.setAttribute("part", `entry ${spoken.who}`);
    const who = part("span", "who", this.getAttribute(spoken.who) ?? NAMES[spoken.who]);
    const words = part("span", "words");
    entry.append(who, words);
    this.#log.append(entry);
    const shown = { entry, words, told: 0 };
    this.#shown.set(spoken.id, shown);
    return shown;
  }

  /** Whole sentences stay as they are, so that each is told once; the rest is drawn anew. */
  #showWords(shown: Shown, spoken: Spoken): void {
    const whole = spoken.isDone ? spoken.words.length : endOfSentences(spoken.words);
    if (shown.told === 0 || whole < shown.told) shown.words.replaceChildren();
    if (whole < shown.told) shown.told = 0;
    shown.words.querySelector(".tail")?.remove();
    if (whole > shown.told) shown.words.append(part("span", "", spoken.words.slice(shown.told, whole)));
    shown.told = whole;
    if (whole < spoken.words.length) shown.words.append(unread(spoken.words.slice(whole)));
    this.#busy();
  }

  /** It was said, and nobody wrote it down: at least that is shown. */
  #showWordless(shown: Shown, spoken: Spoken): void {
    const length = spoken.lengthMs === undefined ? "" : `, ${(spoken.lengthMs / 1000).toFixed(1)} s`;
    const isOver = spoken.isDone || spoken.lengthMs !== undefined;
    const cut = spoken.cutAt === undefined ? "" : ", cut off";
    const text = isOver ? `Spoken${length}${cut}` : "…";
    const note = part("span", "", text);
    note.className = "soft";
    if (!isOver) note.setAttribute("aria-hidden", "true");
    shown.words.replaceChildren(note);
    shown.told = 0;
    this.#busy();
  }

  #showCut(shown: Shown, spoken: Spoken, at: number): void {
    const struck = part("s", "cut", spoken.words.slice(at));
    const note = part("span", "", " (cut off here) ");
    note.className = "unseen";
    shown.words.replaceChildren(part("span", "", spoken.words.slice(0, at)), note, struck);
    shown.told = spoken.words.length;
    this.#busy();
  }

  /** While a sentence is growing. */
  #busy(): void {
    const isBusy = this.#log.querySelector(".tail") !== null;
    this.#log.setAttribute("aria-busy", String(isBusy));
  }
}

function part(tag: string, name: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (name) made.setAttribute("part", name);
  made.textContent = text;
  return made;
}

function unread(text: string): HTMLElement {
  const tail = part("span", "", text);
  tail.className = "tail";
  tail.setAttribute("aria-hidden", "true");
  return tail;
}

define("voice-transcript", VoiceTranscript);
