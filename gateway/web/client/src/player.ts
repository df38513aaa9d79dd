/** What a WebSocket call hears: a queue of utterances, how much of each was really played, and silence at once. */
import { fromBase64, WIRE_RATE } from "./pcm.ts";
import type { Sound } from "./sound.ts";
import type { FromPlayer, ToPlayer } from "./worklet.ts";

/** One part of an item, on its way to the ear. */
interface Queued {
  readonly itemId: string;
  readonly contentIndex: number;
  /** Samples of the epoch before it, and its own. */
  readonly begin: number;
  length: number;
}

/** How much of an item was heard when it was cut. */
export interface Heard {
  readonly itemId: string;
  readonly contentIndex: number;
  readonly heardMs: number;
  readonly receivedMs: number;
}

/** Which samples belong to which item. Apart from the audio thread, so that it can be tried without one. */
export class PlayLedger {
  #queued: Queued[] = [];
  #received = 0;

  /** Adds samples of an item. */
  received(itemId: string, contentIndex: number, samples: number): void {
    const last = this.#queued.at(-1);
    if (last?.itemId === itemId && last.contentIndex === contentIndex) last.length += samples;
    else this.#queued.push({ itemId, contentIndex, begin: this.#received, length: samples });
    this.#received += samples;
  }

  /** Ends the epoch: what was heard of the item that was playing after `played` samples, rounded towards less. */
  cut(played: number): Heard | undefined {
    const current = this.#queued.find((one) => played < one.begin + one.length);
    this.#queued = [];
    this.#received = 0;
    if (!current) return undefined;
    const { itemId, contentIndex } = current;
    const ms = (samples: number) => Math.floor((Math.max(0, samples) * 1000) / WIRE_RATE);
    return { itemId, contentIndex, heardMs: ms(played - current.begin), receivedMs: ms(current.length) };
  }

  /** Forgets what lies behind: a long call has many items. */
  passed(played: number): void {
    while (this.#queued.length > 1 && (this.#queued[0]?.begin ?? 0) + (this.#queued[0]?.length ?? 0) <= played) {
      this.#queued.shift();
    }
  }
}

/** The audio thread answers a clear within a few milliseconds; a page that is torn down gets no answer. */
const CLEAR_WITHIN_MS = 500;

export class Player {
  readonly #node: AudioWorkletNode;
  readonly #context: AudioContext;
  readonly #destination: MediaStreamAudioDestinationNode;
  #ledger = new PlayLedger();
  #epoch = 0;
  #cleared: ((played: number) => void) | undefined;
  #isPlaying = false;
  /** The first sample of an answer, or its last, went to the loudspeaker. */
  onplaying: (isPlaying: boolean) => void = () => undefined;

  /** The worklet has been loaded. */
  constructor(sound: Sound) {
    this.#context = sound.context;
    this.#node = new AudioWorkletNode(sound.context, "patchbay-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.#node.port.onmessage = ({ data }: MessageEvent<FromPlayer>) => this.#take(data);
    // By way of an element, because that is what browsers cancel out of the microphone.
    this.#destination = sound.context.createMediaStreamDestination();
    this.#node.connect(this.#destination);
    sound.play(this.#destination.stream, this.#node);
  }

  enqueue(itemId: string, contentIndex: number, audio: string): void {
    const samples = fromBase64(audio);
    this.#ledger.received(itemId, contentIndex, samples.length);
    this.#tell({ samples }, [samples.buffer]);
  }

  /** No more follows of this answer: what is left plays even if it is shorter than the preroll. */
  complete(): void {
    this.#tell({ end: true });
  }

  /** Silence, now. Answers what was heard of the item that played. */
  async clear(): Promise<Heard | undefined> {
    const ledger = this.#ledger;
    this.#ledger = new PlayLedger();
    this.#tell({ clear: ++this.#epoch });
    const played = await new Promise<number>((resolve) => {
      this.#cleared = resolve;
      setTimeout(() => resolve(0), CLEAR_WITHIN_MS);
    });
    return ledger.cut(played - this.#onTheWay());
  }

  close(): void {
    this.#node.port.onmessage = null;
    // Only from here: the meter lets go of it by itself.
    this.#node.disconnect(this.#destination);
  }

  /** Samples that have left the worklet and have not reached the ear. */
  #onTheWay(): number {
    const { baseLatency, outputLatency } = this.#context;
    return Math.ceil(((baseLatency || 0) + (outputLatency || 0)) * WIRE_RATE);
  }

  #take(report: FromPlayer): void {
    if (report.isCleared) this.#cleared?.(report.played);
    else if (report.epoch === this.#epoch) this.#ledger.passed(report.played - this.#onTheWay());
    if (report.isPlaying !== this.#isPlaying) this.onplaying((this.#isPlaying = report.isPlaying));
  }

  #tell(message: ToPlayer, transfer: Transferable[] = []): void {
    this.#node.port.postMessage(message, transfer);
  }
}
