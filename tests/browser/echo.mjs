// A person with a microphone calls, from the voice page, a bot that says back what it hears.
//   node echo.mjs BASE
import { loudness, microphone, must, open, run, takesCalls, until } from "./lib/stage.mjs";

const [base] = process.argv.slice(2);

await run(async () => {
  const { browser, page } = await open({ wavPath: microphone(300, "caller-short.wav", 1_000) });
  try {
    await page.goto(base);
    await page.evaluate(() => window.listenUp());
    await takesCalls(base);
    await page.getByRole("button", { name: "Start talking" }).click();
    const heard = async () => loudness(await page.evaluate(() => window.heard.levels));
    await until("the bot says something", async () => (await heard()).blocks > 40, 30_000, 200);
    const loud = await heard();
    must(loud.rms > 0.02, `nothing was really heard: ${JSON.stringify(loud)}`);
    return loud;
  } finally {
    await browser.close();
  }
});
