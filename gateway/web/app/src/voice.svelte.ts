/** What the page knows of its call, for the components to show. */
import { type CallState, type CallStats, type Fault, microphones, type Path, VoiceCall, type WireEvent } from "@patchbay/client";
import { type Spoken, Words } from "@patchbay/orb";
import { EchoDetector } from "./echo.ts";
import { callsAre } from "./shell.ts";
import type { Tokens } from "./token.ts";

/** One line of the event log. */
export interface Logged {
  readonly number: number;
  readonly atMs: number;
  readonly direction: "in" | "out";
  readonly event: WireEvent;
}

const LOGGED_MAX = 400;

export class Voice {
  state = $state<CallState>("idle");
  isReconnecting = $state(false);
  fault = $state<Fault>();
  notice = $state("");
  isStalled = $state(false);
  isMuted = $state(false);
  needsPush = $state(false);
  isPushed = $state(false);
  stats = $state<CallStats>();
  levels = $state.raw({ in: 0, out: 0 });
  log = $state.raw<readonly Logged[]>([]);
  devices = $state.raw<readonly MediaDeviceInfo[]>([]);
  deviceId = $state<string>();
  path = $state<Path | "auto">("auto");
  /** Called for each change of the transcript, and with nothing when it begins anew. */
  onspoken: (spoken?: Spoken) => void = () => undefined;

  readonly #tokens: Tokens;
  #call: VoiceCall | undefined;
  #echo = new EchoDetector();
  #began = 0;
  #logged = 0;

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
    callsAre(() => this.isUp);
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.#lookForDevices());
    void this.#lookForDevices();
  }

  get isUp(): boolean {
    return this.state !== "idle" && this.state !== "error";
  }

  /** In a click. */
  start(isWritten = false): void {
    this.#call?.end();
    this.onspoken();
    this.notice = "";
    this.stats = undefined;
    this.log = [];
    this.#echo = new EchoDetector();
    this.#began = performance.now();
    const call = new VoiceCall({
      token: () => this.#tokens.get(),
      worklet: "/voice-worklet.js",
      deviceId: this.deviceId,
      greets: true,
      isWritten,
      ...(this.path === "auto" ? {} : { paths: [this.path] }),
    });
    this.#call = call;
    this.#listen(call);
    call.mute(this.isMuted);
    call.usePushToTalk(this.needsPush);
    void call.start();
  }

  end(): void {
    this.#call?.end();
    this.isMuted = false;
  }

  toggleMute(): void {
    this.isMuted = !this.isMuted;
    this.#call?.mute(this.isMuted);
  }

  togglePush(): void {
    this.needsPush = !this.needsPush;
    this.isPushed = false;
    this.#call?.usePushToTalk(this.needsPush);
  }

  push(isPushed: boolean): void {
    if (!this.needsPush || isPushed === this.isPushed) return;
    this.isPushed = isPushed;
    this.#call?.push(isPushed);
  }

  interrupt(): void {
    this.#call?.interrupt();
  }

  say(words: string): void {
    this.#call?.say(words);
  }

  resume(): void {
    this.#call?.resume();
  }

  async choose(deviceId: string): Promise<void> {
    this.deviceId = deviceId;
    await this.#call?.useMicrophone(deviceId).catch((fault: Fault) => (this.notice = fault.message));
  }

  #listen(call: VoiceCall): void {
    const ours = (act: () => void) => () => {
      if (call === this.#call) act();
    };
    call.on("statechange", ({ state, fault, isReconnecting }) => {
      ours(() => {
        const wasUp = this.isUp;
        Object.assign(this, { state, fault, isReconnecting });
        if (fault?.code === "unauthorized") this.#tokens.drop();
        if (!wasUp || state === "listening") void this.#lookForDevices();
        if (!this.isUp) this.levels = { in: 0, out: 0 };
      })();
    });
    new Words().follow(call, (spoken) => ours(() => this.onspoken(spoken))());
    call.on("levels", (levels) => ours(() => this.#heard(levels))());
    call.on("stats", (stats) => ours(() => (this.stats = stats))());
    call.on("notice", ({ message }) => ours(() => (this.notice = message))());
    call.on("stalled", ({ isStalled }) => ours(() => (this.isStalled = isStalled))());
    call.on("event", ({ direction, event }) => ours(() => this.#keep(direction, event))());
  }

  #heard(levels: { in: number; out: number }): void {
    this.levels = levels;
    if (this.state === "speaking" && this.#echo.take(levels.in, levels.out)) {
      this.notice = "Your microphone hears the loudspeaker. Headphones will help.";
    }
  }

  #keep(direction: "in" | "out", event: WireEvent): void {
    const atMs = Math.round(performance.now() - this.#began);
    this.log = [...this.log.slice(1 - LOGGED_MAX), { number: ++this.#logged, atMs, direction, event }];
  }

  async #lookForDevices(): Promise<void> {
    this.devices = await microphones().catch(() => []);
    this.deviceId ??= this.#call?.deviceId;
  }
}
