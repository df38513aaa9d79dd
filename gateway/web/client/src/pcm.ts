/** Samples as they travel: 16-bit little-endian PCM in base64, and floats from -1 to 1 in between. */

/** Samples a second on the wire of a WebSocket call, in both directions. */
export const WIRE_RATE = 24_000;

/** 16-bit samples as base64 of their little-endian bytes. */
export function toBase64(samples: Int16Array): string {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  // A call takes its arguments on the stack, which is not endless.
  for (let at = 0; at < bytes.length; at += 0x4000) text += String.fromCharCode(...bytes.subarray(at, at + 0x4000));
  return btoa(text);
}

/** The samples in base64; a last odd byte is dropped. Throws on what is not base64. */
export function fromBase64(text: string): Int16Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length & ~1);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return new Int16Array(bytes.buffer);
}

/** A float sample as 16 bits; what is too loud is clipped. */
export function toInt16(sample: number): number {
  return Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
}

/**
 * First in, first out, of samples. It grows up to `capacityMax` samples; what does not fit then is refused, so that nothing that
 * was promised to be played is lost in silence.
 */
export class Ring {
  #samples = new Int16Array(16_384);
  #head = 0;
  #length = 0;
  readonly #capacityMax: number;

  constructor(capacityMax: number) {
    this.#capacityMax = capacityMax;
  }

  get length(): number {
    return this.#length;
  }

  /** Appends; answers how many samples were taken. */
  push(samples: Int16Array): number {
    const taken = Math.min(samples.length, this.#capacityMax - this.#length);
    this.#grow(this.#length + taken);
    const { length } = this.#samples;
    for (let n = 0; n < taken; n++) this.#samples[(this.#head + this.#length + n) % length] = samples[n] ?? 0;
    this.#length += taken;
    return taken;
  }

  /** Takes the oldest sample, as a float. Only when there is one. */
  shift(): number {
    const sample = this.#samples[this.#head] ?? 0;
    this.#head = (this.#head + 1) % this.#samples.length;
    this.#length--;
    return sample / 32768;
  }

  /** Drops everything; answers how many samples that were. */
  clear(): number {
    const dropped = this.#length;
    this.#head = this.#length = 0;
    return dropped;
  }

  #grow(wanted: number): void {
    const { length } = this.#samples;
    if (wanted <= length) return;
    const larger = new Int16Array(Math.max(wanted, length * 2));
    for (let n = 0; n < this.#length; n++) larger[n] = this.#samples[(this.#head + n) % length] ?? 0;
    this.#samples = larger;
    this.#head = 0;
  }
}

/** Half the width of the resampler's kernel, in samples of the slower of the two rates. */
const LOBES = 12;

/**
 * Between any two rates, by a windowed sinc: flat to about 0.85 of the slower rate's half, and at least 50 dB down beyond it.
 * It delays by `LOBES` samples of the slower rate: half a millisecond at 24 kHz.
 */
export class Resampler {
  readonly #step: number;
  readonly #reach: number;
  readonly #cutoff: number;
  readonly #kernel: Float32Array;
  #history: Float32Array;
  /** Where the next output sample lies, in input samples from the begin of `#history`. */
  #at: number;

  constructor(from: number, to: number) {
    this.#step = from / to;
    const scale = Math.min(1, to / from);
    this.#cutoff = scale * 0.92;
    this.#reach = Math.ceil(LOBES / scale);
    this.#kernel = kernel();
    this.#history = new Float32Array(this.#reach * 2);
    this.#at = this.#reach;
  }

  /** Takes what came in and answers what follows from it: over time exactly `to / from` as many. */
  push(input: Float32Array): Float32Array {
    if (this.#step === 1) return input;
    const all = new Float32Array(this.#history.length + input.length);
    all.set(this.#history);
    all.set(input, this.#history.length);
    const last = all.length - this.#reach;
    const output = new Float32Array(Math.max(0, Math.ceil((last - this.#at) / this.#step)));
    for (let n = 0; n < output.length; n++) output[n] = this.#interpolate(all, this.#at + n * this.#step);
    this.#at += output.length * this.#step;
    const keepFrom = Math.max(0, Math.floor(this.#at) - this.#reach);
    this.#history = all.slice(keepFrom);
    this.#at -= keepFrom;
    return output;
  }

  #interpolate(samples: Float32Array, at: number): number {
    const first = Math.max(0, Math.ceil(at - this.#reach));
    const end = Math.min(samples.length - 1, Math.floor(at + this.#reach));
    const finest = (this.#kernel.length - 1) / this.#reach;
    let sum = 0;
    let weight = 0;
    for (let n = first; n <= end; n++) {
      const distance = Math.abs(at - n);
      const x = Math.PI * distance * this.#cutoff;
      const sinc = x < 1e-6 ? 1 : Math.sin(x) / x;
      const share = sinc * (this.#kernel[Math.round(distance * finest)] ?? 0);
      sum += share * (samples[n] ?? 0);
      weight += share;
    }
    return sum / weight;
  }
}

/** Half of a Blackman window, from its middle to its end: more than 50 dB of the kernel's ripple are gone. */
function kernel(): Float32Array {
  const window = new Float32Array(1025);
  for (let n = 0; n < window.length; n++) {
    const x = Math.PI * (n / (window.length - 1));
    window[n] = 0.42 + 0.5 * Math.cos(x) + 0.08 * Math.cos(2 * x);
  }
  return window;
}
