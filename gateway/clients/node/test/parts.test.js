// Framing, events, tokens and tickets: without a socket.
import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { test } from "node:test";
import { inspect } from "node:util";

import { Verifier } from "../src/attestation.js";
import { Backoff } from "../src/backoff.js";
import { duration, encode, FrameParser, KEEPALIVE, unwrap } from "../src/framing.js";
import { BotKey, FramingError } from "../src/index.js";
import { SseParser } from "../src/sse.js";

const cut = (bytes, size) => Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size));

test("frames come whole out of any pieces", () => {
  const packets = [Buffer.from("a"), Buffer.alloc(300, "b"), Buffer.alloc(1275, "c")];
  const stream = Buffer.concat([...packets.map((p, i) => encode(p, 65_534 + i, 960 * i)), KEEPALIVE]);
  for (const size of [1, 2, 3, 7, 5000]) {
    const parser = new FrameParser(true);
    const frames = cut(stream, size).flatMap((piece) => parser.feed(piece));
    assert.deepEqual(frames.map((f) => f.payload), packets);
    assert.deepEqual(frames.map((f) => [f.seq, f.timestamp]), [[65_534, 0], [65_535, 960], [0, 1920]]);
  }
});

test("a length that cannot be is an error", () => {
  assert.throws(() => new FrameParser(true).feed(Buffer.from("\0\x06abcdef")), FramingError);
  assert.throws(() => new FrameParser(false).feed(Buffer.from([0xff, 0xff])), FramingError);
  for (const packet of [Buffer.alloc(0), Buffer.alloc(1276), undefined]) assert.throws(() => encode(packet), FramingError);
});

test("a seq of 16 bits is told its place", () => {
  assert.equal(unwrap(2, 65_535), 65_538);
  assert.equal(unwrap(65_535, 65_538), 65_535);
  assert.equal(unwrap(65_535, 1_000_000), 983_039);
});

test("a packet says how long it lasts", () => {
  for (const [bytes, ticks] of [[[0x78], 960], [[0x08], 960], [[0x7b, 3], 2880], [[0x80], 120], [[], 0], [[0xff], 0]]) {
    assert.equal(duration(Buffer.from(bytes)), ticks);
  }
});

test("events come whole out of any pieces", () => {
  const text = '\ufeffretry: 1000\r\n: ping\r\n\r\nid: 7\r\nevent: call.incoming\r\ndata: {"a":\r\ndata: "ß"}\r\n\r\ndata: x\r\r';
  for (const size of [1, 2, 5, 500]) {
    const parser = new SseParser();
    const events = cut(Buffer.from(text), size).flatMap((piece) => parser.feed(piece));
    assert.deepEqual(events, [{ name: "call.incoming", data: '{"a":\n"ß"}', id: "7" }, { name: "message", data: "x", id: "7" }]);
    assert.deepEqual([parser.retryMs, parser.lastId], [1000, "7"]);
  }
  assert.throws(() => new SseParser().feed(Buffer.alloc(300_000, "x")), RangeError);
});

test("a token says who to whom and for how long", () => {
  const key = BotKey.generate();
  const [head, claims, signature] = key.token("echo", "https://gw.example", 1000).split(".");
  const parse = (part) => JSON.parse(Buffer.from(part, "base64url"));
  assert.deepEqual(parse(head), { alg: "EdDSA", kid: key.thumbprint, typ: "bot+jwt" });
  const { jti, ...told } = parse(claims);
  assert.ok(jti.length >= 16);
  assert.deepEqual(told, { iss: "bot:echo", sub: "bot:echo", aud: "https://gw.example", iat: 1000, exp: 1240 });
  const publicKey = createPublicKey({ key: key.jwk, format: "jwk" });
  assert.ok(verify(null, Buffer.from(`${head}.${claims}`), publicKey, Buffer.from(signature, "base64url")));
});

test("a key is read from PEM and from JWK and never shown", () => {
  // RFC 8037 appendix A.
  const key = BotKey.load('{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
  assert.equal(key.thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
  assert.equal(BotKey.load(key.pem()).thumbprint, key.thumbprint);
  assert.ok(!(inspect(key) + JSON.stringify(key)).includes("nWGx"));
});

test("a pause grows, has chance in it, and an end", () => {
  const backoff = new Backoff();
  for (let failure = 0; failure < 40; failure += 1) {
    const whole = Math.min(15_000, 250 * 2 ** failure);
    const pause = backoff.nextMs();
    assert.ok(whole / 2 <= pause && pause <= whole);
  }
});

class Issuer {
  gateway = BotKey.generate();
  nowS = 1_000_000;
  fetched = 0;
  verifier = new Verifier("https://gw.example", "echo", async () => {
    this.fetched += 1;
    return { keys: [{ ...this.gateway.jwk, kid: this.gateway.thumbprint }] };
  }, () => this.nowS);

  ticket({ jti = "c1", level = "account", methods = [], key = this.gateway, typ = "call-ticket+jwt", ...other } = {}) {
    const head = { typ, alg: "EdDSA", kid: this.gateway.thumbprint };
    const claims = { iss: "https://gw.example", aud: "bot:echo", jti, iat: 1_000_000, exp: 1_000_060, sub: "p",
      call: { id: jti, transport: "twilio" }, human: { level, methods }, ...other };
    const signed = [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${signed}.${sign(null, Buffer.from(signed), createPrivateKey(key.pem())).toString("base64url")}`;
  }

  async refuses(reason, ticket, level = "none", callId = "c1") {
    await assert.rejects(this.verifier.verify(ticket, level, callId), { name: "TicketError", reason });
  }
}

test("a good ticket is believed once, and the keys are kept", async () => {
  const issuer = new Issuer();
  const ticket = issuer.ticket();
  const { callId, level, transport } = await issuer.verifier.verify(ticket, "challenge", "c1");
  assert.deepEqual({ callId, level, transport }, { callId: "c1", level: "account", transport: "twilio" });
  await issuer.refuses("replayed", ticket);
  await issuer.verifier.verify(issuer.ticket({ jti: "c2" }), "challenge", "c2");
  assert.equal(issuer.fetched, 1);
});

test("each fault of a ticket has its name", async () => {
  const issuer = new Issuer();
  await issuer.refuses("malformed", "nonsense");
  await issuer.refuses("malformed", "a.b.c");
  await issuer.refuses("type", issuer.ticket({ typ: "bot+jwt" }));
  await issuer.refuses("signature", issuer.ticket({ key: BotKey.generate() }));
  await issuer.refuses("issuer", issuer.ticket({ iss: "https://other.example" }));
  await issuer.refuses("audience", issuer.ticket({ aud: "bot:other" }));
  await issuer.refuses("expired", issuer.ticket({ exp: 1_000_061 }));
  await issuer.refuses("expired", issuer.ticket({ iat: 1_000_010 }));
  await issuer.refuses("call", issuer.ticket(), "none", "c9");
  await issuer.refuses("call", issuer.ticket({ call: { id: "c9" } }));
  await issuer.refuses("level", issuer.ticket(), "verified");
  issuer.nowS += 66;
  await issuer.refuses("expired", issuer.ticket());
});

test("a phone is a challenge only if the network attests it in full", async () => {
  const issuer = new Issuer();
  await issuer.refuses("level", issuer.ticket({ level: "phone", methods: [{ m: "phone", attest: "B" }] }), "challenge");
  await issuer.refuses("level", issuer.ticket(), "phone");
  await issuer.verifier.verify(issuer.ticket({ level: "phone", methods: [{ m: "phone", attest: "A" }] }), "challenge", "c1");
});

test("an unknown key is looked for again, but not at once", async () => {
  const issuer = new Issuer();
  await issuer.verifier.verify(issuer.ticket(), "none", "c1");
  issuer.gateway = BotKey.generate();
  await issuer.refuses("signature", issuer.ticket({ jti: "c2" }), "none", "c2");
  issuer.nowS += 11;
  await issuer.verifier.verify(issuer.ticket({ jti: "c2" }), "none", "c2");
  assert.equal(issuer.fetched, 2);
});
