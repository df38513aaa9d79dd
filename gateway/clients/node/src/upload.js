// What the bot says, on its way: as one long request, or in batches where a proxy holds long requests back.
import { Backoff, Bell } from "./backoff.js";
import { CallEnded, ConnectionLost, GatewayError } from "./errors.js";
import { duration, encode, FRAMES, FRAMES_WITH_HEADER, KEEPALIVE } from "./framing.js";
import { answer, textOf } from "./http.js";

/** A stream of which the gateway has seen nothing after so long is held back by a proxy. */
const PROBE_MS = 500;
/** How often the gateway is asked what it has, while something is under way. */
const ACK_MS = 2000;
const BATCH_PACKETS_MAX = 50;
const BATCH_MS = 120;
const KEEPALIVE_MS = 8000;
/** Bound of what is kept until the gateway has it; then `send` waits. Ten seconds of packets of 20 ms. */
const PACKETS_MAX = 500;

/** The packets of one call in order, each kept until the gateway has it, so that a lost connection loses nothing. */
export class Upload {
  /** How packets go: "stream" or "batch". */
  mode;
  #http;
  #url;
  #token;
  #onMode;
  #kept = [];
  #nextSeq = 0;
  #timestamp = 0;
  #written = 0;
  #bell = new Bell();
  #fault;
  #stream;
  #backoff = new Backoff();

  constructor(http, url, token, mode, onMode) {
    Object.assign(this, { mode });
    this.#http = http;
    this.#url = url;
    this.#token = token;
    this.#onMode = onMode;
  }

  /** Takes one packet; waits while 500 are under way. */
  async send(packet) {
    encode(packet);
    await this.#until(() => this.#kept.length < PACKETS_MAX);
    if (this.#fault) throw this.#fault;
    this.#kept.push({ seq: this.#nextSeq++, timestamp: this.#timestamp, packet: Buffer.from(packet) });
    this.#timestamp += duration(packet);
    this.#bell.ring();
  }

  /** Forgets what is not yet under way, and ends the stream, whose rest must not be heard. Answers the next seq. */
  clear() {
    this.#kept = [];
    this.#written = this.#nextSeq;
    this.#stream?.destroy();
    this.#stream = undefined;
    this.#bell.ring();
    return this.#nextSeq;
  }

  /** From now on `send` throws `fault`, and nothing goes any more. */
  close(fault) {
    this.#fault ??= fault;
    this.#stream?.destroy();
    this.#bell.ring();
  }

  #until(condition, ms) {
    return this.#bell.until(() => condition() || this.#fault, ms);
  }

  /** Carries packets until the call is over. */
  async run() {
    while (!this.#fault) {
      try {
        await this.#until(() => this.#kept.length);
        if (!this.#fault) await (this.mode === "stream" ? this.#streamOnce() : this.#batchOnce());
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  async #recover(error) {
    if (error instanceof ConnectionLost) return await this.#rest();
    if (!(error instanceof GatewayError)) return this.close(error);
    if ([404, 410].includes(error.status)) return this.close(new CallEnded("the call is over"));
    if ([401, 408, 409, 425, 429].includes(error.status) || error.status >= 500) return await this.#rest(error.retryAfterMs);
    return this.close(error);
  }

  #rest(ms) {
    return this.#until(() => false, ms ?? this.#backoff.nextMs());
  }

  #headers(more) {
    return { authorization: `Bearer ${this.#token()}`, ...more };
  }

  // As a stream.

  async #streamOnce() {
    const headers = this.#headers({ "content-type": FRAMES_WITH_HEADER, "transfer-encoding": "chunked" });
    const stream = this.#http.start("POST", this.#url, headers);
    this.#stream = stream;
    this.#written = this.#kept[0].seq;
    const isOver = () => this.#stream !== stream || stream.destroyed;
    const answered = answer(stream).then(async (response) => {
      if (response.statusCode >= 300) throw GatewayError.of(response.statusCode, response.headers, await textOf(response));
      throw new ConnectionLost("the gateway has ended the stream");
    });
    try {
      await Promise.race([answered, this.#watch(this.#written, isOver), this.#write(stream, isOver)]);
    } catch (error) {
      if (this.#stream !== stream) return;
      throw error instanceof GatewayError ? error : new ConnectionLost(error.message, { cause: error });
    } finally {
      answered.catch(() => undefined);
      if (this.#stream === stream) this.#stream = undefined;
      stream.destroy();
      this.#bell.ring();
    }
  }

  async #write(stream, isOver) {
    while (!isOver() && !this.#fault) {
      const frames = this.#kept.filter(({ seq }) => seq >= this.#written).map((p) => encode(p.packet, p.seq, p.timestamp));
      this.#written = this.#nextSeq;
      if (!stream.write(frames.length ? Buffer.concat(frames) : KEEPALIVE)) {
        await new Promise((resolve) => stream.once("drain", resolve).once("close", resolve));
      }
      await this.#until(() => this.#nextSeq > this.#written || isOver(), KEEPALIVE_MS);
    }
  }

  /** Learns what the gateway has. Ends, with `mode` changed, when it has seen nothing of the stream. */
  async #watch(first, isOver) {
    await this.#until(isOver, PROBE_MS);
    if (isOver()) return;
    if ((await this.#acknowledge()) <= first) {
      this.mode = "batch";
      this.#onMode(this.mode);
      return;
    }
    while (!isOver()) {
      this.#backoff.reset();
      await this.#until(isOver, this.#kept.length < PACKETS_MAX / 2 ? ACK_MS : PROBE_MS);
      if (this.#kept.length && !isOver()) await this.#acknowledge();
    }
  }

  async #acknowledge() {
    return this.#has(await this.#http.ask("GET", `${this.#url}/ack`, this.#headers()));
  }

  /** Lets go of what the gateway has. Answers the seq that it waits for. */
  #has(told) {
    const has = Number(told.next_seq) || 0;
    this.#kept = this.#kept.filter(({ seq }) => seq >= has);
    this.#bell.ring();
    return has;
  }

  // In batches.

  async #batchOnce() {
    const began = performance.now();
    const batch = this.#kept.slice(0, BATCH_PACKETS_MAX);
    const body = Buffer.concat(batch.map(({ packet }) => encode(packet)));
    this.#written = Math.max(this.#written, batch[0].seq + batch.length);
    const headers = this.#headers({ seq: String(batch[0].seq) });
    this.#has(await this.#http.ask("POST", this.#url, headers, body, { kind: FRAMES }));
    this.#backoff.reset();
    await this.#until(() => false, BATCH_MS - (performance.now() - began));
  }
}
