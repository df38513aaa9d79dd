// One call that the bot has taken.
import { Backoff, Bell } from "./backoff.js";
import { CallEnded, ConnectionLost, FramingError, GatewayError } from "./errors.js";
import { FrameParser, FRAMES_WITH_HEADER, unwrap } from "./framing.js";
import { answer, pieces } from "./http.js";
import { SseParser } from "./sse.js";
import { Upload } from "./upload.js";

const PIECE_MS = 20;

export class Call {
  callId;
  receives;
  sends;
  /** Why the call ended, once it has. */
  reason;
  #http;
  #token;
  #path;
  #audio;
  #events;
  #upload;
  #raw;
  #silentMs;
  #bell = new Bell();

  constructor(http, token, accepted, { mode, onMode, silentMs }) {
    this.callId = accepted.call_id;
    this.receives = accepted.receive ?? "audio/opus";
    this.sends = accepted.send ?? "audio/opus";
    this.#http = http;
    this.#token = token;
    this.#silentMs = silentMs;
    this.#path = `/v1/calls/${this.callId}`;
    this.#audio = accepted.audio_url ?? `${this.#path}/audio`;
    this.#events = accepted.events_url ?? `${this.#path}/events`;
    this.#upload = new Upload(http, this.#audio, token, mode, onMode);
    this.#upload.run();
  }

  get ended() {
    return this.reason !== undefined;
  }

  get uploadMode() {
    return this.#upload.mode;
  }

  async waitEnded() {
    await this.#bell.until(() => this.ended);
    return this.reason;
  }

  // What the bot hears.

  async *receiveAudioOpus() {
    let expected;
    yield* this.#untilEnded(async function* (backoff) {
      for await (const packet of this.#download(expected)) {
        expected = packet.seq + 1;
        backoff.reset();
        yield packet;
      }
    });
  }

  /** Runs `download` again and again until one ends in order, which is the end of the call. */
  async *#untilEnded(download) {
    const backoff = new Backoff();
    while (!this.ended) {
      try {
        yield* download.call(this, backoff);
        this.end("ended");
      } catch (error) {
        await this.#refused(error, backoff);
      }
    }
  }

  async *#download(expected) {
    const url = expected === undefined ? this.#audio : `${this.#audio}?from_seq=${expected}`;
    const response = await this.#get(url, { accept: FRAMES_WITH_HEADER });
    const kind = response.headers["content-type"] ?? FRAMES_WITH_HEADER;
    const parser = new FrameParser(kind.replaceAll(" ", "").includes(";hdr=1"));
    let near = Number(response.headers.seq ?? expected ?? 0) || 0;
    let lost = Math.trunc((Number(response.headers["gap-ms"]) || 0) / 20);
    let next = expected === undefined || lost ? near : expected;
    for await (const piece of pieces(response, this.#silentMs)) {
      for (const { payload, seq: low, timestamp = 0 } of parser.feed(piece)) {
        const seq = low === undefined ? near : unwrap(low, near);
        if (seq < next) continue;
        const packet = { payload, seq, timestamp, lost: lost + seq - next };
        lost = 0;
        next = seq + 1;
        near = next;
        yield packet;
        if (this.ended) return;
      }
    }
  }

  async *receiveAudio() {
    const size = bytesOf20Ms(this.receives);
    let seq = 0;
    yield* this.#untilEnded(async function* (backoff) {
      let rest = Buffer.alloc(0);
      const response = await this.#get(this.#audio, { accept: this.receives });
      for await (const piece of pieces(response, this.#silentMs)) {
        backoff.reset();
        rest = Buffer.concat([rest, piece]);
        for (; rest.length >= size; rest = rest.subarray(size), seq += 1) {
          yield { payload: rest.subarray(0, size), seq, timestamp: seq * PIECE_MS * 48, lost: 0 };
          if (this.ended) return;
        }
      }
    });
  }

  #get(url, headers) {
    return this.#http.get(url, { authorization: `Bearer ${this.#token()}`, ...headers }, this.#silentMs);
  }

  async #refused(error, backoff) {
    const isRefusal = error instanceof GatewayError;
    if (isRefusal && [404, 410].includes(error.status)) return this.end("ended");
    const isPassing = isRefusal
      ? [401, 409, 429].includes(error.status) || error.status >= 500
      : error instanceof ConnectionLost || error instanceof FramingError || error instanceof SyntaxError || error instanceof RangeError;
    if (!isPassing) throw error;
    return await this.#bell.until(() => this.ended, error.retryAfterMs ?? backoff.nextMs());
  }

  // What the bot says.

  async sendAudioOpus(packet) {
    await this.#upload.send(packet);
  }

  async sendAudio(samples) {
    if (this.ended) throw new CallEnded("the call is over");
    if (!this.#raw || this.#raw.destroyed) {
      const headers = { authorization: `Bearer ${this.#token()}`, "content-type": this.sends, "transfer-encoding": "chunked" };
      const raw = this.#http.start("POST", this.#audio, headers);
      answer(raw).then((response) => response.resume(), () => raw.destroy());
      this.#raw = raw;
    }
    const raw = this.#raw;
    if (samples.length && !raw.write(samples)) {
      await new Promise((resolve) => raw.once("drain", resolve).once("close", resolve));
    }
    if (raw.destroyed) throw new ConnectionLost("the stream is lost");
  }

  async clear() {
    const next_seq = this.#upload.clear();
    this.#raw?.destroy();
    this.#raw = undefined;
    await this.sendEvent({ type: "clear", next_seq });
  }

  async mark(name) {
    await this.sendEvent({ type: "mark", name });
  }

  async sendEvent(event) {
    await this.#post(this.#events, event);
  }

  async #post(url, body) {
    if (this.ended) throw new CallEnded("the call is over");
    try {
      await this.#http.ask("POST", url, { authorization: `Bearer ${this.#token()}` }, body);
    } catch (error) {
      if (!(error instanceof GatewayError) || ![404, 410].includes(error.status)) throw error;
      this.end("ended");
      throw new CallEnded("the call is over");
    }
  }

  async *events() {
    let lastId = "";
    const backoff = new Backoff();
    while (!this.ended) {
      try {
        const headers = { accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) };
        const response = await this.#get(this.#events, headers);
        const parser = new SseParser(lastId);
        for await (const piece of pieces(response, this.#silentMs)) {
          for (const { name, data, id } of parser.feed(piece)) {
            lastId = id;
            backoff.reset();
            const told = { ...JSON.parse(data), type: name };
            if (name === "call.ended") this.end(String(told.reason ?? "ended"));
            yield told;
          }
          if (this.ended) return;
        }
        await this.#bell.until(() => this.ended, backoff.nextMs());
      } catch (error) {
        await this.#refused(error, backoff);
      }
    }
  }

  async hangup() {
    try {
      await this.#post(`${this.#path}/hangup`);
    } catch (error) {
      if (!(error instanceof CallEnded)) throw error;
    }
    this.end("hangup");
  }

  /** The call is over: for this package alone. */
  end(reason) {
    if (this.ended) return;
    this.reason = reason;
    this.#upload.close(new CallEnded(`the call is over: ${reason}`));
    this.#raw?.destroy();
    this.#bell.ring();
  }
}

function bytesOf20Ms(kind) {
  const [name, parameter = ""] = kind.split(";");
  const rate = Number(parameter.split("rate=")[1] ?? 8000);
  return (rate * PIECE_MS / 1000) * (name.trim() === "audio/x-mulaw" ? 1 : 2);
}
