import assert from "node:assert/strict";
import { test } from "node:test";
import { endOfSentences } from "../src/sentence.ts";
import { Words } from "../src/words.ts";

const told = (words: Words) => words.all.map(({ who, words: text }) => `${who}: ${text}`);

test("a person's words stand before the answer, even if they are transcribed after it", () => {
  const words = new Words();
  words.take({ type: "input_audio_buffer.speech_started", item_id: "u1", audio_start_ms: 100 });
  words.take({ type: "input_audio_buffer.speech_stopped", item_id: "u1", audio_end_ms: 1_300 });
  words.take({ type: "response.output_audio_transcript.delta", item_id: "a1", delta: "Good " });
  words.take({ type: "response.output_audio_transcript.delta", item_id: "a1", delta: "morning." });
  words.take({ type: "conversation.item.input_audio_transcription.completed", item_id: "u1", transcript: "Hello.\n" });
  assert.deepEqual(told(words), ["you: Hello.", "them: Good morning."]);
  assert.equal(words.all[0]?.lengthMs, 1_200);
});

test("what was cut is marked at a word, and late words of it are not shown", () => {
  const words = new Words();
  words.take({ type: "response.output_audio_transcript.delta", item_id: "a1", delta: "One two three four five" });
  words.cut("a1", 500, 1_000);
  words.take({ type: "response.output_audio_transcript.delta", item_id: "a1", delta: " six seven" });
  words.take({ type: "response.output_audio_transcript.done", item_id: "a1", transcript: "One two three four five six seven" });
  const [spoken] = words.all;
  assert.equal(spoken?.words, "One two three four five");
  assert.equal(spoken?.words.slice(0, spoken.cutAt), "One two");
});

test("the first report of a cut counts: it is the exact one", () => {
  const words = new Words();
  words.take({ type: "response.output_audio_transcript.delta", item_id: "a1", delta: "One two three four five" });
  words.take({ type: "conversation.item.truncated", item_id: "a1", audio_end_ms: 400 });
  const at = words.all[0]?.cutAt;
  assert.equal(words.cut("a1", 9_000), undefined);
  assert.equal(words.all[0]?.cutAt, at);
});

test("what is written appears at once, and once", () => {
  const words = new Words();
  const item = { id: "item_1", type: "message", role: "user", content: [{ type: "input_text", text: "Hi there" }] };
  words.take({ type: "conversation.item.create", item });
  words.take({ type: "conversation.item.added", item });
  words.take({ type: "conversation.item.done", item });
  assert.deepEqual(told(words), ["you: Hi there"]);
  assert.equal(words.all[0]?.isWritten, true);
});

test("instructions and calls of functions are not part of the conversation", () => {
  const words = new Words();
  words.take({ type: "conversation.item.added", item: { id: "s", type: "message", role: "system", content: [] } });
  words.take({ type: "conversation.item.added", item: { id: "f", type: "function_call", name: "x" } });
  assert.deepEqual(told(words), []);
});

test("a sentence is whole behind its mark and a space", () => {
  const ends = ["", "Half a", "Whole. ", "Whole. Half", "It costs 3.50 now", "Really?! Yes", "「はい。」いいえ", 'He said "no." Then'];
  assert.deepEqual(ends.map(endOfSentences), [0, 0, 7, 7, 0, 9, 5, 14]);
});
