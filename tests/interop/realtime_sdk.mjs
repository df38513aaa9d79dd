// The unmodified SDKs of OpenAI for Node talk to a gateway, whose address is all that they are told of us. Each takes a client
// secret from it, says a fixture, and tells what it heard.
//   node realtime_sdk.mjs HOW ADDRESS KEY WAV
// HOW: openai-websocket and openai-ws (the `openai` package, on the platform's WebSocket and on `ws`; both insist on TLS, so
// that ADDRESS is https://… and NODE_EXTRA_CA_CERTS names its authority), or agents (`@openai/agents-realtime`, on ws://…).
// The last line is JSON: what was heard, as base64 of 24 kHz PCM, the types of events, and errors.
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket as AgentsWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

const [how, address, key, wav] = process.argv.slice(2);
const pcm = readFileSync(wav).subarray(44);
const chunkBytes = 4_800; // 100 ms
const silence = Buffer.alloc(chunkBytes);

const seen = [];
const errors = [];
const heard = [];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when `done` says so, or fails. */
async function until(what, done, withinMs = 30_000) {
  const end = Date.now() + withinMs;
  while (!done()) {
    if (Date.now() > end) throw new Error(`never: ${what}; seen: ${seen.join(" ")}; errors: ${JSON.stringify(errors)}`);
    await pause(20);
  }
}

/** Says the fixture in real time, then keeps quiet, as a microphone does, until the answer is there. */
async function talk(append) {
  const answered = () => seen.includes("response.done");
  for (let at = 0; at < pcm.length || !answered(); at += chunkBytes) {
    if (at > pcm.length + 30_000 * 48) throw new Error(`no answer; seen: ${seen.join(" ")}`);
    append(at < pcm.length ? pcm.subarray(at, at + chunkBytes) : silence);
    await pause(95);
  }
}

/** The settings that an app usually sends; a model that the gateway does not have is a hint. */
const settings = {
  type: "realtime",
  instructions: "Speak like a pirate.",
  audio: { input: { turn_detection: { type: "server_vad" } }, output: { voice: "cedar" } },
};

async function secretFrom(client) {
  const secret = await client.realtime.clientSecrets.create({
    expires_after: { anchor: "created_at", seconds: 120 },
    session: { type: "realtime", instructions: "Be brief.", audio: { output: { voice: "cedar" } } },
  });
  if (!secret.value.startsWith("ek_")) throw new Error("no client secret");
  if (secret.session.object !== "realtime.session" || typeof secret.expires_at !== "number") throw new Error("odd secret");
  return secret.value;
}

async function openai(Class) {
  const secret = await secretFrom(new OpenAI({ apiKey: key, baseURL: `${address}/v1` }));
  const client = new OpenAI({ apiKey: secret, baseURL: `${address}/v1` });
  const socket = new Class({ model: "gpt-realtime" }, client);
  socket.on("error", (error) => errors.push(String(error.message ?? error)));
  socket.on("event", (event) => {
    seen.push(event.type);
    if (event.type === "response.output_audio.delta") heard.push(Buffer.from(event.delta, "base64"));
  });
  await until("session.created", () => seen.includes("session.created"));
  socket.send({ type: "session.update", session: settings });
  await until("session.updated", () => seen.includes("session.updated"));
  await talk((audio) => socket.send({ type: "input_audio_buffer.append", audio: audio.toString("base64") }));
  socket.close();
}

async function agents() {
  const url = `${address.replace("http", "ws")}/v1/realtime?model=gpt-realtime-2.1`;
  const transport = new AgentsWebSocket({ url });
  const session = new RealtimeSession(new RealtimeAgent({ name: "Test", instructions: "Speak like a pirate." }), { transport });
  session.on("error", (error) => errors.push(JSON.stringify(error)));
  session.on("audio", ({ data }) => heard.push(Buffer.from(data)));
  session.on("transport_event", (event) => seen.push(event.type));
  const history = [];
  session.on("history_updated", (items) => history.splice(0, Infinity, ...items.map((item) => item.role)));
  await session.connect({ apiKey: key, url });
  await talk((audio) => session.sendAudio(audio.buffer.slice(audio.byteOffset, audio.byteOffset + audio.length)));
  await pause(200);
  if (!history.includes("assistant")) throw new Error(`the SDK knows of no answer: ${JSON.stringify(history)}`);
  session.close();
}

const ways = {
  "openai-websocket": () => openai(OpenAIRealtimeWebSocket),
  "openai-ws": () => openai(OpenAIRealtimeWS),
  agents,
};
try {
  await ways[how]();
  const told = JSON.stringify({ heard: Buffer.concat(heard).toString("base64"), seen: [...new Set(seen)], errors });
  // A pipe takes 64 KiB at once: it ends when all of it is written.
  process.stdout.write(`${told}\n`, () => process.exit(0));
} catch (error) {
  console.error(error);
  process.exit(1);
}
