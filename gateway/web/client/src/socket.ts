/** A call by WebSocket: 16-bit PCM at 24 kHz in base64, both ways. It gets through where nothing else does. */
import { Fault, faultOfClose, faultOfResponse } from "./fault.ts";
import type { Line, LineOwner, Measured } from "./line.ts";
import type { Microphone } from "./microphone.ts";
import { toBase64 } from "./pcm.ts";
import { type Heard, Player } from "./player.ts";
import type { Sound } from "./sound.ts";
import { number, parse, text, type WireEvent } from "./wire.ts";

const CONNECT_WITHIN_MS = 8_000;
/** What waits in the browser's buffer is late: beyond a second of it, chunks are dropped. In characters. */
const BUFFERED_MAX = 65_000;
/** A WebSocket of a browser cannot ping: a small request to the same machine tells about how far it is. */
const PROBE_EVERY_MS = 5_000;

export interface SocketPlan {
  /** `…/v1/realtime`, by http or ws. */
  readonly url: URL;
  readonly token: string;
  readonly sound: Sound;
  readonly microphone: Microphone;
  readonly owner: LineOwner;
}

export class SocketLine implements Line {
  readonly path = "ws";
  readonly #plan: SocketPlan;
  readonly #socket: WebSocket;
  readonly #player: Player;
  readonly #capture: AudioWorkletNode;
  #source: MediaStreamAudioSourceNode | undefined;
  /** The response that speaks, and the last one that was cut: what comes late of that is not played. */
  #speaking: string | undefined;
  #buried: string | undefined;
  #rttMs: number | undefined;
  #probedAt = 0;
  #isClosed = false;

  /** Connects, or throws a `Fault`. */
  static async open(plan: SocketPlan): Promise<SocketLine> {
    if (typeof AudioWorkletNode === "undefined") throw new Fault("unsupported");
    await plan.sound.loadWorklet().catch(() => Promise.reject(new Fault("unreachable")));
    const line = new SocketLine(plan);
    try {
      await line.#connected();
      await line.use(plan.microphone.stream);
      return line;
    } catch (error) {
      line.close();
      throw error;
    }
  }

  private constructor(plan: SocketPlan) {
    this.#plan = plan;
    const url = new URL(plan.url);
    url.protocol = url.protocol.replace("http", "ws");
    const key = plan.token ? [`openai-insecure-api-key.${plan.token}`] : [];
    this.#socket = new WebSocket(url, ["realtime", ...key]);
    this.#player = new Player(plan.sound);
    this.#player.onplaying = (isPlaying) => plan.owner.plays(isPlaying);
    this.#capture = new AudioWorkletNode(plan.sound.context, "patchbay-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#capture.port.onmessage = ({ data }: MessageEvent<Int16Array>) => this.#append(data);
  }

  send(event: WireEvent): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify(event));
    this.#plan.owner.sent(event);
  }

  /** Silence first, then the far side is told what was heard, and never more than that. */
  async cut(isAnswering: boolean): Promise<Heard | undefined> {
    this.#buried = this.#speaking;
    const clearing = this.#player.clear();
    if (isAnswering) this.send({ type: "response.cancel" });
    const heard = await clearing;
    if (heard && heard.heardMs > 0) {
      const { itemId: item_id, contentIndex: content_index, heardMs: audio_end_ms } = heard;
      this.send({ type: "conversation.item.truncate", item_id, content_index, audio_end_ms });
    }
    return heard;
  }

  async use(stream: MediaStream): Promise<void> {
    this.#source?.disconnect();
    this.#source = this.#plan.sound.context.createMediaStreamSource(stream);
    this.#source.connect(this.#capture);
  }

  /** A WebSocket notices by itself, late: there is nothing to renew but a new call. */
  renew(): void {}

  async measure(): Promise<Measured> {
    if (performance.now() - this.#probedAt > PROBE_EVERY_MS) void this.#probe();
    return { path: "ws", rttMs: this.#rttMs };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.onclose = this.#socket.onmessage = null;
    this.#socket.close(1000);
    this.#capture.port.onmessage = null;
    this.#source?.disconnect();
    this.#player.close();
  }

  /** Until the gateway has said who it is. */
  #connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Fault("no_path")), CONNECT_WITHIN_MS);
      let isOpen = false;
      this.#socket.onopen = () => (isOpen = true);
      this.#socket.onmessage = ({ data }: MessageEvent<unknown>) => {
        const event = parse(data);
        if (!event) return;
        if (event.type === "session.created") {
          clearTimeout(timer);
          resolve();
        }
        this.#take(event);
      };
      this.#socket.onclose = ({ code, reason }) => {
        clearTimeout(timer);
        if (!isOpen) return void this.#whyRefused().then(reject);
        const fault = faultOfClose(code, reason);
        reject(fault);
        // Once it was up, its end is the call's.
        this.#lost(fault);
      };
    });
  }

  /** A browser hides why a WebSocket was refused; a plain request to the same address may be told. */
  async #whyRefused(): Promise<Fault> {
    const url = new URL(this.#plan.url);
    url.protocol = url.protocol.replace("ws", "http");
    const headers = this.#plan.token ? { authorization: `Bearer ${this.#plan.token}` } : {};
    try {
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(CONNECT_WITHIN_MS) });
      if ([401, 403, 404, 429, 503].includes(response.status)) return await faultOfResponse(response);
      // 426: the token is good, and it should have been a WebSocket. Either none gets through, or no call is taken.
      const ready = await fetch(new URL("/readyz", url));
      return new Fault(ready.status === 503 ? "busy" : "no_path");
    } catch {
      return new Fault("unreachable");
    }
  }

  #take(event: WireEvent): void {
    if (event.type === "response.output_audio.delta") {
      this.#play(event);
    } else if (event.type === "response.output_audio.done" || event.type === "response.done") {
      this.#player.complete();
    }
    this.#plan.owner.received(event);
  }

  #play(event: WireEvent): void {
    const [itemId, audio] = [text(event, "item_id"), text(event, "delta")];
    const response = text(event, "response_id");
    if (!itemId || !audio || (response !== undefined && response === this.#buried)) return;
    this.#speaking = response;
    this.#player.enqueue(itemId, number(event, "content_index") ?? 0, audio);
  }

  #append(chunk: Int16Array): void {
    if (this.#socket.readyState !== WebSocket.OPEN || this.#socket.bufferedAmount > BUFFERED_MAX) return;
    this.#socket.send(JSON.stringify({ type: "input_audio_buffer.append", audio: toBase64(chunk) }));
  }

  async #probe(): Promise<void> {
    this.#probedAt = performance.now();
    const url = new URL("/livez", this.#plan.url);
    url.protocol = url.protocol.replace("ws", "http");
    try {
      await fetch(url, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(PROBE_EVERY_MS) });
      this.#rttMs = Math.round(performance.now() - this.#probedAt);
    } catch {
      this.#rttMs = undefined;
    }
  }

  #lost(fault: Fault): void {
    if (this.#isClosed) return;
    this.close();
    this.#plan.owner.lost(fault);
  }
}
