// Opus packets in a byte stream: `application/vnd.patchbay.opus-frames`, and how long a packet lasts.
import { FramingError } from "./errors.js";

export const FRAMES = "application/vnd.patchbay.opus-frames";
export const FRAMES_WITH_HEADER = `${FRAMES};hdr=1`;
/** Longest Opus packet of one frame, in bytes (RFC 6716 §3.4). */
export const PACKET_BYTES_MAX = 1275;
export const KEEPALIVE = Buffer.alloc(2);
const HEADER_BYTES = 6;

/** A packet as it goes into the stream; with a header if it has a `seq`. Throws FramingError if it is empty or too long. */
export function encode(packet, seq, timestamp = 0) {
  if (!(packet?.length > 0 && packet.length <= PACKET_BYTES_MAX)) {
    throw new FramingError(`an Opus packet has 1 to ${PACKET_BYTES_MAX} bytes, not ${packet?.length}`);
  }
  const header = seq === undefined ? 0 : HEADER_BYTES;
  const frame = Buffer.allocUnsafe(2 + header + packet.length);
  frame.writeUInt16BE(header + packet.length);
  if (header) {
    frame.writeUInt16BE(seq & 0xffff, 2);
    frame.writeUInt32BE(timestamp >>> 0, 4);
  }
  frame.set(packet, 2 + header);
  return frame;
}

/** Takes bytes as they come, in any pieces; answers whole frames. Keepalives are swallowed. */
export class FrameParser {
  #header;
  #rest = Buffer.alloc(0);

  constructor(withHeader) {
    this.#header = withHeader ? HEADER_BYTES : 0;
  }

  /** The frames that are whole with this piece. Throws FramingError on a length that cannot be. */
  feed(piece) {
    const all = this.#rest.length ? Buffer.concat([this.#rest, piece]) : piece;
    const frames = [];
    let at = 0;
    while (all.length - at >= 2) {
      const length = all.readUInt16BE(at);
      if (length && (length <= this.#header || length > this.#header + PACKET_BYTES_MAX)) {
        throw new FramingError(`a frame of ${length} bytes`);
      }
      if (all.length - at - 2 < length) break;
      if (length) frames.push(this.#frame(all.subarray(at + 2, at + 2 + length)));
      at += 2 + length;
    }
    this.#rest = Buffer.from(all.subarray(at));
    return frames;
  }

  #frame(body) {
    if (!this.#header) return { payload: body };
    return { payload: body.subarray(HEADER_BYTES), seq: body.readUInt16BE(0), timestamp: body.readUInt32BE(2) };
  }
}

/** The whole number whose low 16 bits are `seq` and which is nearest to `near`. */
export function unwrap(seq, near) {
  return near + (((seq - near) % 0x10000 + 0x18000) % 0x10000) - 0x8000;
}

/** How long an Opus packet lasts, in ticks of 1/48 000 s (RFC 6716 §3.1). 0 if it says nonsense. */
export function duration(packet) {
  if (!packet.length) return 0;
  const config = packet[0] >> 3;
  const frame = config < 12 ? [480, 960, 1920, 2880][config & 3] : config < 16 ? [480, 960][config & 1] : [120, 240, 480, 960][config & 3];
  const ticks = frame * [1, 2, 2, (packet[1] ?? 0) & 0x3f][packet[0] & 3];
  return ticks <= 5760 ? ticks : 0;
}
