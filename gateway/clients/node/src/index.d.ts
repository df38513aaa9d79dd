/** Bots that take calls from a Patchbay gateway over plain HTTP: no public address, no WebRTC, no codec. */

import type { SecureContextOptions } from "node:tls";

/** How much was checked about a caller, least first; `phone` stands beside the ladder. */
export type Level = "none" | "challenge" | "account" | "verified" | "phone";

/** A bot's Ed25519 private key. Never printed: `console.log` shows its thumbprint. */
export class BotKey {
  private constructor();
  /** The public key as a JWK, for `POST /v1/bots`. */
  readonly jwk: { readonly crv: "Ed25519"; readonly kty: "OKP"; readonly x: string };
  /** RFC 7638; the `kid` of every token. */
  readonly thumbprint: string;
  /** A new key. */
  static generate(): BotKey;
  /** A key from PKCS #8 in PEM (`openssl genpkey -algorithm ed25519`) or from a private JWK. Throws on anything else. */
  static load(text: string | Uint8Array): BotKey;
  /** As `load`, from a file. */
  static read(path: string): BotKey;
  /** The private key as PKCS #8 in PEM, to be kept. */
  pem(): string;
  /** A token that says "I am this bot" to the gateway at `audience`, from `nowS` (Unix time, seconds) for 240 s. */
  token(botId: string, audience: string, nowS: number): string;
}

/** A call that is offered. It stands for about 5 s. */
export interface IncomingCall {
  readonly callId: string;
  /** `{ kind: "phone" | "browser" | "bot" }` */
  readonly caller: Readonly<Record<string, unknown>>;
  /** For `verifyHumanAttestation`. */
  readonly ticket: string;
  readonly codecs: readonly string[];
  /** Unix time, seconds. */
  readonly expiresAt: number;
  readonly lease: string;
  /** Turns true when the offer is taken back. */
  readonly canceled: boolean;
}

/** What a valid ticket says. `subject` is a pseudonym of the caller, the same only for this bot. */
export interface Attestation {
  readonly callId: string;
  readonly level: Level;
  readonly methods: readonly unknown[];
  readonly subject: string;
  readonly transport: string;
}

/** What the caller said in one piece: an Opus packet, or 20 ms of raw audio. */
export interface AudioPacket {
  readonly payload: Buffer;
  readonly seq: number;
  /** In 1/48 000 s, 32 bits. */
  readonly timestamp: number;
  /** How many packets are missing before this one (0 for raw audio). */
  readonly lost: number;
}

/** What happens in a call: `mark` (`name`), `dtmf` (`digit`), `cleared` (`heard_ms`), `speech_started`, `transcript`, `call.ended`. */
export interface CallEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface BotOptions {
  /** The gateway's `public_url`, which tokens are made out to, if the bot reaches it at another address. */
  audience?: string;
  /** Names this instance; random unless given. */
  instance?: string;
  /** For gateways with a private authority: `{ ca }`. */
  tls?: SecureContextOptions;
  /** A connection without a byte for so long is given up; 12 000 ms unless given. The gateway sends something every 10 s. */
  silentMs?: number;
}

/** One instance of a bot at one gateway. */
export class Bot {
  constructor(gatewayUrl: string, botId: string, key: BotKey, options?: BotOptions);
  readonly botId: string;
  readonly instance: string;
  /** The lease, once registered. */
  readonly lease: string | undefined;
  /**
   * Enters the gateway's directory: from now on callers find the bot, and at most `capacity` (10) calls at once are offered to this
   * instance. Answers the lease, which is refreshed by itself; should this program die, it ends after `ttlS` (60, at most 300) seconds.
   * Throws GatewayError (401: the key is not known, or the clock is wrong) and ConnectionLost.
   */
  registerWithDiscovery(wish?: {
    name?: string; capabilities?: string[]; formats?: string[]; capacity?: number; ttlS?: number;
  }): Promise<string>;
  /** The calls that are offered, until `close`. Each wants `acceptCall` or `rejectCall` within 5 s; else another instance is asked. */
  calls(): AsyncGenerator<IncomingCall, void, void>;
  /** Runs `take` for each offered call, beside each other, until `close`. What it throws is logged and ends that call alone. */
  serve(take: (bot: Bot, incoming: IncomingCall) => Promise<void>): Promise<void>;
  /**
   * Takes an offered call, with Opus or with raw audio both ways (`audio/x-mulaw;rate=8000`, `audio/pcm;rate=24000`).
   * Throws OfferExpired, CallTaken, another GatewayError, ConnectionLost.
   */
  acceptCall(incoming: IncomingCall, options?: { audio?: string }): Promise<Call>;
  /** Leaves an offered call to others. Throws GatewayError, ConnectionLost. */
  rejectCall(incoming: IncomingCall, reason?: string): Promise<void>;
  /**
   * What the gateway vouches for about the caller, if that is at least `minLevel` ("challenge"). A phone counts as `challenge` if the
   * network attests its number in full (A), else as `none`. Checks the signature by the gateway's keys, type, issuer, audience, age (at
   * most 60 s), the call, and that the ticket is shown once. Throws TicketError; GatewayError or ConnectionLost if the keys are not to be had.
   */
  verifyHumanAttestation(ticket: string, minLevel?: Level, callId?: string): Promise<Attestation>;
  /** Ends the lease and every connection; calls that run are hung up. Throws nothing. */
  close(): Promise<void>;
}

/** A call, from `acceptCall` until somebody hangs up. */
export class Call {
  private constructor();
  readonly callId: string;
  /** What the bot hears and says, as types of media. */
  readonly receives: string;
  readonly sends: string;
  readonly ended: boolean;
  /** Why the call ended, once it has. */
  readonly reason: string | undefined;
  /** How speech goes to the gateway; "batch" where a proxy holds streams back. */
  readonly uploadMode: "stream" | "batch";
  /** Waits until the call is over; answers why. */
  waitEnded(): Promise<string>;
  /**
   * What the caller says, packet by packet, as it comes, until the call is over. Reconnects by itself; what was missed for longer than
   * 5 s is lost, and the next packet tells how much. Throws GatewayError if the gateway refuses.
   */
  receiveAudioOpus(): AsyncGenerator<AudioPacket, void, void>;
  /** The same for a call that was accepted with raw audio: pieces of 20 ms; PCM is signed, 16 bits, little-endian. */
  receiveAudio(): AsyncGenerator<AudioPacket, void, void>;
  /**
   * Says one Opus packet (1 to 1275 bytes, up to 120 ms). Faster than real time is fine: the gateway plays in real time, and this waits
   * while ten seconds are under way. Throws CallEnded, GatewayError, and FramingError for what is no packet.
   */
  sendAudioOpus(packet: Uint8Array): Promise<void>;
  /** Says raw audio of the type that the call was accepted with. One stream, without batches. Throws CallEnded, ConnectionLost. */
  sendAudio(samples: Uint8Array): Promise<void>;
  /** Drops everything said so far that the caller has not heard. Throws CallEnded, GatewayError, ConnectionLost. */
  clear(): Promise<void>;
  /** Asks for the event `mark` with this name once all that was said before it is heard. */
  mark(name: string): Promise<void>;
  /** Tells the gateway something of the call: `dtmf`, `transcript`, `speech_started`. Throws as `clear` does. */
  sendEvent(event: CallEvent): Promise<void>;
  /** What happens in the call, until it is over. Reconnects by itself. */
  events(): AsyncGenerator<CallEvent, void, void>;
  /** Ends the call at once; what is not yet heard is not heard. Of a call that is over, no error. Throws GatewayError, ConnectionLost. */
  hangup(): Promise<void>;
}

/** Anything that this package throws of its own. */
export class PatchbayError extends Error {}
/** The gateway cannot be reached, or stopped in the middle. */
export class ConnectionLost extends PatchbayError {}
/** The call is over: nothing can be sent any more. */
export class CallEnded extends PatchbayError {}
/** What should be a packet or a stream of packets is none. */
export class FramingError extends PatchbayError {}
/** The gateway refused: `status` is HTTP's, `code` the gateway's own (`bot_not_found`). */
export class GatewayError extends PatchbayError {
  readonly status: number;
  readonly code: string;
  readonly retryAfterMs: number | undefined;
}
/** Another instance of this bot was quicker, or was given the call. */
export class CallTaken extends GatewayError {}
/** The call was accepted too late: an offer stands for 5 s, or until the caller gives up. */
export class OfferExpired extends GatewayError {}
/** The ticket proves nothing. */
export class TicketError extends PatchbayError {
  readonly reason:
    | "malformed" | "type" | "signature" | "issuer" | "audience" | "expired" | "replayed" | "call" | "level";
}
