// A bot against a scripted gateway on a real socket.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";

import { encode, FRAMES_WITH_HEADER, KEEPALIVE } from "../src/framing.js";
import { Bot, BotKey, CallEnded, FramingError, OfferExpired } from "../src/index.js";
import { bodyOf, json, ScriptedGateway, sse } from "./gateway.js";

const PACKETS = Array.from({ length: 20 }, (_, n) => Buffer.concat([Buffer.from([0x78]), Buffer.alloc(40, n)]));
const OFFER = { call_id: "c1", bot_id: "echo", lease: "lease_1", from: { kind: "phone" }, ticket: "t", codecs: ["audio/opus"], expires_at: 9e9 };
const EVENTS = "GET /v1/bots/self/events";
const AUDIO = "GET /v1/calls/c1/audio";
const UPLOAD = "POST /v1/calls/c1/audio";

let gateway;
let bot;

beforeEach(async () => {
  gateway = await new ScriptedGateway().open();
  gateway.on[EVENTS] = offer;
  gateway.on[UPLOAD] = gateway.takeStream;
  bot = new Bot(gateway.url, "echo", BotKey.generate());
});

afterEach(async () => {
  await bot.close();
  gateway.close();
});

const stream = (response) => response.writeHead(200, { "content-type": "text/event-stream" });
const offer = (_, response) => stream(response).write(`: ping\n\n${sse("call.incoming", OFFER, 1)}`);

const next = async (calls = bot.calls()) => (await calls.next()).value;

async function take() {
  await bot.registerWithDiscovery();
  return await bot.acceptCall(await next());
}

async function until(condition) {
  const ends = Date.now() + 5000;
  while (!condition()) {
    assert.ok(Date.now() < ends, "it never came to be");
    await wait(10);
  }
}

test("it registers and is offered a call", async () => {
  await bot.registerWithDiscovery({ name: "Echo", capabilities: ["echo"], capacity: 3 });
  const { token, body } = gateway.registrations[0];
  assert.deepEqual([body.id, body.capacity, body.delivery, body.ttl, body.instance], ["echo", 3, "sse", 60, bot.instance]);
  assert.match(token, /^Bearer ey/);
  const incoming = await next();
  assert.deepEqual([incoming.callId, incoming.caller.kind, incoming.ticket], ["c1", "phone", "t"]);
});

test("each registration has a token of its own", async () => {
  await bot.registerWithDiscovery();
  await bot.registerWithDiscovery();
  assert.equal(new Set(gateway.registrations.map(({ token }) => token)).size, 2);
  assert.equal(new Set(gateway.registrations.map(({ body }) => body.instance)).size, 1);
});

test("a lost stream of events is resumed from the last one", async () => {
  const seen = [];
  gateway.on[EVENTS] = (request, response) => {
    seen.push(request.headers["last-event-id"]);
    stream(response).write(sse("call.incoming", { ...OFFER, call_id: `c${seen.length}` }, seen.length * 10), () => {
      if (seen.length === 1) response.destroy();
    });
  };
  await bot.registerWithDiscovery();
  const calls = bot.calls();
  assert.deepEqual([(await next(calls)).callId, (await next(calls)).callId], ["c1", "c2"]);
  assert.deepEqual(seen, [undefined, "10"]);
});

test("a silent stream of events gives way to polling", async () => {
  gateway.on[EVENTS] = (request, response) => {
    const after = request.query.get("after");
    if (after === null) return stream(response).flushHeaders();
    if (after === "0") json(response, { events: [{ id: 5, event: "call.incoming", data: OFFER }], next: 5 });
  };
  await bot.close();
  bot = new Bot(gateway.url, "echo", BotKey.generate(), { silentMs: 100 });
  await bot.registerWithDiscovery();
  assert.equal((await next()).callId, "c1");
});

test("a lease that is gone is taken again", async () => {
  gateway.on[EVENTS] = (request, response) => {
    if (gateway.registrations.length === 1) return json(response, { error: { code: "lease_not_found", message: "m" } }, 404);
    return offer(request, response);
  };
  await bot.registerWithDiscovery();
  assert.equal((await next()).callId, "c1");
  assert.equal(gateway.registrations.length, 2);
});

test("an offer that is too late says so", async () => {
  gateway.on["POST /v1/calls/c1/accept"] = (_, response) => json(response, { error: { type: "t", code: "offer_expired", message: "m" } }, 410);
  await assert.rejects(take(), OfferExpired);
});

test("speech goes up as one stream", async () => {
  const call = await take();
  for (const packet of PACKETS) await call.sendAudioOpus(packet);
  await until(() => gateway.heard.size === PACKETS.length);
  PACKETS.forEach((packet, n) => assert.deepEqual(gateway.heard.get(n), packet));
  await wait(700);
  assert.equal(call.uploadMode, "stream");
  assert.equal(gateway.requests.filter((line) => line === UPLOAD).length, 1);
});

test("a stream that a proxy holds back becomes batches, and nothing is lost", async () => {
  gateway.on[UPLOAD] = gateway.holdStreamBackButTakeBatches;
  const call = await take();
  const began = Date.now();
  for (const packet of PACKETS) await call.sendAudioOpus(packet);
  await until(() => gateway.heard.size === PACKETS.length);
  assert.ok(Date.now() - began < 1500);
  PACKETS.forEach((packet, n) => assert.deepEqual(gateway.heard.get(n), packet));
  assert.equal(call.uploadMode, "batch");
});

test("a batch that fails is sent again with the same seq", async () => {
  const tries = [];
  gateway.on[UPLOAD] = async (request, response) => {
    if (!request.headers.seq) return gateway.holdStreamBackButTakeBatches(request, response);
    tries.push(request.headers.seq);
    if (tries.length === 1) return response.destroy();
    await (tries.length < 4 ? bodyOf(request) : undefined);
    if (tries.length === 2) return json(response, { error: {} }, 503);
    if (tries.length === 3) return json(response, { error: {} }, 429, { "retry-after": "0.1" });
    return await gateway.takeBatch(request, response);
  };
  const call = await take();
  await call.sendAudioOpus(PACKETS[0]);
  await until(() => gateway.heard.size);
  assert.deepEqual(new Set(tries), new Set(["0"]));
  assert.deepEqual(gateway.heard, new Map([[0, PACKETS[0]]]));
});

test("a stream that is lost goes on where the gateway is", async () => {
  let isFirst = true;
  gateway.on[UPLOAD] = (request, response) => {
    if (!isFirst) return gateway.takeStream(request, response);
    isFirst = false;
    return request.once("data", () => response.destroy()).on("error", () => undefined);
  };
  const call = await take();
  for (const packet of PACKETS) await call.sendAudioOpus(packet);
  await until(() => gateway.heard.size === PACKETS.length);
});

test("a clear forgets what waits, and the next speech has a later seq", async () => {
  const told = [];
  gateway.on["POST /v1/calls/c1/events"] = async (request, response) => {
    told.push(JSON.parse(await bodyOf(request)));
    json(response, {});
  };
  const call = await take();
  for (const packet of PACKETS.slice(0, 3)) await call.sendAudioOpus(packet);
  await call.clear();
  gateway.heard.clear();
  await call.sendAudioOpus(PACKETS[9]);
  await until(() => gateway.heard.size);
  assert.deepEqual(gateway.heard, new Map([[3, PACKETS[9]]]));
  assert.deepEqual(told, [{ type: "clear", next_seq: 3 }]);
});

test("what the caller says comes packet by packet, and a lost connection is resumed", async () => {
  const seen = [];
  gateway.on[AUDIO] = (request, response) => {
    seen.push(request.query.get("from_seq"));
    const isFirst = seen.length === 1;
    response.writeHead(200, { "content-type": FRAMES_WITH_HEADER, seq: isFirst ? 65_534 : 65_537 });
    const seqs = isFirst ? [65_534, 65_535, 65_536] : [65_537, 65_540];
    const frames = seqs.flatMap((seq, n) => [encode(PACKETS[n], seq, seq * 960), KEEPALIVE]);
    response.write(Buffer.concat(frames), () => (isFirst ? response.destroy() : response.end()));
  };
  const call = await take();
  const packets = [];
  for await (const packet of call.receiveAudioOpus()) packets.push([packet.seq, packet.lost]);
  assert.deepEqual(packets, [[65_534, 0], [65_535, 0], [65_536, 0], [65_537, 0], [65_540, 2]]);
  assert.deepEqual(seen, [null, "65537"]);
  assert.ok(call.ended);
});

test("a silent download is a dead one, and a gap is told", async () => {
  let isFirst = true;
  gateway.on[AUDIO] = (_, response) => {
    const headers = isFirst ? { seq: 0 } : { seq: 400, "gap-ms": 8000 };
    response.writeHead(200, { "content-type": FRAMES_WITH_HEADER, ...headers }).write(encode(PACKETS[0], headers.seq, 0));
    if (!isFirst) response.end();
    isFirst = false;
  };
  await bot.close();
  bot = new Bot(gateway.url, "echo", BotKey.generate(), { silentMs: 200 });
  const call = await take();
  const packets = [];
  for await (const packet of call.receiveAudioOpus()) packets.push([packet.seq, packet.lost]);
  assert.deepEqual(packets, [[0, 0], [400, 400]]);
});

test("raw audio goes both ways, and comes in pieces of 20 ms", async () => {
  gateway.on["POST /v1/calls/c1/accept"] = (_, response) => json(response, { receive: "audio/x-mulaw;rate=8000", send: "audio/x-mulaw;rate=8000" });
  gateway.on[AUDIO] = async (request, response) => {
    assert.equal(request.headers.accept, "audio/x-mulaw;rate=8000");
    response.writeHead(200);
    for (const size of [100, 300, 80]) await new Promise((resolve) => response.write(Buffer.alloc(size, 0xff), resolve));
    response.end();
  };
  let said = 0;
  gateway.on[UPLOAD] = (request) => {
    assert.equal(request.headers["content-type"], "audio/x-mulaw;rate=8000");
    request.on("data", (piece) => { said += piece.length; }).on("error", () => undefined);
  };
  const call = await take();
  await call.sendAudio(Buffer.alloc(500));
  await until(() => said === 500);
  const sizes = [];
  for await (const packet of call.receiveAudio()) sizes.push(packet.payload.length);
  assert.deepEqual(sizes, [160, 160, 160]);
});

test("nothing can be said after the end", async () => {
  const call = await take();
  await call.hangup();
  await call.hangup();
  assert.ok(call.ended);
  await assert.rejects(call.sendAudioOpus(PACKETS[0]), CallEnded);
  await assert.rejects(call.clear(), CallEnded);
  assert.equal(gateway.requests.filter((line) => line === "POST /v1/calls/c1/hangup").length, 1);
});

test("what is no packet is refused at once", async () => {
  const call = await take();
  for (const packet of [Buffer.alloc(0), Buffer.alloc(1276)]) await assert.rejects(call.sendAudioOpus(packet), FramingError);
});

test("an end told by the gateway ends the call, and its events tell it", async () => {
  let tell;
  gateway.on[EVENTS] = (_, response) => {
    tell = (event) => response.write(event);
    stream(response).write(sse("call.incoming", OFFER, 1));
  };
  gateway.on["GET /v1/calls/c1/events"] = (_, response) => stream(response).write(sse("dtmf", { digit: "5" }, 1));
  const call = await take();
  const seen = [];
  for await (const event of call.events()) {
    seen.push(event);
    tell(sse("call.ended", { call_id: "c1", reason: "caller_hung_up" }, 2));
    assert.equal(await call.waitEnded(), "caller_hung_up");
  }
  assert.deepEqual(seen, [{ type: "dtmf", digit: "5" }]);
});
