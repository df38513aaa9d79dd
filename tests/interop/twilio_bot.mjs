// A bot as Twilio's tutorials for Node shape it: `ws`, the events by their names, one mark behind the answer, and the upgrade
// checked by Twilio's own library. It says back what it heard when the caller pauses.
//   node twilio_bot.mjs AUTH_TOKEN
// Prints its port first, then one line of JSON when its first stream has ended.
import { createServer } from "node:http";
import twilio from "twilio";
import { WebSocketServer } from "ws";

const [authToken] = process.argv.slice(2);
const server = createServer();
const wss = new WebSocketServer({ server, path: "/media" });
const seen = { events: {}, signed: false, start: null, marks: [], sequence: [] };

wss.on("connection", (ws, request) => {
  const address = `ws://${request.headers.host}${request.url}`;
  seen.signed = twilio.validateRequest(authToken, request.headers["x-twilio-signature"] ?? "", address, {});
  let streamSid = null;
  let turn = [];
  let quiet = 0;
  let loud = 0;
  ws.on("message", (message) => {
    const data = JSON.parse(message);
    seen.events[data.event] = (seen.events[data.event] ?? 0) + 1;
    if (data.sequenceNumber) seen.sequence.push(data.sequenceNumber);
    switch (data.event) {
      case "start":
        streamSid = data.start.streamSid;
        seen.start = data.start;
        break;
      case "media": {
        const audio = Buffer.from(data.media.payload, "base64");
        // Silence in µ-law is 0xff and 0x7f; speech is far from both.
        const isLoud = audio.filter((code) => (~code & 0x7f) > 0x30).length > 40;
        loud += isLoud ? 1 : 0;
        quiet = isLoud ? 0 : quiet + 1;
        if (loud > 0) turn.push(audio);
        if (loud > 15 && quiet > 35) {
          ws.send(JSON.stringify({ event: "media", streamSid, media: { payload: Buffer.concat(turn).toString("base64") } }));
          ws.send(JSON.stringify({ event: "mark", streamSid, mark: { name: "responsePart" } }));
          [turn, loud, quiet] = [[], 0, 0];
        }
        break;
      }
      case "mark":
        seen.marks.push(data.mark.name);
        break;
      default:
        break;
    }
  });
  ws.on("close", (code) => {
    console.log(JSON.stringify({ ...seen, code }));
    server.close();
    process.exit(0);
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
setTimeout(() => process.exit(1), 120_000);
