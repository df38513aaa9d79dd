// The voice page without a call: accessible, installable, there without a network, in both themes, with its words right.
//   node page.mjs BASE FOLDER-FOR-PICTURES
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { CHROMIUM, flags, listen, microphone, must, open, pause, run, takesCalls, until } from "./lib/stage.mjs";

const [base, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const STATES = ["idle", "connecting", "listening", "hearing", "thinking", "speaking", "interrupted", "muted", "error"];

await run(async () => {
  if (pictures) mkdirSync(pictures, { recursive: true });
  const wavPath = microphone(300, "caller-short.wav", 4_000);
  const checked = [];
  for (const scheme of ["light", "dark"]) {
    for (const width of [1280, 390]) checked.push(...(await inTheme(scheme, width, wavPath)));
  }
  await still(wavPath);
  await keyboard(wavPath);
  await blocked();
  return { checked, installability: await installed(wavPath) };
});

/** The page as it stands before a call, during one, and with its drawer: nothing for axe to find, and pictures. */
async function inTheme(scheme, width, wavPath) {
  const { browser, page } = await open({ wavPath, scheme, width, height: width < 600 ? 844 : 800, motion: "reduce" });
  const name = `${scheme}-${width}`;
  const found = [];
  const look = async (what) => {
    if (pictures) await page.screenshot({ path: join(pictures, `page-${name}-${what}.png`) });
    // By the protocol, which no content security policy of the page forbids.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    must(told.length === 0, `${name} ${what}: ${told.join("\n")}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    must(wide <= 0, `${name} ${what}: ${wide} pixels wider than the screen`);
    found.push(`${name} ${what}`);
  };
  try {
    await page.goto(base);
    await page.getByRole("button", { name: "Start talking" }).waitFor();
    await look("ready");
    await takesCalls(base);
    await page.getByRole("button", { name: "Start talking" }).click();
    await until("somebody speaks", () => page.evaluate(() => document.querySelector("voice-orb").state === "speaking"), 30_000);
    await look("call");
    await page.getByRole("button", { name: "Details" }).click();
    await look("details");
    await gallery(page, scheme, name);
    return found;
  } finally {
    await browser.close();
  }
}

/** All nine states beside each other, with the element that other pages embed. */
async function gallery(page, scheme, name) {
  if (!pictures || !name.endsWith("1280")) return;
  const url = new URL("gallery", base).href;
  const ground = scheme === "dark" ? "#101617" : "#f6f4ef";
  const orbs = STATES.map((state) => `<voice-orb state="${state}" level-in=".6" level-out=".6"></voice-orb>`).join("");
  const body = `<!doctype html><meta name="color-scheme" content="${scheme}"><script type="module" src="/voice-call.js"></script>
    <body style="display:grid;grid-template-columns:repeat(3,1fr);justify-items:center;background:${ground};font-family:sans-serif">${orbs}`;
  await page.route(url, (route) => route.fulfill({ contentType: "text/html", body }));
  await page.goto(url);
  for (const motion of ["no-preference", "reduce"]) {
    await page.emulateMedia({ reducedMotion: motion });
    await pause(700);
    await page.screenshot({ path: join(pictures, `orbs-${scheme}-${motion}.png`), timeout: 60_000 });
  }
}

/** Who wants no motion gets none: two pictures of the orb are the same to the bit. */
async function still(wavPath) {
  const { browser, page } = await open({ wavPath, motion: "reduce" });
  try {
    await page.goto(base);
    const picture = () => page.evaluate(() => document.querySelector("voice-orb").shadowRoot.querySelector("canvas").toDataURL());
    await pause(300);
    const first = await picture();
    await pause(500);
    must(first.length > 1_000 && first === (await picture()), "the orb moves for somebody who wants no motion");
    await page.emulateMedia({ reducedMotion: "no-preference" });
    await until("it moves for the others", async () => (await picture()) !== first);
  } finally {
    await browser.close();
  }
}

/** A whole call without a mouse. */
async function keyboard(wavPath) {
  const { browser, page } = await open({ wavPath });
  const focused = () => page.evaluate(() => document.activeElement?.innerText?.trim() ?? "");
  const state = () => page.evaluate(() => document.querySelector("voice-orb").state);
  try {
    await page.goto(base);
    await until("Tab reaches the start", async () => {
      await page.keyboard.press("Tab");
      return (await focused()) === "Start talking";
    });
    await takesCalls(base);
    await page.keyboard.press("Enter");
    await until("the call is up", async () => !["idle", "connecting"].includes(await state()));
    must((await focused()).startsWith("Mute"), `the focus went to ${await focused()}`);
    const mute = page.getByRole("button", { name: /^Mute/ });
    await page.keyboard.press("m");
    must((await mute.getAttribute("aria-pressed")) === "true", "M mutes");
    await page.keyboard.press("m");
    must((await mute.getAttribute("aria-pressed")) === "false", "M unmutes");

    await page.getByRole("button", { name: /^Push to talk/ }).press("Enter");
    const hold = page.getByRole("button", { name: /Hold to talk|Let go/ });
    await page.keyboard.down(" ");
    must((await hold.getAttribute("aria-pressed")) === "true", "Space opens the microphone");
    await page.keyboard.up(" ");
    must((await hold.getAttribute("aria-pressed")) === "false", "letting go closes it");
    await page.getByRole("button", { name: /^Push to talk/ }).press("Enter");

    await page.getByLabel("Write to the assistant").fill("mm m");
    must((await mute.getAttribute("aria-pressed")) === "false", "typing an m mutes nobody");
    await page.keyboard.press("Enter");
    await until("what was written is in the transcript", () =>
      page.evaluate(() => document.querySelector("voice-transcript").shadowRoot.textContent.includes("mm m")),
    );
    const log = await page.evaluate(() => {
      const element = document.querySelector("voice-transcript").shadowRoot.querySelector("[role=log]");
      return { label: element.getAttribute("aria-label"), busy: element.getAttribute("aria-busy") };
    });
    must(log.label === "Transcript" && ["true", "false"].includes(log.busy), `the log says of itself ${JSON.stringify(log)}`);
    must((await page.locator("[role=status]").innerText()) !== "", "the state is told");
    await page.getByRole("button", { name: "End", exact: true }).press("Enter");
    await until("the call is over", async () => (await state()) === "idle");
    must((await focused()) === "Start talking", "the focus comes back");
  } finally {
    await browser.close();
  }
}

/** A blocked microphone is told in words, and writing is still possible. */
async function blocked() {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    await page.goto(base);
    await page.getByRole("button", { name: "Start talking" }).click();
    const alert = page.getByRole("alert");
    await until("the reason is told", async () => /microphone/i.test(await alert.innerText()));
    await takesCalls(base);
    await page.getByRole("button", { name: "Write instead" }).click();
    await until("the call is up without one", () => page.evaluate(() => !["idle", "connecting", "error"].includes(document.querySelector("voice-orb").state)));
  } finally {
    await browser.close();
  }
}

/** Installable, and its shell opens when the gateway is gone. The gateway stands behind a door that can be shut. */
async function installed(wavPath) {
  const door = await shut(new URL(base));
  const folder = mkdtempSync(join(tmpdir(), "patchbay-profile-"));
  const context = await chromium.launchPersistentContext(folder, { executablePath: CHROMIUM, headless: true, args: flags(wavPath) });
  try {
    const page = await context.newPage();
    await listen(page);
    await page.goto(door.url);
    await page.evaluate(() => navigator.serviceWorker.ready);
    const protocol = await context.newCDPSession(page);
    const { installabilityErrors } = await protocol.send("Page.getInstallabilityErrors");
    must(installabilityErrors.length === 0, `not installable: ${JSON.stringify(installabilityErrors)}`);
    const { errors } = await protocol.send("Page.getAppManifest");
    must(errors.length === 0, `the manifest: ${JSON.stringify(errors)}`);

    await page.reload();
    await door.close();
    await page.reload();
    await page.getByRole("button", { name: "Start talking" }).click();
    const alert = page.getByRole("alert");
    await until("the page says that nobody is there", async () => /cannot be reached/.test(await alert.innerText()));
    const kept = await page.evaluate(async () => {
      const names = await caches.keys();
      const requests = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
      return requests.flat().map(({ url }) => new URL(url).pathname);
    });
    must(kept.includes("/") && kept.includes("/voice-worklet.js"), `the shell is not whole: ${kept}`);
    must(!kept.some((path) => path.startsWith("/v1") || path.startsWith("/signaling")), `a call was kept: ${kept}`);
    return "none against it";
  } finally {
    await context.close();
  }
}

/** A TCP relay to the gateway, on loopback. */
async function shut(target) {
  const sockets = new Set();
  const server = createServer((socket) => {
    const onward = connect(Number(target.port || 80), target.hostname);
    for (const one of [socket, onward]) {
      sockets.add(one);
      one.on("error", () => undefined);
    }
    socket.pipe(onward).pipe(socket);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}
