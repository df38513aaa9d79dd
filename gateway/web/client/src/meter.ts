/** How loud a stream is. */
export class Meter {
  readonly #analyser: AnalyserNode;
  readonly #samples: Float32Array<ArrayBuffer>;
  #source: AudioNode | undefined;

  constructor(context: AudioContext) {
    this.#analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#samples = new Float32Array(this.#analyser.fftSize);
  }

  /** Measures this from now on, and nothing else. */
  listenTo(source: AudioNode | undefined): void {
    this.#source?.disconnect(this.#analyser);
    this.#source = source;
    source?.connect(this.#analyser);
  }

  /** Root mean square of the last 20 ms or so: 0 silence, 1 a full square wave. */
  get level(): number {
    if (!this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return Math.sqrt(sum / this.#samples.length);
  }
}
