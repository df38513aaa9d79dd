// The unmodified @openai/agents-realtime in Chromium, by WebRTC and by WebSocket, and the WebRTC class of the unmodified
// `openai`. Only the URL is ours.
//   node sdk.mjs BASE TOKEN webrtc|websocket|openai
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { loudness, microphone, must, open, pause, run, takesCalls, top, until } from "./lib/stage.mjs";

const [base, token, transport] = process.argv.slice(2);

await run(async () => {
  const script = await bundled();
  const server = createServer((request, response) => {
    const isScript = request.url.endsWith(".js");
    response.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" });
    response.end(isScript ? script : '<!doctype html><title>An app</title><script type="module" src="/app.js"></script>');
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { browser, page } = await open({ wavPath: microphone(300, "caller-short.wav", 4_000) });
  try {
    await page.goto(`http://localhost:${server.address().port}/`);
    await page.waitForFunction(() => window.talk);
    await page.evaluate(() => window.listenUp());
    await takesCalls(base);
    const connectedMs = await page.evaluate(([url, apiKey, how]) => window.talk(url, apiKey, how), [base, token, transport]);
    const seen = () => page.evaluate(() => window.seen);
    await until("it hears speech", async () => (await seen()).includes("input_audio_buffer.speech_started"), 30_000);
    await until("it gets an answer", async () => (await seen()).includes("response.done"), 30_000);
    await pause(2_000);
    const loud = loudness(await page.evaluate(() => window.heard.levels));
    const answered = await page.evaluate(() => window.answeredBytes);
    if (transport === "openai") must((await page.evaluate(() => window.voice)) === "marin", "the settings beside the offer were lost");
    if (transport !== "websocket") must(loud.rms > 0.02 && loud.blocks > 20, `nothing was really heard: ${JSON.stringify(loud)}`);
    else must(answered > 24_000, `only ${answered} bytes of audio came`);
    const faults = await page.evaluate(() => window.faults);
    must(faults.length === 0, `the SDK reported ${JSON.stringify(faults)}`);
    return { connectedMs, ...loud, answered, events: [...new Set(await seen())] };
  } finally {
    await browser.close();
    server.close();
  }
});

/** The SDK and the page around it, as a bundler of an app would have it. */
async function bundled() {
  const { build } = await import(createRequire(`${top}gateway/web/`).resolve("vite"));
  const root = fileURLToPath(new URL(".", import.meta.url));
  const { output } = await build({
    configFile: false,
    logLevel: "error",
    publicDir: false,
    root,
    build: { write: false, minify: false, target: "es2022", modulePreload: false, rollupOptions: { input: `${root}lib/sdk-page.mjs` } },
  });
  return output[0].code;
}
