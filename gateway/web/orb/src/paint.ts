/**
 * How a state looks: a socket of a patch bay. A soft sphere, rings around it, a sign in it. Each state differs in shape and in
 * motion, not in colour alone: what goes in runs inwards, what comes out runs outwards.
 */
import type { CallState } from "@patchbay/client";

export interface Look {
  state: CallState;
  /** Smoothed, 0 to 1. */
  levelIn: number;
  levelOut: number;
  /** Seconds, of any clock; it stands still where motion is not wanted. */
  time: number;
  isStill: boolean;
  /** Colours as `#rrggbb`: of lines, and of the sphere near and far. */
  ink: string;
  hues: readonly [string, string];
}

const TAU = Math.PI * 2;

/** Paints into a square of `size` pixels. */
export function paint(to: CanvasRenderingContext2D, size: number, look: Look): void {
  to.clearRect(0, 0, size, size);
  to.save();
  to.translate(size / 2, size / 2);
  to.scale(size / 200, size / 200);
  to.lineCap = "round";
  glow(to, look);
  rings(to, look);
  sphere(to, look);
  sign(to, look);
  to.restore();
}

/** In units of a square from -100 to 100. */
function radius({ state, levelIn, levelOut, time, isStill }: Look): number {
  const breath = isStill ? 0 : Math.sin(time * 1.1) * 0.8;
  if (state === "speaking") return 50 + levelOut * 9 + breath;
  if (state === "hearing") return 48 - levelIn * 8;
  if (state === "idle") return 46 + breath * 1.5;
  if (state === "muted" || state === "error") return 44;
  return 47 + breath;
}

function glow(to: CanvasRenderingContext2D, look: Look): void {
  const strength = { speaking: 0.4, hearing: 0.3, listening: 0.24, thinking: 0.26, connecting: 0.16, idle: 0.18, interrupted: 0.16, muted: 0.05, error: 0.16 }[look.state];
  const reach = radius(look);
  const light = to.createRadialGradient(0, 0, reach * 0.7, 0, 0, 98);
  light.addColorStop(0, alpha(look.hues[0], strength + look.levelOut * 0.2));
  light.addColorStop(1, alpha(look.hues[0], 0));
  to.fillStyle = light;
  to.fillRect(-100, -100, 200, 200);
}

function sphere(to: CanvasRenderingContext2D, look: Look): void {
  const reach = radius(look);
  to.save();
  if (look.state === "interrupted") split(to);
  outline(to, reach, look);
  to.clip();
  const [near, far] = look.hues;
  const body = to.createRadialGradient(-reach * 0.35, -reach * 0.45, reach * 0.1, 0, 0, reach * 1.15);
  body.addColorStop(0, lighter(near, 0.22));
  body.addColorStop(0.5, near);
  body.addColorStop(1, far);
  to.fillStyle = body;
  to.fillRect(-100, -100, 200, 200);
  if (look.state !== "muted" && look.state !== "error") currents(to, reach, look);
  to.restore();
}

/** Light that wanders within the sphere. */
function currents(to: CanvasRenderingContext2D, reach: number, { time, hues, levelIn, levelOut, state }: Look): void {
  const pace = state === "thinking" ? 1.6 : 0.5;
  to.globalCompositeOperation = "soft-light";
  for (let n = 0; n < 3; n++) {
    const turn = time * pace * (n % 2 ? -0.7 : 1) + (n * TAU) / 3;
    const [x, y] = [Math.cos(turn) * reach * 0.5, Math.sin(turn * 1.3) * reach * 0.45];
    const spot = to.createRadialGradient(x, y, 0, x, y, reach * 0.9);
    spot.addColorStop(0, alpha(n === 1 ? hues[1] : "#ffffff", 0.28 + Math.max(levelIn, levelOut) * 0.3));
    spot.addColorStop(1, "rgba(255,255,255,0)");
    to.fillStyle = spot;
    to.fillRect(-100, -100, 200, 200);
  }
  to.globalCompositeOperation = "source-over";
}

/** The edge: a circle that a voice makes waves on. */
function outline(to: CanvasRenderingContext2D, reach: number, { state, levelOut, levelIn, time, isStill }: Look): void {
  const swell = isStill ? 0 : state === "speaking" ? 0.4 + levelOut * 2.8 : state === "hearing" ? levelIn * 1.6 : 0.35;
  to.beginPath();
  for (let n = 0; n <= 120; n++) {
    const turn = (n / 120) * TAU;
    const wave = Math.sin(turn * 3 + time * 2.1) + Math.sin(turn * 5 - time * 3.3) * 0.6 + Math.sin(turn * 2 - time * 1.2) * 0.8;
    const far = reach + wave * swell;
    to.lineTo(Math.cos(turn) * far, Math.sin(turn) * far);
  }
  to.closePath();
}

/** Two halves with a gap: the sentence was cut. */
function split(to: CanvasRenderingContext2D): void {
  to.beginPath();
  to.rect(-100, -100, 93, 200);
  to.rect(7, -100, 93, 200);
  to.clip();
}

function rings(to: CanvasRenderingContext2D, look: Look): void {
  const { state, time, isStill, ink, hues, levelIn, levelOut } = look;
  to.lineWidth = 1.6;
  const ring = (far: number, color: string, dash: number[] = []) => {
    to.setLineDash(dash);
    to.strokeStyle = color;
    to.beginPath();
    to.arc(0, 0, far, 0, TAU);
    to.stroke();
    to.setLineDash([]);
  };
  switch (state) {
    case "idle":
      return ring(62, alpha(ink, 0.22));
    case "connecting":
      ring(64, alpha(ink, 0.14));
      return arcs(to, hues[0], isStill ? 0 : time * 2.4);
    case "listening":
      ring(62, alpha(hues[0], 0.85));
      return ring(62 + 5 + levelIn * 22, alpha(hues[0], 0.3 + levelIn * 0.4));
    case "hearing":
      return travelling(isStill ? 0.5 : 1 - ((time * 0.9) % 1), levelIn, ring, hues[0]);
    case "speaking":
      return travelling(isStill ? 0.5 : (time * 0.7) % 1, levelOut, ring, hues[0]);
    case "thinking":
      return ring(62, alpha(hues[0], 0.5), [2, 7]);
    case "interrupted":
      return ring(64, alpha(ink, 0.5), [10, 8]);
    case "muted":
      return ring(60, alpha(ink, 0.3));
    case "error":
      to.lineWidth = 2.4;
      return ring(62, hues[0], [14, 9]);
  }
}

/** Three rings on their way, in or out. */
function travelling(phase: number, level: number, ring: (far: number, color: string) => void, hue: string): void {
  for (let n = 0; n < 3; n++) {
    const way = (phase + n / 3) % 1;
    const shine = Math.sin(way * Math.PI) * (0.25 + level * 0.75);
    ring(58 + way * 38, alpha(hue, shine));
  }
}

function arcs(to: CanvasRenderingContext2D, hue: string, turn: number): void {
  to.lineWidth = 3;
  to.strokeStyle = hue;
  for (const from of [0, Math.PI]) {
    to.beginPath();
    to.arc(0, 0, 64, turn + from, turn + from + 1.1);
    to.stroke();
  }
}

/** The sign in the middle: what a person reads who sees no colour and no motion. */
function sign(to: CanvasRenderingContext2D, look: Look): void {
  to.strokeStyle = to.fillStyle = "#ffffff";
  to.lineWidth = 4.2;
  switch (look.state) {
    case "idle":
      return microphone(to);
    case "listening":
      return dot(to, 0, 0, 5.5);
    case "hearing":
      return bars(to, look, look.levelIn, [0.45, 0.8, 1, 0.8, 0.45]);
    case "speaking":
      return bars(to, look, look.levelOut, [1, 0.6, 0.9, 0.6, 1]);
    case "connecting":
    case "thinking":
      return dots(to, look);
    case "interrupted":
      return;
    case "muted":
      microphone(to);
      return stroke(to, [[-17, -19], [17, 19]]);
    case "error":
      stroke(to, [[0, -16], [0, 4]]);
      return dot(to, 0, 15, 3);
  }
}

function bars(to: CanvasRenderingContext2D, { time, isStill }: Look, level: number, heights: number[]): void {
  heights.forEach((height, n) => {
    const sway = isStill ? 1 : 0.75 + 0.25 * Math.sin(time * 7 + n * 1.7);
    const half = 3 + height * sway * (4 + level * 20);
    const x = (n - 2) * 10;
    stroke(to, [[x, -half], [x, half]]);
  });
}

function dots(to: CanvasRenderingContext2D, { state, time, isStill }: Look): void {
  const count = state === "thinking" ? 3 : 2;
  for (let n = 0; n < count; n++) {
    const lift = isStill ? 0 : Math.max(0, Math.sin(time * 4 - n * 0.9)) * 7;
    dot(to, (n - (count - 1) / 2) * 15, -lift, 4.2);
  }
}

function microphone(to: CanvasRenderingContext2D): void {
  to.lineWidth = 4;
  to.beginPath();
  to.roundRect(-6.5, -19, 13, 24, 6.5);
  to.fill();
  to.beginPath();
  to.arc(0, -2, 12.5, 0.12, Math.PI - 0.12);
  to.stroke();
  stroke(to, [[0, 11], [0, 18]]);
  stroke(to, [[-6, 18], [6, 18]]);
}

function dot(to: CanvasRenderingContext2D, x: number, y: number, far: number): void {
  to.beginPath();
  to.arc(x, y, far, 0, TAU);
  to.fill();
}

function stroke(to: CanvasRenderingContext2D, points: Array<[number, number]>): void {
  to.beginPath();
  for (const [x, y] of points) to.lineTo(x, y);
  to.stroke();
}

/** `color` is `#rrggbb`. */
function alpha(color: string, share: number): string {
  const level = Math.round(Math.max(0, Math.min(1, share)) * 255);
  return color + level.toString(16).padStart(2, "0");
}

function lighter(color: string, share: number): string {
  const part = (from: number) => {
    const value = Number.parseInt(color.slice(from, from + 2), 16);
    return Math.round(value + (255 - value) * share).toString(16).padStart(2, "0");
  };
  return `#${part(1)}${part(3)}${part(5)}`;
}

/** Any colour of CSS as `#rrggbb`, by the one who knows them all. */
export function hex(to: CanvasRenderingContext2D, color: string): string {
  to.fillStyle = "#808080";
  to.fillStyle = color;
  const { fillStyle } = to;
  return typeof fillStyle === "string" && /^#[0-9a-f]{6}$/.test(fillStyle) ? fillStyle : "#808080";
}
