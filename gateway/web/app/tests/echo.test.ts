import assert from "node:assert/strict";
import { test } from "node:test";
import { EchoDetector } from "../src/echo.ts";

/** A level that goes up and down as speech does: the same each time. */
const speech = (n: number) => 0.5 + 0.4 * Math.sin(n / 3.1) * Math.sin(n / 7.7);

test("a microphone that hears the loudspeaker is found", () => {
  const echo = new EchoDetector();
  const found = Array.from({ length: 400 }, (_, n) => echo.take(0.8 * speech(n - 5), speech(n)));
  assert.equal(found.filter(Boolean).length, 1, "it is said once");
});

test("a person who speaks over the answer is no echo", () => {
  const echo = new EchoDetector();
  const other = (n: number) => 0.5 + 0.4 * Math.sin(n / 1.3) * Math.cos(n / 11.2);
  assert.ok(!Array.from({ length: 800 }, (_, n) => echo.take(other(n), speech(n))).some(Boolean));
});

test("a quiet microphone is no echo", () => {
  const echo = new EchoDetector();
  assert.ok(!Array.from({ length: 800 }, (_, n) => echo.take(0.1 * speech(n), speech(n))).some(Boolean));
});
