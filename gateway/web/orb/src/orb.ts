/**
 * `<voice-orb state="listening" level-in="0.4" level-out="0">`: the state of a call, to be seen. Levels are 0 to 1.
 *
 * Parts: `canvas`, `label`. Properties: `--orb-size`, `--orb-ink`, and for each state `--orb-STATE` and `--orb-STATE-far`. The attribute
 * `label` says the state in other words; `quiet` hides the label where the page says it elsewhere.
 */
import type { CallState } from "@patchbay/client";
import { isState, LABELS } from "./labels.ts";
import { hex, type Look, paint } from "./paint.ts";
import { define, sheet } from "./sheet.ts";

const STYLE = sheet(`
:host { display: inline-flex; flex-direction: column; align-items: center; gap: .5rem; --orb-ink: currentColor; }
:host([hidden]) { display: none; }
canvas { width: var(--orb-size, 14rem); height: var(--orb-size, 14rem); display: block; }
[part=label] { font-weight: 600; letter-spacing: .01em; min-height: 1.5em; text-align: center; }
:host([quiet]) [part=label] { display: none; }
`);

/** Near and far colour of each state, unless the page says otherwise. White signs on them have a contrast of 3 and more. */
const HUES: Record<CallState, readonly [string, string]> = {
  idle: ["#3d7f86", "#1c4a56"],
  connecting: ["#5d7480", "#33454f"],
  listening: ["#17877b", "#0b5a5e"],
  hearing: ["#2f6fd0", "#173f92"],
  thinking: ["#7a5cc8", "#45308c"],
  speaking: ["#d2622a", "#9c3418"],
  interrupted: ["#a8682a", "#74431a"],
  muted: ["#6f7577", "#484e50"],
  error: ["#c93a3f", "#8c1f2b"],
};

/** Thirty pictures a second are smooth for something this calm, and cost half of sixty. */
const FRAME_MS = 30;
/** A level is followed quickly when it rises and slowly when it falls, as an ear does it. */
const RISE = 0.6;
const FALL = 0.2;

export class VoiceOrb extends HTMLElement {
  static readonly observedAttributes = ["state", "level-in", "level-out", "label"];

  readonly #canvas = document.createElement("canvas");
  readonly #label = document.createElement("div");
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  #state: CallState = "idle";
  #levels = { in: 0, out: 0 };
  #smooth = { in: 0, out: 0 };
  #frame = 0;
  #painted = 0;
  #seen: IntersectionObserver | undefined;
  #isSeen = true;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    this.#canvas.setAttribute("part", "canvas");
    this.#canvas.setAttribute("aria-hidden", "true");
    this.#label.setAttribute("part", "label");
    this.#label.textContent = LABELS.idle;
    root.append(this.#canvas, this.#label);
  }

  get state(): CallState {
    return this.#state;
  }

  set state(state: CallState) {
    this.setAttribute("state", state);
  }

  /** How loud the person is, 0 to 1. */
  set levelIn(level: number) {
    this.#levels.in = clamp(level);
    if (this.#still.matches) this.#wake();
  }

  /** How loud the other side is, 0 to 1. */
  set levelOut(level: number) {
    this.#levels.out = clamp(level);
    if (this.#still.matches) this.#wake();
  }

  connectedCallback(): void {
    this.#seen = new IntersectionObserver(([entry]) => {
      this.#isSeen = entry?.isIntersecting ?? true;
      this.#wake();
    });
    this.#seen.observe(this);
    this.#still.addEventListener("change", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#wake();
  }

  disconnectedCallback(): void {
    this.#seen?.disconnect();
    this.#still.removeEventListener("change", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  attributeChangedCallback(name: string, _old: string | null, value: string | null): void {
    if (name === "level-in") this.levelIn = Number(value);
    else if (name === "level-out") this.levelOut = Number(value);
    else if (name === "state") this.#become(isState(value) ? value : "idle");
    this.#label.textContent = this.getAttribute("label") ?? LABELS[this.#state];
  }

  #become(state: CallState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new CustomEvent("statechange", { detail: { state } }));
    this.#wake();
  }

  /** Nothing is painted that nobody sees, and nothing moves for those who do not want it to. */
  #wake = (): void => {
    this.#frame ||= requestAnimationFrame(this.#paint);
  };

  #paint = (now: number): void => {
    this.#frame = 0;
    if (!this.isConnected || !this.#isSeen || document.hidden) return;
    const isStill = this.#still.matches;
    if (!isStill && now - this.#painted < FRAME_MS) return this.#wake();
    this.#painted = now;
    for (const side of ["in", "out"] as const) {
      const step = this.#levels[side] > this.#smooth[side] ? RISE : FALL;
      this.#smooth[side] += (this.#levels[side] - this.#smooth[side]) * (isStill ? 1 : step);
    }
    const size = this.#fit();
    const to = this.#canvas.getContext("2d");
    if (to && size > 0) paint(to, size, this.#look(to, now, isStill));
    if (!isStill) this.#wake();
  };

  #look(to: CanvasRenderingContext2D, now: number, isStill: boolean): Look {
    const style = getComputedStyle(this);
    const hue = (name: string, usual: string) => hex(to, style.getPropertyValue(`--orb-${name}`).trim() || usual);
    const [near, far] = HUES[this.#state];
    return {
      state: this.#state,
      levelIn: this.#smooth.in,
      levelOut: this.#smooth.out,
      time: isStill ? 0 : now / 1000,
      isStill,
      ink: hex(to, style.color),
      hues: [hue(this.#state, near), hue(`${this.#state}-far`, far)],
    };
  }

  #fit(): number {
    const size = Math.round(this.#canvas.clientWidth * Math.min(2, devicePixelRatio || 1));
    if (this.#canvas.width !== size) this.#canvas.width = this.#canvas.height = size;
    return size;
  }
}

function clamp(level: number): number {
  return Number.isFinite(level) ? Math.max(0, Math.min(1, level)) : 0;
}

define("voice-orb", VoiceOrb);
