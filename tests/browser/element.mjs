// `<voice-call url token>` in a plain page of another origin, by one script tag, talks with the gateway.
//   node element.mjs BASE TOKEN udp|tcp|ws
import { createServer } from "node:http";
import { loudness, microphone, must, open, pause, run, takesCalls, until } from "./lib/stage.mjs";

const [base, token, path] = process.argv.slice(2);

await run(async () => {
  const page = `<!doctype html><title>Somebody's page</title>
    <script type="module" src="${new URL("voice-call.js", base).href}"></script>
    <voice-call url="${base}" token="${token}" path="${path}"></voice-call>`;
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(page));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { browser, page: opened } = await open({ wavPath: microphone(300, "caller-short.wav", 5_000) });
  try {
    await opened.goto(`http://localhost:${server.address().port}/`);
    await opened.evaluate(() => {
      window.told = { statechange: [], transcript: 0, stats: [] };
      const element = document.querySelector("voice-call");
      element.addEventListener("statechange", ({ detail }) => detail.state && window.told.statechange.push(detail.state));
      element.addEventListener("transcript", () => window.told.transcript++);
      element.addEventListener("stats", ({ detail }) => window.told.stats.push(detail.path));
      window.listenUp();
    });
    await takesCalls(base);
    await opened.getByRole("button", { name: "Start talking" }).click();
    const told = () => opened.evaluate(() => window.told);
    await until("the parrot answers", async () => (await told()).statechange.includes("speaking"), 30_000);
    await until("it says so", async () => (await told()).stats.length > 0);
    await pause(2_000);
    const loud = loudness(await opened.evaluate(() => window.heard.levels));
    must(loud.rms > 0.02 && loud.blocks > 20, `nothing was really heard: ${JSON.stringify(loud)}`);
    await opened.getByRole("button", { name: "End" }).click();
    await until("the call is over", async () => (await told()).statechange.at(-1) === "idle");
    const { statechange, stats } = await told();
    must(stats.every((one) => one === path), `by ${stats}, not by ${path}`);
    must(opened.complaints.length === 0, `the page complained: ${opened.complaints}`);
    return { states: statechange, ...loud };
  } finally {
    await browser.close();
    server.close();
  }
});
