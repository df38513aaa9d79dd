/** The microphone: which one, how it is asked for, muted, and what it sends when there is none. */
import { Fault, faultOf } from "./fault.ts";
import { Meter } from "./meter.ts";
import type { Sound } from "./sound.ts";

/** Asks for the microphone. Throws a `Fault` with the sentence for what went wrong. */
export async function openMicrophone(deviceId: string | undefined, prefersAll: boolean): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new Fault(globalThis.isSecureContext ? "unsupported" : "insecure_page");
  const audio: MediaTrackConstraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    channelCount: 1,
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
  try {
    const stream = await devices.getUserMedia({ audio });
    if (prefersAll) await cancelEverything(stream);
    return stream;
  } catch (error) {
    throw faultOf(error, "microphone_missing");
  }
}

/**
 * `true` promises only that what a peer connection plays is cancelled; a WebSocket call plays otherwise and wants `"all"`, where
 * the browser has it (https://www.w3.org/TR/mediacapture-streams/#def-constraint-echoCancellation).
 */
async function cancelEverything(stream: MediaStream): Promise<void> {
  const [track] = stream.getAudioTracks();
  const can = track?.getCapabilities?.().echoCancellation as readonly unknown[] | undefined;
  if (!can?.includes("all")) return;
  await track?.applyConstraints({ echoCancellation: "all" } as unknown as MediaTrackConstraints).catch(() => undefined);
}

/** One for a call: a real one, or silence for somebody who writes. */
export class Microphone {
  readonly meter: Meter;
  stream: MediaStream;
  /** Called when a real one is unplugged. */
  onlost: () => void = () => undefined;
  readonly #sound: Sound;
  #isOpen = true;

  constructor(sound: Sound, stream: MediaStream | undefined) {
    this.#sound = sound;
    this.meter = new Meter(sound.context);
    // A peer expects a clock: silence is sent, not nothing.
    this.stream = stream ?? sound.context.createMediaStreamDestination().stream;
    this.#take(this.stream);
  }

  get track(): MediaStreamTrack {
    const [track] = this.stream.getAudioTracks();
    if (!track) throw new Fault("microphone_missing");
    return track;
  }

  /** Which device it is, if the browser tells. */
  get deviceId(): string | undefined {
    return this.track.getSettings().deviceId;
  }

  /** Another one, from now on; the old one is let go. */
  use(stream: MediaStream): void {
    this.#release();
    this.stream = stream;
    this.#take(stream);
  }

  /** Whether what it hears leaves. Closed, it sends silence. */
  set isOpen(isOpen: boolean) {
    this.#isOpen = isOpen;
    this.track.enabled = isOpen;
  }

  close(): void {
    this.meter.listenTo(undefined);
    this.#release();
  }

  #take(stream: MediaStream): void {
    this.track.enabled = this.#isOpen;
    this.track.onended = () => this.onlost();
    this.meter.listenTo(this.#sound.context.createMediaStreamSource(stream));
  }

  #release(): void {
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
  }
}

/** The microphones that there are. Their names are known once one of them was allowed. */
export async function microphones(): Promise<MediaDeviceInfo[]> {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId !== "");
}
