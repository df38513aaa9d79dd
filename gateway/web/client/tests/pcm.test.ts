import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBase64, Resampler, Ring, toBase64, toInt16 } from "../src/pcm.ts";

const sine = (hz: number, rate: number, count: number) =>
  Float32Array.from({ length: count }, (_, n) => Math.sin((2 * Math.PI * hz * n) / rate));
const rms = (samples: ArrayLike<number>, from: number) => {
  let sum = 0;
  for (let n = from; n < samples.length; n++) sum += (samples[n] ?? 0) ** 2;
  return Math.sqrt(sum / (samples.length - from));
};
/** In blocks of 128, as the audio thread has it. */
function resampled(input: Float32Array, from: number, to: number): number[] {
  const resampler = new Resampler(from, to);
  const output: number[] = [];
  for (let at = 0; at < input.length; at += 128) output.push(...resampler.push(input.slice(at, at + 128)));
  return output;
}

test("samples come back from base64 as they went in, however many", () => {
  for (const count of [0, 1, 479, 480, 50_000]) {
    const samples = Int16Array.from({ length: count }, (_, n) => ((n * 7919) % 65_536) - 32_768);
    assert.deepEqual(fromBase64(toBase64(samples)), samples);
  }
  assert.equal(fromBase64(btoa("abc")).length, 1, "a last odd byte is dropped");
});

test("what is too loud is clipped and does not wrap", () => {
  assert.deepEqual([2, 1, 0, -1, -2].map(toInt16), [32767, 32767, 0, -32767, -32767]);
});

test("a ring keeps the order through growth and around its end", () => {
  const ring = new Ring(100_000);
  let [pushed, shifted] = [0, 0];
  for (let round = 0; round < 60; round++) {
    const chunk = Int16Array.from({ length: 1_500 }, () => pushed++ % 30_000);
    assert.equal(ring.push(chunk), 1_500);
    for (let n = 0; n < 1_000; n++) assert.equal(Math.round(ring.shift() * 32_768), shifted++ % 30_000);
  }
  assert.equal(ring.length, 60 * 500);
});

test("a ring refuses what does not fit, and is empty after a clear", () => {
  const ring = new Ring(1_000);
  assert.equal(ring.push(new Int16Array(900)), 900);
  assert.equal(ring.push(new Int16Array(900)), 100);
  assert.equal(ring.clear(), 1_000);
  assert.equal(ring.length, 0);
});

for (const [from, to] of [[48_000, 24_000], [44_100, 24_000], [16_000, 24_000], [24_000, 48_000], [24_000, 44_100]] as const) {
  test(`from ${from} to ${to} Hz a voice keeps its level and its length`, () => {
    const output = resampled(sine(1_000, from, from * 2), from, to);
    assert.ok(Math.abs(output.length - to * 2) <= 30 * Math.max(1, to / from), `${output.length} samples`);
    const level = 20 * Math.log10(rms(output, 1_000) / Math.SQRT1_2);
    assert.ok(Math.abs(level) < 0.2, `${level} dB`);
  });
}

test("what the slower rate cannot carry is gone, not folded back", () => {
  const level = 20 * Math.log10(rms(resampled(sine(18_000, 48_000, 48_000), 48_000, 24_000), 1_000) / Math.SQRT1_2);
  assert.ok(level < -50, `${level} dB`);
});

test("blocks leave no seams", () => {
  const whole = [...new Resampler(44_100, 24_000).push(sine(440, 44_100, 44_032))];
  const blocks = resampled(sine(440, 44_100, 44_032), 44_100, 24_000);
  assert.ok(Math.abs(whole.length - blocks.length) <= 1);
  blocks.forEach((sample, n) => assert.ok(Math.abs(sample - (whole[n] ?? sample)) < 1e-4, `sample ${n}`));
});
