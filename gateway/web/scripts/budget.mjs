// Holds what was built to its budget, and fails beyond it. `node scripts/budget.mjs`
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const web = fileURLToPath(new URL("..", import.meta.url));
const dist = join(web, "dist");
const KB = 1024;
const gz = (bytes) => gzipSync(bytes, { level: 9 }).length;

const shell = JSON.parse(readFileSync(join(dist, "shell.json"), "utf8")).map((name) => [name, readFileSync(join(dist, name))]);
const sum = (files, size) => files.reduce((total, [, bytes]) => total + size(bytes), 0);
const scripts = [...shell, ["sw.js", readFileSync(join(dist, "sw.js"))]].filter(([name]) => name.endsWith(".js"));
const icons = readdirSync(join(dist, "icons")).map((name) => [name, readFileSync(join(dist, "icons", name))]);

/** The size of a package by itself, minified, in gzip. */
async function bundled(entry, external = []) {
  const { output } = await build({
    configFile: false,
    logLevel: "error",
    publicDir: false,
    root: web,
    build: { write: false, target: "es2022", modulePreload: false, rollupOptions: { input: join(web, entry), external, preserveEntrySignatures: "exports-only" } },
  });
  return gz(output[0].code);
}

const limits = [
  ["the page and its icons, as they travel (gzip)", sum(shell, gz) + sum(icons, (bytes) => bytes.length), 100 * KB],
  ["JavaScript of the page, in gzip", sum(scripts, gz), 60 * KB],
  ["client/, in gzip", await bundled("client/src/index.ts"), 8 * KB],
  ["orb/ beyond the client, in gzip", await bundled("orb/src/index.ts", ["@patchbay/client"]), 10 * KB],
];
let isOver = false;
for (const [what, size, limit] of limits) {
  const mark = size > limit ? "OVER" : "ok";
  isOver ||= size > limit;
  console.log(`${mark.padEnd(5)}${(size / KB).toFixed(1).padStart(7)} of ${limit / KB} KB  ${what}`);
}
if (isOver) process.exit(1);
