// A scripted gateway for working on the page: it serves dist/ and answers the WebSocket with a tone and a few words. No test that
// counts runs against it. `npm run build && npm run dev`, then http://127.0.0.1:8090/
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".webmanifest": "application/manifest+json" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const isOpen = process.env.PEER_CLOSED === undefined;

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const json = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (pathname === "/v1/page/token") {
    if (!isOpen) return json(403, { error: { message: "The page is not open." } });
    return json(200, { value: "ek_of_the_peer", expires_at: Math.floor(Date.now() / 1000) + 600 });
  }
  if (pathname === "/livez") return json(200, {});
  if (pathname.startsWith("/v1/")) return json(404, { error: { message: "The peer has no such route." } });
  const file = join(dist, normalize(pathname === "/" ? "index.html" : pathname === "/console" ? "console.html" : pathname));
  try {
    const body = readFileSync(file);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": POLICY, "access-control-allow-origin": "*" }).end(body);
  } catch {
    json(404, { error: { message: "No such file." } });
  }
});

const sockets = new WebSocketServer({ server, path: "/v1/realtime", handleProtocols: (offered) => offered.has("realtime") && "realtime" });
sockets.on("connection", (socket) => {
  const send = (type, fields = {}) => socket.send(JSON.stringify({ type, event_id: `event_${Math.random()}`, ...fields }));
  send("session.created", { session: { id: "sess_peer", object: "realtime.session", type: "realtime" } });
  const talk = conversation(send);
  socket.on("message", (text) => talk(JSON.parse(text)));
});

/** Hears loud chunks as speech, and answers each time they stop. */
function conversation(send) {
  let [ms, quiet, loud, turn, response] = [0, 0, 0, 0, 0];
  let isSpeech = false;
  let answering;
  const answer = () => {
    const ids = { response_id: `resp_${++response}`, item_id: `item_a${response}`, output_index: 0, content_index: 0 };
    send("response.created", { response: { id: ids.response_id, status: "in_progress" } });
    send("response.output_item.added", { response_id: ids.response_id, output_index: 0, item: { id: ids.item_id, type: "message", role: "assistant", content: [] } });
    const words = "I heard you. This is what I have to say about it, and it takes a while. You may speak over me whenever you like. I do not mind at all.".split(" ");
    let n = 0;
    answering = setInterval(() => {
      if (n === words.length) {
        clearInterval(answering);
        send("response.output_audio.done", ids);
        send("response.output_audio_transcript.done", { ...ids, transcript: words.join(" ") });
        return send("response.done", { response: { id: ids.response_id, status: "completed" } });
      }
      send("response.output_audio.delta", { ...ids, delta: tone(n, 250) });
      send("response.output_audio_transcript.delta", { ...ids, delta: `${words[n++]} ` });
    }, 60);
  };
  return (event) => {
    if (event.type === "response.create") answer();
    if (event.type !== "input_audio_buffer.append") return;
    ms += 20;
    const bytes = Buffer.from(event.audio, "base64");
    const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    const level = Math.sqrt(samples.reduce((sum, x) => sum + (x / 32768) ** 2, 0) / samples.length);
    [loud, quiet] = level > 0.02 ? [loud + 1, 0] : [0, quiet + 1];
    if (!isSpeech && loud > 4) {
      isSpeech = true;
      clearInterval(answering);
      send("input_audio_buffer.speech_started", { audio_start_ms: ms, item_id: `item_u${++turn}` });
    }
    if (isSpeech && quiet > 25) {
      isSpeech = false;
      send("input_audio_buffer.speech_stopped", { audio_end_ms: ms, item_id: `item_u${turn}` });
      send("conversation.item.input_audio_transcription.completed", { item_id: `item_u${turn}`, content_index: 0, transcript: "Hello gateway, can you hear me?" });
      setTimeout(answer, 300);
    }
  };
}

function tone(n, ms) {
  const samples = Int16Array.from({ length: ms * 24 }, (_, t) => Math.sin((t / 24000) * 2 * Math.PI * (220 + (n % 5) * 40)) * 8000 * Math.min(1, Math.sin((t / (ms * 24)) * Math.PI) * 3));
  return Buffer.from(samples.buffer).toString("base64");
}

server.listen(Number(process.env.PORT ?? 8090), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
