/** Hears a call that others have: two channels of PCM, as they come in a long answer. */
import { Fault, faultOf, faultOfResponse } from "@patchbay/client";

const RATE = 24_000;
/** What comes waits this long, so that a late piece is not heard. */
const PREROLL_S = 0.3;

export class Listener {
  readonly #context = new AudioContext({ sampleRate: RATE });
  readonly #stop = new AbortController();
  #at = 0;
  #rest = new Uint8Array(0);

  /** In a click. */
  constructor() {
    void this.#context.resume().catch(() => undefined);
  }

  /** Until the call ends or `close`. Throws a `Fault`. */
  async hear(path: string, headers: Record<string, string>): Promise<void> {
    try {
      const response = await fetch(path, { headers, cache: "no-store", signal: this.#stop.signal });
      if (!response.ok) throw await faultOfResponse(response);
      const reader = response.body?.getReader();
      if (!reader) throw new Fault("unsupported");
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) this.#play(piece.value);
    } catch (error) {
      if (!this.#stop.signal.aborted) throw faultOf(error, "lost");
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#stop.abort();
    if (this.#context.state !== "closed") void this.#context.close().catch(() => undefined);
  }

  /** Pieces follow each other without a seam; after a gap, the preroll waits again. */
  #play(piece: Uint8Array): void {
    const bytes = new Uint8Array(this.#rest.length + piece.length);
    bytes.set(this.#rest);
    bytes.set(piece, this.#rest.length);
    const pairs = Math.floor(bytes.length / 4);
    this.#rest = bytes.slice(pairs * 4);
    if (pairs === 0) return;
    const samples = new Int16Array(bytes.buffer, 0, pairs * 2);
    const buffer = this.#context.createBuffer(2, pairs, RATE);
    for (const channel of [0, 1]) {
      const to = buffer.getChannelData(channel);
      for (let n = 0; n < pairs; n++) to[n] = (samples[n * 2 + channel] ?? 0) / 32_768;
    }
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#context.destination);
    if (this.#at < this.#context.currentTime) this.#at = this.#context.currentTime + PREROLL_S;
    source.start(this.#at);
    this.#at += buffer.duration;
  }
}
