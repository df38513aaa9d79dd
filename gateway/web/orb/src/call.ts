/**
 * `<voice-call url="https://gateway.example" token="ek_…">`: a whole call in one element, by one script tag.
 *
 * `token` may be left out and set as a property: a function that gets one, asked when the person clicks. Attributes `path` (`udp`, `tcp`,
 * `ws`: only that one), `greets` (the other side speaks first) and `no-transcript`. Events `statechange`, `transcript`, `stats`, with what the client tells as `detail`.
 */
import { type CallState, microphones, type Path, VoiceCall } from "@patchbay/client";
import { LABELS } from "./labels.ts";
import "./orb.ts";
import type { VoiceOrb } from "./orb.ts";
import { define, sheet } from "./sheet.ts";
import "./transcript.ts";
import type { VoiceTranscript } from "./transcript.ts";
import { Words } from "./words.ts";

const STYLE = sheet(`
:host { display: inline-flex; flex-direction: column; align-items: center; gap: .75rem; font: inherit; font-family: var(--voice-font, system-ui, sans-serif); max-width: 100%; }
[part=controls] { display: flex; gap: .5rem; flex-wrap: wrap; justify-content: center; }
button { font: inherit; font-weight: 600; min-height: 44px; padding: 0 1.2rem; border-radius: 22px; border: 1px solid color-mix(in srgb, currentColor 35%, transparent); background: transparent; color: inherit; cursor: pointer; }
button:focus-visible { outline: 3px solid var(--voice-focus, #2f6fd0); outline-offset: 2px; }
button[part=start] { background: var(--voice-accent, #0d6b66); border-color: transparent; color: #fff; }
button[aria-pressed=true] { background: color-mix(in srgb, currentColor 18%, transparent); }
[hidden] { display: none !important; }
[part=problem] { max-width: 24rem; text-align: center; margin: 0; }
voice-transcript { width: min(32rem, 100%); max-height: 16rem; }
`);

export class VoiceCallElement extends HTMLElement {
  /** Gets a token; used where the attribute `token` is absent. */
  tokenProvider: (() => Promise<string>) | undefined;

  readonly #orb: VoiceOrb;
  readonly #transcript: VoiceTranscript;
  readonly #status = made("p", "status", { role: "status", "aria-live": "polite" });
  readonly #problem = made("p", "problem", { role: "alert" });
  readonly #start = button("start", "Start talking");
  readonly #mute = button("mute", "Mute");
  readonly #interrupt = button("interrupt", "Interrupt");
  readonly #end = button("end", "End");
  #call: VoiceCall | undefined;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    this.#orb = document.createElement("voice-orb") as VoiceOrb;
    this.#orb.setAttribute("quiet", "");
    this.#orb.setAttribute("exportparts", "canvas");
    this.#transcript = document.createElement("voice-transcript") as VoiceTranscript;
    this.#transcript.setAttribute("exportparts", "log, entry, words, cut");
    const controls = made("div", "controls");
    controls.append(this.#start, this.#mute, this.#interrupt, this.#end);
    root.append(this.#orb, this.#status, this.#problem, controls, this.#transcript);
    this.#start.onclick = () => this.start();
    this.#mute.onclick = () => this.#toggleMute();
    this.#interrupt.onclick = () => this.#call?.interrupt();
    this.#end.onclick = () => this.end();
    this.#show("idle");
  }

  /** The call that is up, for whoever wants more than the element. */
  get call(): VoiceCall | undefined {
    return this.#call;
  }

  connectedCallback(): void {
    this.#transcript.hidden = this.hasAttribute("no-transcript");
  }

  disconnectedCallback(): void {
    this.end();
  }

  /** Begins; in a click. */
  start(): void {
    this.end();
    this.#transcript.clear();
    const token = this.getAttribute("token") ?? this.tokenProvider ?? "";
    const path = this.getAttribute("path") as Path | null;
    const url = this.getAttribute("url") ?? new URL(/* @vite-ignore */ "/", import.meta.url);
    const greets = this.hasAttribute("greets");
    const call = new VoiceCall({ url, token, greets, ...(path ? { paths: [path] } : {}) });
    this.#call = call;
    call.on("statechange", (detail) => {
      this.#show(detail.state, detail.fault?.message);
      this.#tell("statechange", detail);
    });
    const words = new Words();
    words.follow(call, (spoken) => {
      this.#transcript.show(spoken);
      this.#tell("transcript", { spoken, all: words.all });
    });
    call.on("levels", (levels) => {
      this.#orb.levelIn = levels.in;
      this.#orb.levelOut = levels.out;
    });
    call.on("stats", (detail) => this.#tell("stats", detail));
    call.on("notice", ({ message }) => (this.#problem.textContent = message));
    void call.start();
  }

  end(): void {
    this.#call?.end();
    this.#call = undefined;
  }

  /** The microphones that there are. */
  static microphones = microphones;

  #toggleMute(): void {
    this.#call?.mute(!this.#call.isMuted);
    this.#mute.setAttribute("aria-pressed", String(this.#call?.isMuted ?? false));
  }

  #show(state: CallState, problem = ""): void {
    const isUp = state !== "idle" && state !== "error";
    this.#orb.state = state;
    this.#status.textContent = LABELS[state];
    this.#problem.textContent = problem;
    this.#start.hidden = isUp;
    for (const one of [this.#mute, this.#interrupt, this.#end]) one.hidden = !isUp;
    if (!isUp) this.#mute.setAttribute("aria-pressed", "false");
  }

  #tell(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

function made(tag: string, part: string, attributes: Record<string, string> = {}): HTMLElement {
  const element = document.createElement(tag);
  element.setAttribute("part", part);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function button(part: string, text: string): HTMLButtonElement {
  const element = made("button", part, { type: "button" }) as HTMLButtonElement;
  element.textContent = text;
  return element;
}

define("voice-call", VoiceCallElement);
