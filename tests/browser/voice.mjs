// A person with a microphone opens the voice page, talks to the parrot by one path, and speaks over it.
//   node voice.mjs BASE auto|udp|tcp|ws [FOLDER-FOR-PICTURES]
import { loudness, microphone, must, open, pause, run, takesCalls, until } from "./lib/stage.mjs";

const [base, path, pictures] = process.argv.slice(2);
const NAMES = { udp: "UDP", tcp: "TCP", ws: "WebSocket" };

await run(async () => {
  // Twice in peace, once in a hurry: the third time it speaks while the parrot still does.
  const wavPath = microphone(300, "caller-short.wav", 5_000, "caller-short.wav", 1_900);
  const { browser, page } = await open({ wavPath });
  try {
    await page.goto(base);
    if (path !== "auto") await choosePath(page);
    await page.evaluate(() => window.listenUp());
    const states = await watchStates(page);
    await takesCalls(base);
    await page.getByRole("button", { name: "Start talking" }).click();
    await until("the call is up", async () => (await states()).some((state) => state === "listening" || state === "hearing"));
    const chip = page.locator("button.chip");
    await until("the chip names the path", async () => (await chip.count()) > 0);
    const label = await chip.innerText();
    if (path !== "auto") must(label.includes(NAMES[path]), `the chip says ${label}, not ${NAMES[path]}`);

    await until("the parrot was spoken over", async () => (await states()).includes("interrupted"), 40_000);
    if (pictures) await page.screenshot({ path: `${pictures}/call-${path}.png` });
    await until("it answers again", async () => (await states()).at(-1) === "speaking", 20_000);
    await pause(1_500);
    const seen = await states();
    for (const state of ["connecting", "hearing", "speaking", "interrupted"]) must(seen.includes(state), `never ${state}: ${seen}`);

    const heard = await page.evaluate(() => window.heard.levels);
    const loud = loudness(heard);
    must(loud.rms > 0.02 && loud.blocks > 40, `nothing was really heard: ${JSON.stringify(loud)}`);
    const cut = await cutSilence(page, heard);
    must(cut.silentAfterMs < 600, `silent only ${cut.silentAfterMs} ms after the interruption`);

    const events = await eventLog(page);
    const truncated = events.filter(({ type }) => type === "conversation.item.truncate" || type === "conversation.item.truncated");
    if (path === "ws") must(truncated.some(({ audio_end_ms: ms }) => ms > 0 && ms < 8_000), `no truncation: ${JSON.stringify(truncated)}`);
    await page.getByRole("button", { name: "End", exact: true }).click();
    await until("it is over", async () => (await states()).at(-1) === "idle");
    const complaints = page.complaints.filter((text) => !text.includes("/v1/realtime/calls"));
    must(complaints.length === 0, `the page complained: ${complaints}`);
    return { path: label, states: seen, ...loud, ...cut, truncated };
  } finally {
    await browser.close();
  }
});

async function choosePath(page) {
  await page.getByRole("button", { name: "Details" }).click();
  await page.getByLabel("Path").selectOption(path);
  await page.getByRole("button", { name: "Close" }).click();
}

/** Answers a function that tells the states so far. */
async function watchStates(page) {
  await page.evaluate(() => {
    const orb = document.querySelector("voice-orb");
    window.states = [[performance.now(), orb.state]];
    orb.addEventListener("statechange", ({ detail }) => window.states.push([performance.now(), detail.state]));
  });
  return () => page.evaluate(() => window.states.map(([, state]) => state));
}

/** How long after the interruption the last loud block of the old answer was. */
async function cutSilence(page, heard) {
  const states = await page.evaluate(() => window.states);
  const at = states.find(([, state]) => state === "interrupted")[0];
  const next = states.find(([when, state]) => when > at && state === "speaking")?.[0] ?? Infinity;
  const after = heard.filter(([when, level]) => when > at && when < Math.min(next, at + 3_000) && level > 0.01);
  return { silentAfterMs: Math.round((after.at(-1)?.[0] ?? at) - at) };
}

async function eventLog(page) {
  await page.getByRole("button", { name: "Details" }).click();
  const events = await page.locator(".log details pre").evaluateAll((all) => all.map((one) => JSON.parse(one.textContent)));
  await page.getByRole("button", { name: "Close" }).click();
  return events;
}
