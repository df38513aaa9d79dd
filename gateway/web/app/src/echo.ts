/** Whether the microphone hears the loudspeaker: then the advice is headphones. */

/** Levels come 40 times a second: two seconds of them. */
const KEPT = 80;
/** Sound takes up to 300 ms from the page to the loudspeaker and back. */
const LAG_MAX = 12;
const ALIKE = 0.85;
/** On the scale of the call's levels: -40 dB. */
const LOUD = 1 / 3;
/** So many windows one after the other: chance is not that patient. */
const IN_A_ROW = 3;

export class EchoDetector {
  #in: number[] = [];
  #out: number[] = [];
  #found = 0;

  /** Takes both levels while an answer is heard; answers true once it is sure. */
  take(levelIn: number, levelOut: number): boolean {
    this.#in.push(levelIn);
    this.#out.push(levelOut);
    if (this.#in.length < KEPT) return false;
    this.#found = this.#isEcho() ? this.#found + 1 : 0;
    this.#in = [];
    this.#out = [];
    return this.#found === IN_A_ROW;
  }

  #isEcho(): boolean {
    if (Math.max(...this.#in) < LOUD) return false;
    for (let lag = 0; lag <= LAG_MAX; lag++) {
      if (correlation(this.#in.slice(lag), this.#out.slice(0, KEPT - lag)) > ALIKE) return true;
    }
    return false;
  }
}

/** Pearson's, 0 where one of them is flat. */
function correlation(a: number[], b: number[]): number {
  const mean = (of: number[]) => of.reduce((sum, x) => sum + x, 0) / of.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [both, squareA, squareB] = [0, 0, 0];
  a.forEach((x, n) => {
    const [da, db] = [x - meanA, (b[n] ?? 0) - meanB];
    both += da * db;
    squareA += da * da;
    squareB += db * db;
  });
  return squareA && squareB ? both / Math.sqrt(squareA * squareB) : 0;
}
