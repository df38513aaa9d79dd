import assert from "node:assert/strict";
import { test } from "node:test";
import { Fault, faultOf, faultOfClose, faultOfResponse } from "../src/fault.ts";
import { Floor, INTERRUPTED_MS } from "../src/floor.ts";
import { Latency } from "../src/latency.ts";
import { PlayLedger } from "../src/player.ts";
import { onlyCandidates } from "../src/sdp.ts";
import { parse, withoutAudio } from "../src/wire.ts";

function openFloor(): Floor {
  const floor = new Floor();
  floor.connection = "open";
  return floor;
}

test("a turn runs through its states in order", () => {
  const floor = openFloor();
  const seen = [floor.state(0)];
  floor.take({ type: "input_audio_buffer.speech_started" }, 1);
  seen.push(floor.state(1));
  floor.take({ type: "input_audio_buffer.speech_stopped" }, 2);
  seen.push(floor.state(2));
  floor.take({ type: "response.created" }, 3);
  seen.push(floor.state(3));
  floor.plays(true);
  seen.push(floor.state(4));
  floor.take({ type: "response.done" }, 5);
  seen.push(floor.state(5));
  floor.plays(false);
  seen.push(floor.state(6));
  assert.deepEqual(seen, ["listening", "hearing", "thinking", "thinking", "speaking", "speaking", "listening"]);
});

test("an interruption is shown for 200 ms and no longer", () => {
  const floor = openFloor();
  floor.plays(true);
  floor.cut(1_000);
  assert.equal(floor.state(1_000), "interrupted");
  assert.equal(floor.state(1_000 + INTERRUPTED_MS), "listening");
});

test("cutting silence is no interruption", () => {
  const floor = openFloor();
  floor.cut(1_000);
  assert.equal(floor.state(1_000), "listening");
});

test("a muted microphone shows while nothing else is to be shown", () => {
  const floor = openFloor();
  floor.isMuted = true;
  assert.equal(floor.state(0), "muted");
  floor.plays(true);
  assert.equal(floor.state(0), "speaking");
});

test("an answer that never comes is not waited for without end", () => {
  const floor = openFloor();
  floor.take({ type: "input_audio_buffer.speech_stopped" }, 0);
  assert.equal(floor.state(14_000), "thinking");
  assert.equal(floor.state(16_000), "listening");
});

test("what was heard is of the item that played, rounded towards less", () => {
  const ledger = new PlayLedger();
  ledger.received("a", 0, 24_000);
  ledger.received("b", 0, 12_000);
  ledger.received("b", 0, 12_000);
  assert.deepEqual(ledger.cut(24_000 + 2_423), { itemId: "b", contentIndex: 0, heardMs: 100, receivedMs: 1_000 });
});

test("never more is heard than was received, nor less than nothing", () => {
  for (let played = -500; played < 60_000; played += 37) {
    const ledger = new PlayLedger();
    ledger.received("a", 0, 20_000);
    ledger.received("b", 1, 20_000);
    const heard = ledger.cut(played);
    if (played >= 40_000) assert.equal(heard, undefined, "everything was heard: there is nothing to truncate");
    else assert.ok(heard && heard.heardMs >= 0 && heard.heardMs <= heard.receivedMs, String(played));
  }
});

test("items that lie behind are forgotten, and the count stays right", () => {
  const ledger = new PlayLedger();
  for (let n = 0; n < 50; n++) {
    ledger.received(`item ${n}`, 0, 2_400);
    ledger.passed(n * 2_400);
  }
  assert.equal(ledger.cut(49 * 2_400 + 1_200)?.heardMs, 50);
});

test("latency runs from the end of speech at the microphone to the first sound", () => {
  const latency = new Latency();
  latency.levels(1_000, 0.2, 0);
  latency.levels(1_100, 0.001, 0);
  latency.stopped(1_600);
  assert.equal(latency.levels(1_700, 0, 0.001), undefined);
  assert.equal(latency.levels(1_800, 0, 0.1), 800);
  assert.equal(latency.levels(1_900, 0, 0.1), undefined, "only the first sound counts");
  assert.equal(latency.median, 800);
});

test("an answer that was spoken over has no latency", () => {
  const latency = new Latency();
  latency.stopped(1_000);
  latency.drop();
  assert.equal(latency.levels(2_000, 0, 0.5), undefined);
});

test("every failure is a sentence for a person", async () => {
  const named = (name: string) => Object.assign(new Error("x"), { name });
  const faults = [
    faultOf(named("NotAllowedError")),
    faultOf(named("NotFoundError")),
    faultOf(named("NotReadableError")),
    faultOf(new TypeError("Failed to fetch")),
    faultOfClose(1006, ""),
    faultOfClose(1001, ""),
    faultOfClose(1008, "wrong token"),
    await faultOfResponse(new Response('{"error":{"message":"No such route."}}', { status: 404 })),
    await faultOfResponse(new Response("<html>", { status: 502 })),
    await faultOfResponse(new Response("", { status: 429, headers: { "retry-after": "7" } })),
  ];
  for (const { message } of faults) assert.match(message, /^[A-Z].*[.)]$/);
  const codes = ["microphone_blocked", "microphone_missing", "microphone_busy", "unreachable", "lost", "closing", "forbidden", "not_found", "unavailable", "busy"];
  assert.deepEqual(faults.map((fault) => fault.code), codes);
  assert.match(faults[9]?.message ?? "", /7 s/);
});

test("a wrong token is not tried on another path, a blocked network is", () => {
  assert.equal(new Fault("unauthorized").isOfPath, false);
  assert.equal(new Fault("busy").isOfPath, false);
  assert.equal(new Fault("no_path").isOfPath, true);
  assert.equal(new Fault("not_found").isOfPath, true);
});

test("a path is chosen by leaving out the candidates of the others", () => {
  const udp = "a=candidate:1 1 udp 2130706431 127.0.0.1 3478 typ host\r\n";
  const tcp = "a=candidate:2 1 TCP 1015021823 127.0.0.1 3478 typ host tcptype passive\r\n";
  const sdp = `v=0\r\n${udp}${tcp}a=end-of-candidates\r\n`;
  assert.equal(onlyCandidates(sdp, ["udp", "tcp"]), sdp);
  assert.equal(onlyCandidates(sdp, ["tcp"]), sdp.replace(udp, ""));
  assert.equal(onlyCandidates(sdp, ["udp"]), sdp.replace(tcp, ""));
});

test("what is no event is left out", () => {
  for (const text of ["", "{", "null", "[]", '"x"', '{"type":1}', new ArrayBuffer(2)]) assert.equal(parse(text), undefined);
  assert.deepEqual(parse('{"type":"a","x":1}'), { type: "a", x: 1 });
});

test("a log holds words and no audio", () => {
  const audio = withoutAudio({ type: "response.output_audio.delta", delta: "AAAA" });
  assert.equal(audio["delta"], "(4 characters of audio)");
  const words = withoutAudio({ type: "response.output_audio_transcript.delta", delta: "Hello" });
  assert.equal(words["delta"], "Hello");
});
