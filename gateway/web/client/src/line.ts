/** What carries a call: the seam between a call and the ways to a gateway. */
import type { Fault } from "./fault.ts";
import type { Heard } from "./player.ts";
import type { WireEvent } from "./wire.ts";

/** WebRTC over UDP, WebRTC over TCP, WebSocket: in this order they are tried. */
export type Path = "udp" | "tcp" | "ws";

/** What a path is like at the moment; what is not known is absent. */
export interface Measured {
  path: Path;
  rttMs?: number | undefined;
  /** Of what should have come in the last second, 0 to 1. */
  lossIn?: number | undefined;
  /** Of what we sent, as the gateway reports it, 0 to 1. */
  lossOut?: number | undefined;
  jitterMs?: number | undefined;
}

/** What a line tells its call. */
export interface LineOwner {
  /** An event came. */
  received(event: WireEvent): void;
  /** An event left, audio aside. */
  sent(event: WireEvent): void;
  /** The first sound of an answer, or its last. */
  plays(isPlaying: boolean): void;
  /** It is being repaired; nothing is lost yet. */
  shaky(isShaky: boolean): void;
  /** It is gone for good. */
  lost(fault: Fault): void;
}

export interface Line {
  readonly path: Path;
  send(event: WireEvent): void;
  /** Silences what is being said, and what is still being made; answers what was heard of it, where this side knows. */
  cut(isAnswering: boolean): Promise<Heard | undefined>;
  /** Sends this from now on. */
  use(stream: MediaStream): Promise<void>;
  /** The network has changed: whatever can be done before it is noticed. */
  renew(): void;
  measure(): Promise<Measured>;
  close(): void;
}
