// Server-sent events, as the HTML standard parses them (§9.2.6).

const EVENT_CHARS_MAX = 256 * 1024;

/** Takes bytes as they come, in any pieces; answers whole events. Comments are swallowed. */
export class SseParser {
  /** The last id that the stream told, to resume from. */
  lastId;
  /** How long to wait before connecting again, if the stream said so. */
  retryMs;
  #text = new TextDecoder();
  #line = "";
  #afterCr = false;
  #name = "";
  #lines = [];
  #held = 0;

  constructor(lastId = "") {
    this.lastId = lastId;
  }

  /** The events that are whole with this piece. Throws RangeError if one grows past 256 KiB. */
  feed(piece) {
    let text = this.#text.decode(piece, { stream: true });
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#afterCr = text.endsWith("\r");
    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = lines.pop();
    const events = lines.map((line) => this.#take(line)).filter(Boolean);
    if (this.#line.length + this.#held > EVENT_CHARS_MAX) throw new RangeError("an event without an end");
    return events;
  }

  #take(line) {
    if (!line) return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      this.#lines.push(value);
      this.#held += value.length;
    } else if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
    return undefined;
  }

  #dispatch() {
    const event = { name: this.#name || "message", data: this.#lines.join("\n"), id: this.lastId };
    const isWhole = this.#lines.length > 0;
    this.#name = "";
    this.#lines = [];
    this.#held = 0;
    return isWhole ? event : undefined;
  }
}
