/**
 * What runs on the audio thread: the microphone as chunks of 20 ms, and the player behind a ring buffer. Built into a file of its
 * own, which `AudioWorklet.addModule` loads.
 */
import { Resampler, Ring, toInt16, WIRE_RATE } from "./pcm.ts";

declare const sampleRate: number;
declare function registerProcessor(name: string, type: new () => AudioWorkletProcessor): void;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

/** One chunk: 20 ms. */
const CHUNK = WIRE_RATE / 50;
/** Waits for this much before it plays: one late message is not heard. 60 ms. */
const PREROLL = (WIRE_RATE * 60) / 1000;
/** A model speaks faster than real time: this much may wait. Two minutes. */
const WAITING_MAX = WIRE_RATE * 120;
/** Says how far it is this often, in blocks of 128 frames: about every 50 ms. */
const REPORT_EVERY = 16;

class Capture extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, WIRE_RATE);
  #chunk = new Int16Array(CHUNK);
  #filled = 0;

  process(inputs: Float32Array[][]): boolean {
    // Without a source there are no channels: a pause is silence, so that the far side's clock goes on.
    const block = inputs[0]?.[0] ?? new Float32Array(128);
    for (const sample of this.#resampler.push(block)) {
      this.#chunk[this.#filled++] = toInt16(sample);
      if (this.#filled === CHUNK) this.#send();
    }
    return true;
  }

  #send(): void {
    this.port.postMessage(this.#chunk, [this.#chunk.buffer]);
    this.#chunk = new Int16Array(CHUNK);
    this.#filled = 0;
  }
}

/** What the player is told: samples, that no more follow of this answer, or to be silent and to begin another epoch. */
export type ToPlayer = { samples: Int16Array } | { end: true } | { clear: number };
/** What it tells: samples played in this epoch, at 24 kHz. A clear is answered with the last of the epoch that it ended. */
export interface FromPlayer {
  epoch: number;
  played: number;
  isPlaying: boolean;
  isCleared: boolean;
}

class Player extends AudioWorkletProcessor {
  #ring = new Ring(WAITING_MAX);
  #resampler = new Resampler(WIRE_RATE, sampleRate);
  /** Resampled and not yet put out. */
  #ready: Float32Array = new Float32Array(0);
  #epoch = 0;
  #played = 0;
  #isPlaying = false;
  #isComplete = false;
  #blocks = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<ToPlayer>) => this.#take(data);
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0]?.[0];
    if (out) this.#fill(out);
    if (++this.#blocks % REPORT_EVERY === 0 && this.#isPlaying) this.#report();
    return true;
  }

  #take(message: ToPlayer): void {
    if ("samples" in message) {
      this.#ring.push(message.samples);
      this.#isComplete = false;
    } else if ("end" in message) {
      this.#isComplete = true;
    } else {
      this.#clear(message.clear);
    }
  }

  /** What was drawn and not yet put out was not heard. */
  #clear(epoch: number): void {
    this.#played -= Math.min(this.#played, Math.ceil((this.#ready.length * WIRE_RATE) / sampleRate));
    this.#ring.clear();
    this.#stop();
    this.#report(true);
    this.#epoch = epoch;
    this.#played = 0;
  }

  #fill(out: Float32Array): void {
    if (!this.#isPlaying) {
      const enough = this.#isComplete ? 1 : PREROLL;
      if (this.#ring.length < enough) return;
      this.#isPlaying = true;
      this.#report();
    }
    while (this.#ready.length < out.length && this.#ring.length > 0) this.#draw();
    out.set(this.#ready.subarray(0, out.length));
    this.#ready = this.#ready.slice(out.length);
    if (this.#ring.length === 0 && this.#ready.length === 0) {
      this.#stop();
      this.#report();
    }
  }

  /** Takes up to 128 samples out of the ring. They count as played from here on: at most 6 ms early. */
  #draw(): void {
    const drawn = Float32Array.from({ length: Math.min(128, this.#ring.length) }, () => this.#ring.shift());
    this.#played += drawn.length;
    const fresh = this.#resampler.push(drawn);
    const all = new Float32Array(this.#ready.length + fresh.length);
    all.set(this.#ready);
    all.set(fresh, this.#ready.length);
    this.#ready = all;
  }

  #stop(): void {
    this.#isPlaying = this.#isComplete = false;
    this.#ready = new Float32Array(0);
    this.#resampler = new Resampler(WIRE_RATE, sampleRate);
  }

  #report(isCleared = false): void {
    const report: FromPlayer = { epoch: this.#epoch, played: this.#played, isPlaying: this.#isPlaying, isCleared };
    this.port.postMessage(report);
  }
}

registerProcessor("patchbay-capture", Capture);
registerProcessor("patchbay-player", Player);
