/** A voice call: the one class that a page uses. */
import { Fault, faultOf } from "./fault.ts";
import { type CallState, Floor, INTERRUPTED_MS } from "./floor.ts";
import { Latency } from "./latency.ts";
import type { Line, LineOwner, Measured, Path } from "./line.ts";
import { Listeners } from "./listeners.ts";
import { Microphone, openMicrophone } from "./microphone.ts";
import { SocketLine } from "./socket.ts";
import { Sound } from "./sound.ts";
import { WebRtcLine } from "./webrtc.ts";
import { isObject, text, withoutAudio, type WireEvent } from "./wire.ts";

export interface CallOptions {
  /** The gateway; where the page comes from, if absent. */
  url?: string | URL | undefined;
  /** An `ek_…` token, or how to get one: asked before each attempt. */
  token: string | (() => Promise<string>);
  /** Ways to the gateway, tried in this order: `["udp", "tcp", "ws"]`. */
  paths?: readonly Path[] | undefined;
  /** Where the built worklet lies; beside this script, if absent. */
  worklet?: string | URL | undefined;
  iceServers?: RTCIceServer[];
  /** Sent as `session.update` once connected, in OpenAI's shape. The gateway's policy decides what of it holds. */
  settings?: Record<string, unknown>;
  /** The microphone, by the browser's id. */
  deviceId?: string | undefined;
  /** The other side speaks first, if its route has a greeting. */
  greets?: boolean | undefined;
  /** No microphone: the person writes, and hears the answers. */
  isWritten?: boolean | undefined;
}

/** Once a second. */
export interface CallStats extends Measured {
  /** From the end of speech to the first sound of the answer: the last one, and the median. */
  latencyMs?: number | undefined;
  latencyMedianMs?: number | undefined;
  /** Since the call was connected. */
  seconds: number;
}

export interface CallEvents {
  statechange: { state: CallState; fault?: Fault | undefined; isReconnecting: boolean };
  /** Of an item, nobody heard more than `heardMs`; it had `totalMs`, where that is known. */
  cut: { itemId: string; heardMs: number; totalMs?: number | undefined };
  /** Forty times a second, 0 to 1 as an ear has it. */
  levels: { in: number; out: number };
  stats: CallStats;
  /** Each event on the wire, without its audio. */
  event: { direction: "in" | "out"; event: WireEvent };
  /** Something a person should know, and the call goes on. */
  notice: { code: string; message: string };
  /** The system has silenced the page: `resume()` in a click brings it back. */
  stalled: { isStalled: boolean };
}

const LEVELS_EVERY_MS = 25;
const STATS_EVERY_MS = 1_000;
/** A line that is lost is dialled again after these; a call that lasted this long has earned all of them again. */
const REDIAL_AFTER_MS = [500, 1_000, 2_000];
const EARNED_AFTER_MS = 10_000;
/** Said by a provider when nothing is wrong (reference: at most one answer at a time, a cancel that came late). */
const HARMLESS = ["response_cancel_not_active", "conversation_already_has_active_response", "input_audio_buffer_commit_empty"];
const TEXT_MAX = 4_000;

export class VoiceCall {
  readonly #options: CallOptions;
  readonly #listeners = new Listeners<CallEvents>();
  readonly #floor = new Floor();
  readonly #latency = new Latency();
  #sound: Sound | undefined;
  #microphone: Microphone | undefined;
  #line: Line | undefined;
  #fault: Fault | undefined;
  #shown: CallState = "idle";
  /** Which start this is: what an older one still awaits finds out that it is over. */
  #attempt = 0;
  #redials = 0;
  #connectedAt = 0;
  #playingSince = 0;
  #lastItem: string | undefined;
  #isReconnecting = false;
  #isMuted = false;
  #needsPush = false;
  #isPushed = false;
  #undo: Array<() => void> = [];

  constructor(options: CallOptions) {
    this.#options = options;
  }

  /** Calls `listener` on each such event, until the function that is answered is called. */
  on<Name extends keyof CallEvents>(name: Name, listener: (detail: CallEvents[Name]) => void): () => void {
    return this.#listeners.on(name, listener);
  }

  get state(): CallState {
    return this.#shown;
  }

  /** What went wrong, while the state is `error`. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** How the gateway is reached, while it is. */
  get path(): Path | undefined {
    return this.#line?.path;
  }

  get isMuted(): boolean {
    return this.#isMuted;
  }

  /** Which microphone is in use. */
  get deviceId(): string | undefined {
    return this.#microphone?.deviceId;
  }

  /** Begins. In a click, and before any await of yours: browsers give sound and microphone to nothing else. */
  async start(): Promise<void> {
    if (this.#floor.connection === "connecting" || this.#floor.connection === "open") return;
    this.#release();
    const attempt = ++this.#attempt;
    this.#redials = 0;
    this.#isReconnecting = false;
    this.#latency.reset();
    try {
      this.#sound = new Sound(this.#options.worklet ?? new URL(/* @vite-ignore */ "voice-worklet.js", import.meta.url));
      this.#become("connecting");
      await this.#openMicrophone(attempt);
      await this.#connect(attempt);
    } catch (error) {
      if (attempt === this.#attempt) this.#fail(faultOf(error));
    }
  }

  /** Ends. Nothing is heard or sent after it. */
  end(): void {
    this.#attempt++;
    this.#release();
    this.#isReconnecting = false;
    this.#become("idle");
  }

  /** Muted, the call goes on and the microphone sends silence. */
  mute(isMuted: boolean): void {
    this.#isMuted = isMuted;
    this.#gate();
  }

  /** Whether the microphone is open only while `push` is held. */
  usePushToTalk(needsPush: boolean): void {
    this.#needsPush = needsPush;
    this.#isPushed = false;
    this.#gate();
  }

  /** The key is down, or up again. */
  push(isPushed: boolean): void {
    if (isPushed && this.#needsPush && this.#floor.isPlaying) this.interrupt();
    this.#isPushed = isPushed;
    this.#gate();
  }

  /** Silences the answer that is being heard, and stops it being made. */
  interrupt(): void {
    if (!this.#line || !(this.#floor.isPlaying || this.#floor.isAnswering)) return;
    this.#cut(this.#floor.isAnswering);
  }

  /** Writes to the other side, which answers aloud. */
  say(words: string): void {
    const said = words.trim().slice(0, TEXT_MAX);
    if (!said || !this.#line) return;
    this.interrupt();
    const id = `item_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
    const content = [{ type: "input_text", text: said }];
    this.send({ type: "conversation.item.create", item: { id, type: "message", role: "user", content } });
    this.send({ type: "response.create" });
    this.#floor.asked(performance.now());
    this.#show();
  }

  /** Sends any event of the API, for whoever knows what they do. */
  send(event: WireEvent): void {
    this.#line?.send(event);
  }

  /** Another microphone, from now on. Throws a `Fault`; the old one then stays. */
  async useMicrophone(deviceId: string): Promise<void> {
    this.#options.deviceId = deviceId;
    if (!this.#microphone) return;
    this.#microphone.use(await openMicrophone(deviceId, this.path === "ws"));
    this.#gate();
    await this.#line?.use(this.#microphone.stream);
  }

  /** In a click, after `stalled`. */
  resume(): void {
    this.#sound?.resume();
  }

  async #openMicrophone(attempt: number): Promise<void> {
    const { isWritten, deviceId, paths } = this.#options;
    const sound = this.#sound;
    if (!sound) return;
    const stream = isWritten ? undefined : await openMicrophone(deviceId, paths?.length === 1 && paths[0] === "ws");
    if (attempt !== this.#attempt) return stream?.getTracks().forEach((track) => track.stop());
    this.#microphone = new Microphone(sound, stream);
    this.#microphone.onlost = () => void this.#microphoneLost();
    this.#gate();
  }

  async #connect(attempt: number): Promise<void> {
    const line = await this.#dial(attempt);
    if (attempt !== this.#attempt) return line.close();
    this.#line = line;
    this.#connectedAt = performance.now();
    this.#isReconnecting = false;
    const { settings } = this.#options;
    if (settings) this.send({ type: "session.update", session: { type: "realtime", ...settings } });
    this.#watch();
    this.#become("open");
  }

  /** By the first way that gets through. What is wrong with the token or the call is wrong on every way. */
  async #dial(attempt: number): Promise<Line> {
    const { paths = ["udp", "tcp", "ws"], iceServers = [] } = this.#options;
    const [sound, microphone] = [this.#sound, this.#microphone];
    if (!sound || !microphone) throw new Fault("lost");
    const shared = { sound, microphone, owner: this.#owner(attempt) };
    const at = (path: string) => {
      const url = new URL(path, new URL(this.#options.url ?? location.origin, location.href));
      if (this.#options.greets) url.searchParams.set("greet", "true");
      return url;
    };
    const byWebRtc = paths.filter((path) => path !== "ws");
    if (byWebRtc.length > 0) {
      try {
        const url = at("/v1/realtime/calls");
        return await WebRtcLine.open({ ...shared, url, token: () => this.#token(), paths: byWebRtc, iceServers });
      } catch (error) {
        const fault = faultOf(error);
        if (attempt !== this.#attempt || !fault.isOfPath || !paths.includes("ws")) throw fault;
      }
    }
    return SocketLine.open({ ...shared, url: at("/v1/realtime"), token: await this.#token() });
  }

  async #token(): Promise<string> {
    const { token } = this.#options;
    return typeof token === "string" ? token : token();
  }

  #owner(attempt: number): LineOwner {
    const ifOurs = (act: () => void) => {
      if (attempt === this.#attempt) act();
    };
    return {
      received: (event) => ifOurs(() => this.#take(event)),
      sent: (event) => ifOurs(() => this.#listeners.tell("event", { direction: "out", event })),
      plays: (isPlaying) => ifOurs(() => this.#plays(isPlaying)),
      shaky: (isShaky) => ifOurs(() => this.#shaky(isShaky)),
      lost: (fault) => ifOurs(() => void this.#lost(fault)),
    };
  }

  #take(event: WireEvent): void {
    this.#listeners.tell("event", { direction: "in", event: withoutAudio(event) });
    const now = performance.now();
    if (event.type.startsWith("response.output_") && text(event, "item_id")) this.#lastItem = text(event, "item_id");
    const isCleared = event.type === "output_audio_buffer.cleared";
    if (event.type === "input_audio_buffer.speech_started" || isCleared) this.#spokenOver();
    if (event.type === "input_audio_buffer.speech_stopped") this.#latency.stopped(now);
    if (isCleared && this.path !== "ws") this.#cleared(now);
    if (event.type === "error") this.#warn(event["error"]);
    if (event.type === "response.done") this.#answered(event);
    this.#floor.take(event, now);
    this.#show();
  }

  /** The person speaks: what is being heard stops at once. By WebRTC the gateway has done it when it says `cleared`. */
  #spokenOver(): void {
    this.#latency.drop();
    // The gateway stops the answer too: it hears the same.
    if (this.path === "ws" && this.#floor.isPlaying) this.#cut(false);
  }

  #cut(isAnswering: boolean): void {
    this.#floor.cut(performance.now());
    this.#latency.drop();
    void this.#line?.cut(isAnswering).then((heard) => {
      if (heard) this.#listeners.tell("cut", { ...heard, totalMs: heard.receivedMs });
    });
    this.#show();
  }

  #cleared(now: number): void {
    const itemId = this.#lastItem;
    if (itemId) this.#listeners.tell("cut", { itemId, heardMs: now - this.#playingSince });
    this.#floor.cut(now);
  }

  #answered(event: WireEvent): void {
    const response = event["response"];
    const details = isObject(response) ? response["status_details"] : undefined;
    if (text(response, "status") === "failed" && isObject(details)) this.#warn(details["error"]);
  }

  #warn(error: unknown): void {
    const code = text(error, "code") ?? text(error, "type") ?? "error";
    if (HARMLESS.includes(code)) return;
    const said = text(error, "message");
    this.#listeners.tell("notice", { code, message: said ?? new Fault("provider").message });
  }

  #plays(isPlaying: boolean): void {
    this.#floor.plays(isPlaying);
    if (isPlaying) this.#playingSince = performance.now();
    this.#show();
  }

  #shaky(isShaky: boolean): void {
    this.#isReconnecting = isShaky;
    this.#become(isShaky ? "connecting" : "open");
  }

  /** Once more, a few times: the conversation begins anew at the provider, its words stay on the page. */
  async #lost(fault: Fault): Promise<void> {
    const attempt = this.#attempt;
    this.#line = undefined;
    if (performance.now() - this.#connectedAt > EARNED_AFTER_MS) this.#redials = 0;
    const wait = REDIAL_AFTER_MS[this.#redials++];
    const mayHelp = ["lost", "closing", "unreachable", "no_path", "unavailable"].includes(fault.code);
    if (wait === undefined || !mayHelp) return this.#fail(fault);
    this.#floor.reset();
    this.#shaky(true);
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (attempt !== this.#attempt) return;
    await this.#connect(attempt).catch((error: unknown) => {
      if (attempt === this.#attempt) void this.#lost(faultOf(error));
    });
  }

  async #microphoneLost(): Promise<void> {
    const attempt = this.#attempt;
    try {
      const stream = await openMicrophone(undefined, this.path === "ws");
      if (attempt !== this.#attempt) return stream.getTracks().forEach((track) => track.stop());
      this.#microphone?.use(stream);
      this.#gate();
      await this.#line?.use(stream);
    } catch {
      const { code, message } = new Fault("microphone_lost");
      this.#listeners.tell("notice", { code, message });
    }
  }

  /** Everything that goes on while a call does. */
  #watch(): void {
    this.#unwatch();
    const every = (ms: number, act: () => void) => {
      const timer = setInterval(act, ms);
      this.#undo.push(() => clearInterval(timer));
    };
    const listen = (target: EventTarget | undefined | null, name: string, act: () => void) => {
      target?.addEventListener(name, act);
      this.#undo.push(() => target?.removeEventListener(name, act));
    };
    every(LEVELS_EVERY_MS, () => this.#measureLevels());
    every(STATS_EVERY_MS, () => void this.#measure());
    const { connection } = navigator as unknown as { connection?: EventTarget };
    listen(connection, "change", () => this.#line?.renew());
    listen(globalThis, "online", () => this.#line?.renew());
    listen(globalThis, "pagehide", () => this.end());
    listen(document, "visibilitychange", () => this.#seen());
    listen(this.#sound?.context, "statechange", () => this.#stalled());
    void this.#stayAwake();
  }

  #unwatch(): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #seen(): void {
    if (document.visibilityState !== "visible") return;
    void this.#stayAwake();
    this.#stalled();
  }

  #stalled(): void {
    this.#listeners.tell("stalled", { isStalled: this.#sound?.isStalled ?? false });
  }

  async #stayAwake(): Promise<void> {
    const lock = await navigator.wakeLock?.request("screen").catch(() => undefined);
    if (lock) this.#undo.push(() => void lock.release().catch(() => undefined));
  }

  #measureLevels(): void {
    const levelIn = this.#microphone?.meter.level ?? 0;
    const levelOut = this.#sound?.meter.level ?? 0;
    this.#listeners.tell("levels", { in: loudness(levelIn), out: loudness(levelOut) });
    this.#latency.levels(performance.now(), levelIn, levelOut);
  }

  async #measure(): Promise<void> {
    const line = this.#line;
    if (!line) return;
    const measured = await line.measure().catch(() => undefined);
    if (!measured || line !== this.#line) return;
    const seconds = Math.floor((performance.now() - this.#connectedAt) / 1000);
    const { last: latencyMs, median: latencyMedianMs } = this.#latency;
    this.#listeners.tell("stats", { ...measured, latencyMs, latencyMedianMs, seconds });
  }

  #gate(): void {
    const isOpen = !this.#isMuted && (!this.#needsPush || this.#isPushed);
    this.#floor.isMuted = !isOpen;
    if (this.#microphone) this.#microphone.isOpen = isOpen;
    this.#show();
  }

  #fail(fault: Fault): void {
    this.#release();
    this.#fault = fault;
    this.#isReconnecting = false;
    this.#become("error");
  }

  #become(connection: Floor["connection"]): void {
    this.#floor.connection = connection;
    if (connection !== "error") this.#fault = undefined;
    this.#show(true);
  }

  /** Tells the state, when it is another one. */
  #show(always = false): void {
    const state = this.#floor.state(performance.now());
    if (state === this.#shown && !always) return;
    this.#shown = state;
    this.#listeners.tell("statechange", { state, fault: this.#fault, isReconnecting: this.#isReconnecting });
    if (state === "interrupted") setTimeout(() => this.#show(), INTERRUPTED_MS + 5);
    if (state === "thinking") setTimeout(() => this.#show(), 15_100);
  }

  #release(): void {
    this.#unwatch();
    this.#line?.close();
    this.#microphone?.close();
    this.#sound?.close();
    this.#line = this.#microphone = this.#sound = undefined;
    this.#floor.reset();
    this.#isPushed = false;
  }
}

/** A level as an ear has it: 60 dB of range, 0 to 1. */
export function loudness(level: number): number {
  return level <= 0 ? 0 : Math.max(0, Math.min(1, 1 + Math.log10(level) / 3));
}
