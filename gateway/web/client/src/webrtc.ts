/** A call by WebRTC: one POST of an offer, one answer, events on the data channel `oai-events`. */
import { Fault, faultOfResponse } from "./fault.ts";
import type { Line, LineOwner, Measured, Path } from "./line.ts";
import type { Microphone } from "./microphone.ts";
import { onlyCandidates } from "./sdp.ts";
import type { Sound } from "./sound.ts";
import { number, parse, type WireEvent } from "./wire.ts";

/** Over UDP or TCP it is there within a second, or a firewall is in the way. */
const CONNECT_WITHIN_MS = 5_000;
/** Repair begins when a line has been silent for this long after the browser noticed. */
const SHAKY_MS = 1_000;
/** The gateway keeps a call this long for a page that comes back. */
const REPAIR_WITHIN_MS = 20_000;
const REPAIR_EVERY_MS = 2_000;

export interface WebRtcPlan {
  /** Where offers are posted: `…/v1/realtime/calls`. */
  readonly url: URL;
  /** Asked before each request: a call may outlast a token. */
  readonly token: () => Promise<string>;
  readonly paths: readonly Path[];
  readonly sound: Sound;
  readonly microphone: Microphone;
  readonly owner: LineOwner;
  readonly iceServers: RTCIceServer[];
}

export class WebRtcLine implements Line {
  readonly #plan: WebRtcPlan;
  readonly #pc: RTCPeerConnection;
  readonly #channel: RTCDataChannel;
  #path: Path = "udp";
  #location: URL | undefined;
  #repairing: ReturnType<typeof setTimeout> | undefined;
  #shakySince: number | undefined;
  #isClosed = false;
  #isRestarting = false;
  #counted = { lost: 0, received: 0 };

  /** Connects, or throws a `Fault`. */
  static async open(plan: WebRtcPlan): Promise<WebRtcLine> {
    if (typeof RTCPeerConnection === "undefined") throw new Fault("unsupported");
    const line = new WebRtcLine(plan);
    try {
      await line.#offer(plan.url);
      await line.#connected();
      await line.measure();
      return line;
    } catch (error) {
      line.close();
      throw error;
    }
  }

  private constructor(plan: WebRtcPlan) {
    this.#plan = plan;
    this.#pc = new RTCPeerConnection({ iceServers: plan.iceServers, bundlePolicy: "max-bundle" });
    this.#channel = this.#pc.createDataChannel("oai-events");
    this.#channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      const event = parse(data);
      if (event) this.#take(event);
    };
    this.#channel.onclose = () => this.#lost(new Fault("lost"));
    this.#pc.addTrack(plan.microphone.track, plan.microphone.stream);
    this.#pc.ontrack = ({ receiver, streams, track }) => {
      // A voice that answers should not wait in a buffer longer than it must.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 20;
      plan.sound.play(streams[0] ?? new MediaStream([track]));
    };
    this.#pc.onconnectionstatechange = () => this.#watch();
  }

  get path(): Path {
    return this.#path;
  }

  send(event: WireEvent): void {
    if (this.#channel.readyState !== "open") return;
    this.#channel.send(JSON.stringify(event));
    this.#plan.owner.sent(event);
  }

  /** The gateway holds the queue, and knows what was played of it. */
  async cut(isAnswering: boolean): Promise<undefined> {
    if (isAnswering) this.send({ type: "response.cancel" });
    this.send({ type: "output_audio_buffer.clear" });
  }

  async use(stream: MediaStream): Promise<void> {
    const [track] = stream.getAudioTracks();
    await this.#pc.getSenders()[0]?.replaceTrack(track ?? null);
  }

  renew(): void {
    if (!this.#isClosed) void this.#restart();
  }

  async measure(): Promise<Measured> {
    const report = await this.#pc.getStats();
    const all = [...report.values()] as Array<Record<string, unknown>>;
    const find = (type: string) => all.find((one) => one["type"] === type && (one["kind"] ?? "audio") === "audio");
    const pairId = find("transport")?.["selectedCandidatePairId"];
    const pair = all.find((one) => one["id"] === pairId) ?? all.find((one) => one["nominated"] && one["selected"]);
    const local = all.find((one) => one["id"] === pair?.["localCandidateId"]);
    if (local) this.#path = local["protocol"] === "tcp" ? "tcp" : "udp";
    const [inbound, remote] = [find("inbound-rtp"), find("remote-inbound-rtp")];
    const ms = (seconds: number | undefined) => (seconds === undefined ? seconds : Math.round(seconds * 1000));
    return {
      path: this.#path,
      rttMs: ms(number(pair, "currentRoundTripTime")),
      lossIn: this.#lossSince(number(inbound, "packetsLost") ?? 0, number(inbound, "packetsReceived") ?? 0),
      lossOut: number(remote, "fractionLost"),
      jitterMs: ms(number(inbound, "jitter")),
    };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#repairing);
    this.#channel.onclose = this.#channel.onmessage = this.#pc.onconnectionstatechange = null;
    this.#pc.close();
    if (!this.#location) return;
    // A page that is closed may still say so: then the gateway need not wait for it.
    const hangup = new URL(`${this.#location.pathname}/hangup`, this.#location);
    void this.#post(hangup, { keepalive: true }).catch(() => undefined);
  }

  async #offer(to: URL): Promise<void> {
    const offer = await this.#pc.createOffer();
    await this.#pc.setLocalDescription(offer);
    // The gateway is reachable: it needs none of our candidates, so nobody waits for them.
    const body = this.#pc.localDescription?.sdp ?? offer.sdp ?? "";
    const response = await this.#post(to, { body, signal: AbortSignal.timeout(CONNECT_WITHIN_MS) });
    if (!response.ok) throw await faultOfResponse(response);
    const location = response.headers.get("location");
    if (location) this.#location = new URL(location, to);
    const sdp = onlyCandidates(await response.text(), this.#plan.paths);
    await this.#pc.setRemoteDescription({ type: "answer", sdp }).catch(() => Promise.reject(new Fault("no_path")));
  }

  /** Until both the connection and the channel are open. */
  #connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = () => reject(new Fault("no_path"));
      const timer = setTimeout(failed, CONNECT_WITHIN_MS);
      const look = () => {
        const isUp = this.#pc.connectionState === "connected" && this.#channel.readyState === "open";
        if (isUp) resolve();
        else if (this.#pc.connectionState === "failed") failed();
        else return;
        clearTimeout(timer);
      };
      this.#channel.onopen = look;
      this.#pc.addEventListener("connectionstatechange", look);
      look();
    });
  }

  #take(event: WireEvent): void {
    if (event.type === "output_audio_buffer.started") this.#plan.owner.plays(true);
    this.#plan.owner.received(event);
    const isSilent = event.type === "output_audio_buffer.stopped" || event.type === "output_audio_buffer.cleared";
    if (isSilent) this.#plan.owner.plays(false);
  }

  #watch(): void {
    const { connectionState } = this.#pc;
    clearTimeout(this.#repairing);
    if (connectionState === "connected") {
      if (this.#shakySince !== undefined) this.#plan.owner.shaky(false);
      this.#shakySince = undefined;
    } else if (connectionState === "failed") {
      this.#repair();
    } else if (connectionState === "disconnected") {
      this.#repairing = setTimeout(() => this.#repair(), SHAKY_MS);
    }
  }

  /** Tries until it holds or the gateway has given the call up. */
  #repair(): void {
    if (this.#isClosed || this.#pc.connectionState === "connected") return;
    if (this.#shakySince === undefined) this.#plan.owner.shaky(true);
    this.#shakySince ??= performance.now();
    if (performance.now() - this.#shakySince > REPAIR_WITHIN_MS) return this.#lost(new Fault("lost"));
    void this.#restart();
    this.#repairing = setTimeout(() => this.#repair(), REPAIR_EVERY_MS);
  }

  /** A new offer to the call's own address: ICE begins anew, the call goes on. */
  async #restart(): Promise<void> {
    if (!this.#location || this.#isRestarting) return;
    this.#isRestarting = true;
    try {
      this.#pc.restartIce();
      await this.#offer(this.#location);
    } catch (error) {
      const isOver = error instanceof Fault && ["not_found", "unauthorized", "forbidden"].includes(error.code);
      if (isOver) this.#lost(new Fault("lost"));
    } finally {
      this.#isRestarting = false;
    }
  }

  #lost(fault: Fault): void {
    if (this.#isClosed) return;
    this.close();
    this.#plan.owner.lost(fault);
  }

  #lossSince(lost: number, received: number): number {
    const [newlyLost, newly] = [lost - this.#counted.lost, received - this.#counted.received];
    this.#counted = { lost, received };
    return newlyLost > 0 ? newlyLost / (newlyLost + Math.max(0, newly)) : 0;
  }

  async #post(to: URL, init: RequestInit): Promise<Response> {
    const token = await this.#plan.token();
    const headers = { "content-type": "application/sdp", ...(token ? { authorization: `Bearer ${token}` } : {}) };
    return fetch(to, { ...init, method: "POST", headers }).catch(() => Promise.reject(new Fault("unreachable")));
  }
}
