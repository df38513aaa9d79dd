// A bot that says back what it hears, for a minute. PATCHBAY_URL, PATCHBAY_BOT and PATCHBAY_KEY (a file) say where and who.
import { env } from "node:process";

import { Bot, BotKey } from "../src/index.js";

async function echo(bot, incoming) {
  const caller = await bot.verifyHumanAttestation(incoming.ticket, "none", incoming.callId);
  const call = await bot.acceptCall(incoming);
  console.log("call", call.callId, caller.level);
  const ends = Date.now() + 1000 * Number(env.PATCHBAY_ECHO_SECONDS ?? 60);
  for await (const packet of call.receiveAudioOpus()) {
    await call.sendAudioOpus(packet.payload);
    if (Date.now() > ends) {
      await call.clear();
      await call.hangup();
    }
  }
}

const options = { audience: env.PATCHBAY_AUDIENCE }; // The gateway's public URL, if PATCHBAY_URL is another.
const bot = new Bot(env.PATCHBAY_URL, env.PATCHBAY_BOT, BotKey.read(env.PATCHBAY_KEY), options);
await bot.registerWithDiscovery({ capabilities: ["echo"] });
console.log("ready");
await bot.serve(echo);
