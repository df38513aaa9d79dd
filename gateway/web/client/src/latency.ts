/** From the end of the person's speech to the first sound of the answer, as the person's ear has it. */

/** Louder than this is speech, as root mean square. */
const SPEECH = 0.02;
const SOUND = 0.004;
const KEPT = 50;

export class Latency {
  #lastSpeech = 0;
  #ended: number | undefined;
  #measured: number[] = [];

  /** The last one, in milliseconds. */
  get last(): number | undefined {
    return this.#measured.at(-1);
  }

  /** Half of them were shorter. */
  get median(): number | undefined {
    const sorted = this.#measured.toSorted((a, b) => a - b);
    return sorted[Math.floor((sorted.length - 1) / 2)];
  }

  reset(): void {
    this.#measured = [];
    this.#ended = undefined;
    this.#lastSpeech = 0;
  }

  /** Levels at `now`; answers a latency when this is the first sound of an answer. */
  levels(now: number, levelIn: number, levelOut: number): number | undefined {
    if (levelIn > SPEECH) this.#lastSpeech = now;
    if (this.#ended === undefined || levelOut < SOUND) return undefined;
    const ms = Math.round(now - this.#ended);
    this.#ended = undefined;
    this.#measured.push(ms);
    if (this.#measured.length > KEPT) this.#measured.shift();
    return ms;
  }

  /** The far side says that the speech has ended, some time after it did: the microphone knows when. */
  stopped(now: number): void {
    const quietSince = now - this.#lastSpeech;
    this.#ended = quietSince < 3000 ? this.#lastSpeech : now;
  }

  /** The person speaks again, or there will be no answer. */
  drop(): void {
    this.#ended = undefined;
  }
}
