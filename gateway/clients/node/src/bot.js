// A bot: registered with a gateway, found by callers, offered calls.
import { randomBytes } from "node:crypto";

import { Verifier } from "./attestation.js";
import { Backoff, Bell } from "./backoff.js";
import { Call } from "./call.js";
import { CallEnded, CallTaken, GatewayError, OfferExpired } from "./errors.js";
import { Http, pieces } from "./http.js";
import { TOKEN_S } from "./key.js";
import { SseParser } from "./sse.js";

const EVENTS = "/v1/bots/self/events";
/** What the gateway may hold a long poll for, and how long polling goes on before the stream is tried again. */
const POLL_S = 25;
const POLLING_MS = 300_000;
/** Offers that wait to be looked at. More are not read. */
const OFFERS_MAX = 100;

export class Bot {
  botId;
  instance;
  lease;
  #key;
  #audience;
  #http;
  #minted = { untilMs: 0, token: "" };
  #wish;
  #offers = [];
  #waiting = new Map();
  #calls = new Map();
  #mode = "stream";
  #silentMs;
  #bell = new Bell();
  #isClosed = false;
  #refresher;
  #events;
  #verifier;

  constructor(gatewayUrl, botId, key, { audience = gatewayUrl, instance = randomBytes(8).toString("hex"), tls, silentMs = 12_000 } = {}) {
    this.botId = botId;
    this.instance = instance;
    this.#key = key;
    this.#audience = audience.replace(/\/+$/, "");
    this.#silentMs = silentMs;
    this.#http = new Http(gatewayUrl, tls);
    this.#verifier = new Verifier(this.#audience, botId, () => this.#http.ask("GET", "/.well-known/jwks.json", {}));
  }

  // Being found.

  async registerWithDiscovery({ name, capabilities = [], formats = ["audio/opus"], capacity = 10, ttlS = 60 } = {}) {
    this.#wish = { id: this.botId, instance: this.instance, name, capabilities, formats, capacity, delivery: "sse", ttl: ttlS };
    const isFirst = !this.#refresher;
    this.#refreshIn(await this.#register());
    if (isFirst) this.#listen();
    return this.lease;
  }

  async #register() {
    const told = await this.#http.ask("POST", "/v1/register", { authorization: `Bearer ${this.#mint()}` }, this.#wish);
    this.lease = String(told.lease);
    const after = Number(told.refresh_after) || this.#wish.ttl / 3;
    // A moment or a span: what is larger than any span is a moment.
    return 1000 * Math.max(1, after > 1e6 ? after - Date.now() / 1000 : after);
  }

  #refreshIn(ms, backoff = new Backoff()) {
    clearTimeout(this.#refresher);
    this.#refresher = setTimeout(async () => {
      const waitMs = await this.#register().then((wait) => (backoff.reset(), wait), () => backoff.nextMs());
      if (!this.#isClosed) this.#refreshIn(waitMs, backoff);
    }, ms);
  }

  #mint() {
    return this.#key.token(this.botId, this.#audience, Math.floor(Date.now() / 1000));
  }

  /** A token that is good for another minute at least. Only registration needs a new one each time. */
  #token = () => {
    if (this.#minted.untilMs < Date.now() + 60_000) this.#minted = { untilMs: Date.now() + TOKEN_S * 1000, token: this.#mint() };
    return this.#minted.token;
  };

  #bearer() {
    return { authorization: `Bearer ${this.#token()}` };
  }

  // Being called.

  async *calls() {
    while (!this.#isClosed) {
      await this.#bell.until(() => this.#offers.length || this.#isClosed);
      const offer = this.#offers.shift();
      this.#bell.ring();
      if (offer && !offer.canceled) yield offer;
    }
  }

  async serve(take) {
    for await (const incoming of this.calls()) this.#takeCall(take, incoming);
  }

  async #takeCall(take, incoming) {
    try {
      await take(this, incoming);
    } catch (error) {
      if (error instanceof CallEnded || error instanceof CallTaken || error instanceof OfferExpired) return;
      console.error(`call ${incoming.callId}:`, error);
      await this.#calls.get(incoming.callId)?.hangup().catch(() => undefined);
    }
  }

  async acceptCall(incoming, { audio = "audio/opus" } = {}) {
    this.#waiting.delete(incoming.callId);
    const body = { lease: incoming.lease, audio: { receive: audio, send: audio } };
    const told = await this.#http.ask("POST", `/v1/calls/${incoming.callId}/accept`, this.#bearer(), body);
    // The proxy that holds one call's stream back holds back the next one's.
    const onMode = (mode) => { this.#mode = mode; };
    const call = new Call(this.#http, this.#token, { call_id: incoming.callId, ...told }, { mode: this.#mode, onMode, silentMs: this.#silentMs });
    for (const [callId, other] of this.#calls) if (other.ended) this.#calls.delete(callId);
    this.#calls.set(call.callId, call);
    return call;
  }

  async rejectCall(incoming, reason) {
    this.#waiting.delete(incoming.callId);
    await this.#http.ask("POST", `/v1/calls/${incoming.callId}/reject`, this.#bearer(), { lease: incoming.lease, reason });
  }

  async verifyHumanAttestation(ticket, minLevel = "challenge", callId = undefined) {
    return await this.#verifier.verify(ticket, minLevel, callId);
  }

  // The stream of events, and its twin for proxies that hold it back.

  async #listen() {
    const backoff = new Backoff();
    let pollsUntilMs = 0;
    let at = { lease: this.lease, lastId: "" };
    while (!this.#isClosed) {
      if (at.lease !== this.lease) at = { lease: this.lease, lastId: "" };
      try {
        if (performance.now() < pollsUntilMs) {
          at.lastId = await this.#poll(at);
          backoff.reset();
        } else await this.#stream(at, backoff);
      } catch (error) {
        if (error.isSilent) pollsUntilMs = performance.now() + POLLING_MS;
        else await this.#rest(error.retryAfterMs ?? backoff.nextMs());
        const isGone = error instanceof GatewayError && [404, 409, 410].includes(error.status);
        if (isGone && at.lease === this.lease && !this.#isClosed) await this.#register().catch(() => undefined);
      }
    }
  }

  #rest(ms) {
    return this.#bell.until(() => this.#isClosed, ms);
  }

  async #stream(at, backoff) {
    const headers = { ...this.#bearer(), accept: "text/event-stream", ...(at.lastId ? { "last-event-id": at.lastId } : {}) };
    const url = `${EVENTS}?lease=${encodeURIComponent(at.lease)}`;
    const response = await this.#http.get(url, headers, this.#silentMs).catch((error) => {
      throw Object.assign(error, { isSilent: error.cause?.message === "silent" });
    });
    const parser = new SseParser(at.lastId);
    this.#events = response;
    for await (const piece of pieces(response, this.#silentMs)) {
      backoff.reset();
      for (const { name, data, id } of parser.feed(piece)) {
        await this.#take(name, JSON.parse(data));
        at.lastId = id;
      }
      if (at.lease !== this.lease || this.#isClosed) return;
    }
    await this.#rest(parser.retryMs ?? 1000);
  }

  async #poll({ lease, lastId }) {
    const query = `lease=${encodeURIComponent(lease)}&after=${encodeURIComponent(lastId || "0")}&wait=${POLL_S}`;
    const told = await this.#http.ask("GET", `${EVENTS}?${query}`, this.#bearer(), undefined, { answerMs: (POLL_S + 10) * 1000 });
    for (const { event, data } of told.events) await this.#take(event, data);
    return String(told.next);
  }

  async #take(name, told) {
    if (name === "call.incoming") await this.#offer(told);
    if (name === "call.canceled" && this.#waiting.has(told.call_id)) this.#waiting.get(told.call_id).canceled = true;
    if (name === "call.ended") this.#calls.get(told.call_id)?.end(String(told.reason ?? "ended"));
  }

  async #offer(told) {
    const offer = {
      callId: String(told.call_id), caller: told.from ?? {}, ticket: String(told.ticket ?? ""), codecs: told.codecs ?? [],
      expiresAt: Number(told.expires_at) || 0, lease: String(told.lease ?? this.lease), canceled: false,
    };
    for (const [callId, other] of this.#waiting) if (other.canceled || other.expiresAt < Date.now() / 1000 - 60) this.#waiting.delete(callId);
    this.#waiting.set(offer.callId, offer);
    await this.#bell.until(() => this.#offers.length < OFFERS_MAX || this.#isClosed);
    this.#offers.push(offer);
    this.#bell.ring();
  }

  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#refresher);
    this.#bell.ring();
    this.#events?.destroy();
    const running = [...this.#calls.values()].filter((call) => !call.ended);
    await Promise.allSettled(running.map((call) => call.hangup()));
    if (this.lease) {
      const url = `/v1/register/${this.botId}?lease=${encodeURIComponent(this.lease)}`;
      await this.#http.ask("DELETE", url, this.#bearer()).catch(() => undefined);
    }
    this.lease = undefined;
    this.#http.close();
  }
}
