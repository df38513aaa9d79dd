// A scripted gateway on a real socket: it does what a test says, and keeps what it was sent.
import http from "node:http";

import { FrameParser } from "../src/framing.js";

export const sse = (name, told, id) => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(told)}\n\n`;

export async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

export function json(response, told, status = 200, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(told));
}

/** Answers registration by itself, everything else as `on["METHOD /path"]` says. `heard` has the packets by seq. */
export class ScriptedGateway {
  requests = [];
  registrations = [];
  heard = new Map();
  on = {
    "POST /v1/register": async (request, response) => {
      this.registrations.push({ token: request.headers.authorization, body: JSON.parse(await bodyOf(request)) });
      json(response, { lease: "lease_1", instance: "i", expires_at: 0, refresh_after: 20 });
    },
    "DELETE /v1/register/echo": (_, response) => json(response, {}),
    "GET /v1/calls/c1/audio/ack": (_, response) => json(response, { next_seq: this.nextSeq, buffered_ms: 0 }),
    "POST /v1/calls/c1/accept": (_, response) =>
      json(response, { call_id: "c1", audio_url: "http://elsewhere.example/v1/calls/c1/audio", receive: "audio/opus", send: "audio/opus" }),
    "POST /v1/calls/c1/hangup": (_, response) => json(response, {}),
  };
  #server = http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://gateway");
    request.query = url.searchParams;
    const line = `${request.method} ${url.pathname}`;
    this.requests.push(line);
    try {
      await this.on[line](request, response);
    } catch (error) {
      if (!response.destroyed) throw error;
    }
  });

  async open() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** The lowest seq that has not come. */
  get nextSeq() {
    let seq = 0;
    while (this.heard.has(seq)) seq += 1;
    return seq;
  }

  /** Reads a long upload for ever. */
  takeStream = async (request, response) => {
    const parser = new FrameParser(true);
    try {
      for await (const piece of request) for (const { seq, payload } of parser.feed(piece)) this.heard.set(seq, payload);
    } catch {
      return;
    }
    json(response, { next_seq: this.nextSeq, buffered_ms: 0 });
  };

  takeBatch = async (request, response) => {
    const first = Number(request.headers.seq);
    const frames = new FrameParser(false).feed(await bodyOf(request));
    frames.forEach(({ payload }, index) => this.heard.set(first + index, payload));
    json(response, { next_seq: this.nextSeq, buffered_ms: 0 });
  };

  /** As a proxy that buffers does. */
  holdStreamBackButTakeBatches = async (request, response) => {
    if (request.headers.seq) return await this.takeBatch(request, response);
    return request.on("error", () => undefined).resume();
  };
}
