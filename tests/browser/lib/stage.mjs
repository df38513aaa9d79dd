// What every script here needs: arguments, a verdict, a browser, a fake microphone that speaks, and an ear in the page.
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const top = fileURLToPath(new URL("../../..", import.meta.url));

/** Fails the script with a sentence. */
export function must(holds, sentence) {
  if (!holds) throw new Error(sentence);
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until it holds; answers what it answered. */
export async function until(what, ask, withinMs = 20_000, everyMs = 50) {
  const end = Date.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    must(Date.now() < end, `${what}: not within ${withinMs} ms`);
    await pause(everyMs);
  }
}

/**
 * Until the gateway takes calls. A browser that starts on a small machine keeps it so busy that the gateway, rightly, refuses
 * callers for a second or two.
 */
export function takesCalls(base) {
  const asked = async () => (await (await fetch(new URL("health", base))).json()).overload;
  return until("the machine is calm enough for a call", async () => ["normal", "unready", "sparing"].includes(await asked()), 40_000, 250);
}

/** Prints the verdict as one line of JSON; a throw is a failure, with its reason. */
export async function run(act) {
  try {
    console.log(JSON.stringify((await act()) ?? {}));
    process.exit(0);
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

/**
 * A WAV for the fake microphone: `says` is a list of fixtures and of silences in milliseconds. 48 kHz, because browsers resample
 * nothing of it then. It loops.
 */
export function microphone(...says) {
  const parts = says.map((one) => (typeof one === "number" ? new Int16Array((one * 48_000) / 1000) : speech(one)));
  const samples = Int16Array.from(parts.flatMap((part) => [...part]));
  const path = join(mkdtempSync(join(tmpdir(), "patchbay-microphone-")), "microphone.wav");
  writeFileSync(path, wav(samples, 48_000));
  return path;
}

/** A fixture of 8 kHz at 48 kHz, by straight lines between samples. */
function speech(name) {
  const file = readFileSync(join(top, "fixtures/audio", name));
  const rate = file.readUInt32LE(24);
  const body = file.subarray(file.indexOf("data") + 8);
  const samples = new Int16Array(body.buffer.slice(body.byteOffset, body.byteOffset + (body.length & ~1)));
  return Int16Array.from({ length: Math.floor((samples.length * 48_000) / rate) }, (_, n) => {
    const at = (n * rate) / 48_000;
    const [before, after] = [samples[Math.floor(at)] ?? 0, samples[Math.ceil(at)] ?? 0];
    return before + (after - before) * (at % 1);
  });
}

function wav(samples, rate) {
  const header = Buffer.alloc(44);
  header.write("RIFF", 0, "latin1");
  header.writeUInt32LE(36 + samples.byteLength, 4);
  header.write("WAVEfmt ", 8, "latin1");
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36, "latin1");
  header.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer)]);
}

/** Chromium as Debian ships it. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const flags = (wavPath) => [
  "--no-sandbox",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  ...(wavPath ? [`--use-file-for-fake-audio-capture=${wavPath}`] : []),
  "--autoplay-policy=no-user-gesture-required",
];

/** A page with the ear in it. Its faults and broken policies are collected in `page.complaints`. */
export async function open({ wavPath, scheme = "light", width = 1280, height = 800, motion = "no-preference" }) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: flags(wavPath) });
  const context = await browser.newContext({
    permissions: ["microphone"],
    colorScheme: scheme,
    reducedMotion: motion,
    viewport: { width, height },
  });
  const page = await context.newPage();
  await listen(page);
  return { browser, context, page };
}

export async function listen(page) {
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") page.complaints.push(`${message.text()} ${message.location().url}`);
  });
  await page.addInitScript(ear);
}

/** Runs in the page: notes what its media elements play, as levels every 20 ms and as samples. */
function ear() {
  const heard = { levels: [], samples: [], rate: 0 };
  window.heard = heard;
  const elements = new Set();
  const { createElement } = document;
  document.createElement = function (name, ...rest) {
    const made = createElement.call(this, name, ...rest);
    if (String(name).toLowerCase() === "audio") elements.add(made);
    return made;
  };
  let context;
  let source;
  let stream;
  window.listenUp = () => {
    context = new AudioContext();
    heard.rate = context.sampleRate;
    const tap = context.createScriptProcessor(1024, 1, 1);
    tap.onaudioprocess = ({ inputBuffer }) => {
      const samples = inputBuffer.getChannelData(0);
      let sum = 0;
      for (const sample of samples) sum += sample * sample;
      heard.levels.push([performance.now(), Math.sqrt(sum / samples.length)]);
      if (heard.samples.length < context.sampleRate * 60) heard.samples.push(...samples);
    };
    tap.connect(context.destination);
    setInterval(() => {
      const playing = [...elements, ...document.querySelectorAll("audio")].find((element) => element.srcObject?.getAudioTracks().length);
      if (!playing || playing.srcObject === stream) return;
      source?.disconnect();
      stream = playing.srcObject;
      source = context.createMediaStreamSource(stream);
      source.connect(tap);
    }, 100);
  };
}

/** Seconds of sound, and how loud it was: root mean square over what was not silence. */
export function loudness(levels) {
  const loud = levels.filter(([, level]) => level > 0.01);
  const rms = Math.sqrt(loud.reduce((sum, [, level]) => sum + level * level, 0) / Math.max(1, loud.length));
  return { blocks: loud.length, rms: Number(rms.toFixed(3)) };
}
