// The voice page in the stock Firefox of Debian. It has no microphone file and refuses candidates on loopback: so it talks by
// WebSocket, with the tone of its fake microphone, where there is a sound device; where there is none, it writes.
//   node firefox.mjs BASE
import puppeteer from "puppeteer-core";
import { must, pause, run, takesCalls, until } from "./lib/stage.mjs";

const [base] = process.argv.slice(2);

await run(async () => {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    extraPrefsFirefox: {
      "media.navigator.permission.disabled": true,
      "media.navigator.streams.fake": true,
      "media.autoplay.default": 0,
      "media.autoplay.blocking_policy": 0,
    },
  });
  try {
    const page = await browser.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(base);
    await page.waitForSelector("button.main");
    const click = (text) =>
      page.evaluate((wanted) => [...document.querySelectorAll("button")].find((one) => one.innerText.trim() === wanted).click(), text);
    const state = () => page.evaluate(() => document.querySelector("voice-orb").state);
    await click("Details");
    await page.select("aside select", "ws");
    await click("Close");
    await takesCalls(base);
    await click("Start talking");
    await until("the call is up", async () => !["idle", "connecting"].includes(await state()), 30_000);
    must((await state()) !== "error", `it failed: ${await page.evaluate(() => document.querySelector(".problem").innerText)}`);
    const chip = await until("the chip names the path", () => page.evaluate(() => document.querySelector("button.chip")?.innerText), 20_000);
    must(chip.includes("WebSocket"), `the chip says ${chip}`);
    await pause(1_000);
    await click("End");
    await until("it is over", async () => (await state()) === "idle");
    must(complaints.length === 0, `the page complained: ${complaints}`);
    return { version: await browser.version() };
  } finally {
    await browser.close();
  }
});
