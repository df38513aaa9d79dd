// An operator at the console: sees a call with its words and levels, listens in, ends it.
//   node console.mjs ADMIN PUBLIC KEY FOLDER-FOR-PICTURES
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { must, open, pause, run, until } from "./lib/stage.mjs";

const [admin, publicBase, key, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

await run(async () => {
  const { browser, page } = await open({});
  try {
    await page.addInitScript(earOfConsole);
    await page.goto(new URL("console", admin).href);
    await page.getByLabel("Key").fill("not the key");
    await page.getByRole("button", { name: "Open" }).click();
    await until("a wrong key is told", async () => /opens nothing/.test(await page.getByRole("alert").innerText().catch(() => "")));
    await page.getByLabel("Key").fill(key);
    await page.getByRole("button", { name: "Open" }).click();
    const row = page.locator("tbody tr", { has: page.locator(".mark.live") });
    await until("the live call is listed", async () => (await row.count()) === 1);
    await row.getByRole("button").click();
    const levels = () => row.locator("meter").evaluateAll((meters) => meters.map(({ value }) => value));
    let loudest = [0, 0];
    await until("both are seen to speak", async () => {
      // There are no meters before the first word.
      const now = await levels();
      loudest = loudest.map((loud, side) => Math.max(loud, now[side] ?? 0));
      return loudest.every((level) => level > 0.4);
    });
    await until("words come", () => page.evaluate(() => document.querySelector("voice-transcript").shadowRoot.querySelectorAll("[part~=entry]").length > 0));

    await page.getByRole("button", { name: "Listen in" }).click();
    const heard = () => page.evaluate(() => window.operatorHears);
    await until("both channels are heard", async () => (await heard()).every((level) => level > 0.02), 30_000);
    await look(page, "console");
    await page.getByRole("button", { name: "Stop listening" }).click();

    await page.getByRole("button", { name: "End the call" }).click();
    await page.getByRole("button", { name: "Yes, end it" }).click();
    await until("the call has ended", async () => (await row.count()) === 0);
    const complaints = page.complaints.filter((text) => !text.includes("401"));
    must(complaints.length === 0, `the console complained: ${complaints}`);
    const channels = await heard();

    await page.goto(new URL("console", publicBase).href);
    await until("the public listener asks for a tenant's key", async () => /gateway key/.test(await page.locator("form").innerText()));
    return { loudest, channels };
  } finally {
    await browser.close();
  }
});

async function look(page, name) {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  must(told.length === 0, `${name}: ${told.join("\n")}`);
  await pause(0);
}

/** Runs in the page: the loudest that each channel was put out with. */
function earOfConsole() {
  window.operatorHears = [0, 0];
  const { start } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...when) {
    for (const channel of [0, 1]) {
      const samples = this.buffer.getChannelData(channel);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      window.operatorHears[channel] = Math.max(window.operatorHears[channel], Math.sqrt(sum / samples.length));
    }
    return start.apply(this, when);
  };
}
