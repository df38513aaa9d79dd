// An app as its author writes it with OpenAI's SDK; only the URL is another one.
import OpenAI from "openai";
import { OpenAIRealtimeWebRTC as PlainWebRTC } from "openai/realtime/webrtc";
import { OpenAIRealtimeWebRTC, OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

window.seen = [];
window.faults = [];
window.answeredBytes = 0;

window.talk = async (base, apiKey, how) => {
  if (how === "openai") return plain(base, apiKey);
  const agent = new RealtimeAgent({ name: "Assistant", instructions: "Be helpful." });
  const began = performance.now();
  const url = new URL(how === "webrtc" ? "/v1/realtime/calls" : "/v1/realtime?model=gpt-realtime-2.1", base);
  if (how === "websocket") url.protocol = "ws:";
  const transport = how === "webrtc" ? "webrtc" : new OpenAIRealtimeWebSocket({ url: url.href });
  const session = new RealtimeSession(agent, { transport });
  window.session = session;
  session.transport.on("*", (event) => window.seen.push(event.type));
  session.on("error", (error) => window.faults.push(String(error?.error?.message ?? JSON.stringify(error))));
  session.on("audio", ({ data }) => (window.answeredBytes += data.byteLength));
  await session.connect({ apiKey, url: url.href });
  const connectedMs = Math.round(performance.now() - began);
  if (how === "websocket") await speak(session);
  return connectedMs;
};
void OpenAIRealtimeWebRTC;

/** By WebSocket an app brings its own microphone: 24 kHz PCM16. */
async function speak(session) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: 24_000 });
  const tap = context.createScriptProcessor(1024, 1, 1);
  tap.onaudioprocess = ({ inputBuffer }) => {
    const samples = Int16Array.from(inputBuffer.getChannelData(0), (x) => Math.max(-1, Math.min(1, x)) * 32_767);
    session.sendAudio(samples.buffer);
  };
  context.createMediaStreamSource(stream).connect(tap);
  tap.connect(context.destination);
}

/** With the `openai` package: its client posts the offer and the settings as one form, its class has the rest. */
async function plain(base, apiKey) {
  const client = new OpenAI({ apiKey, baseURL: new URL("/v1", base).href, dangerouslyAllowBrowser: true, maxRetries: 0 });
  const connection = new PlainWebRTC();
  const began = performance.now();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  stream.getAudioTracks().forEach((track) => connection.peerConnection.addTrack(track, stream));
  connection.peerConnection.addEventListener("track", ({ streams }) => {
    const element = document.createElement("audio");
    element.autoplay = true;
    element.srcObject = streams[0];
  });
  connection.onEvent((event) => window.seen.push(event.type));
  connection.on("session.created", ({ session }) => (window.voice = session.audio?.output?.voice));
  connection.on("error", ({ error }) => window.faults.push(error.message));
  connection.onConnectionEvent((event) => event.type === "error" && window.faults.push(String(event.error)));
  const session = { type: "realtime", audio: { output: { voice: "marin" } } };
  const exchangeSdp = async (sdp, { signal }) => (await client.realtime.calls.create({ sdp, session }, { signal })).text();
  await connection.connect({ exchangeSdp });
  return Math.round(performance.now() - began);
}
