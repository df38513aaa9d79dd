/** The page's one audio context and one loudspeaker. Both are made in the click that starts a call: iOS lets nothing else play. */
import { Meter } from "./meter.ts";

interface AudioSession {
  type: string;
}

export class Sound {
  readonly context: AudioContext;
  /** One element for the whole page: its stream is swapped (reference: iOS lets go of a new one in the background). */
  readonly element: HTMLAudioElement;
  readonly meter: Meter;
  readonly #worklet: URL | string;
  #loaded: Promise<void> | undefined;

  constructor(worklet: URL | string) {
    this.#worklet = worklet;
    // Safari 16.4 and newer: without it the mute switch silences a call, and `playback` would refuse the microphone.
    const { audioSession } = navigator as unknown as { audioSession?: AudioSession };
    if (audioSession) audioSession.type = "play-and-record";
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.meter = new Meter(this.context);
    this.element = document.createElement("audio");
    this.element.autoplay = true;
    this.element.setAttribute("playsinline", "");
    this.element.srcObject = this.context.createMediaStreamDestination().stream;
    this.resume();
  }

  /** To be called in a click: when the call starts, and after the system interrupted it. */
  resume(): void {
    // Neither is waited for: Firefox without a loudspeaker never answers.
    void this.context.resume().catch(() => undefined);
    void this.element.play().catch(() => undefined);
  }

  /** Whether the system has silenced us: a telephone call, Siri, a page in the background. */
  get isStalled(): boolean {
    return this.context.state !== "running" && this.context.state !== "closed";
  }

  /** Plays a stream and measures it. */
  play(stream: MediaStream, source: AudioNode = this.context.createMediaStreamSource(stream)): void {
    this.element.srcObject = stream;
    void this.element.play().catch(() => undefined);
    this.meter.listenTo(source);
  }

  /** Loads what runs on the audio thread, once. */
  loadWorklet(): Promise<void> {
    return (this.#loaded ??= this.context.audioWorklet.addModule(this.#worklet));
  }

  close(): void {
    this.meter.listenTo(undefined);
    this.element.pause();
    this.element.srcObject = null;
    void this.context.close().catch(() => undefined);
  }
}
