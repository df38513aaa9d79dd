// Builds everything that the gateway serves into dist/: the two pages, the element for other people's pages, the worklet,
// the service worker and the icons. `node scripts/build.mjs`
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { build } from "vite";
import { icons } from "./icons.mjs";

const web = fileURLToPath(new URL("..", import.meta.url));
const app = join(web, "app");
const dist = join(web, "dist");

const shared = { configFile: false, logLevel: "warn", publicDir: false };

/** One file of its own, that imports nothing. */
const single = (entry, name, define = {}) =>
  build({
    ...shared,
    root: web,
    define,
    build: {
      outDir: dist,
      emptyOutDir: false,
      target: "es2022",
      modulePreload: false,
      rollupOptions: { input: join(web, entry), preserveEntrySignatures: "exports-only", output: { entryFileNames: name } },
    },
  });

await build({
  ...shared,
  root: app,
  publicDir: join(app, "public"),
  plugins: [svelte({ configFile: false })],
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: { input: { index: join(app, "index.html"), console: join(app, "console.html") } },
  },
});
await single("orb/src/index.ts", "voice-call.js");
await single("client/src/worklet.ts", "voice-worklet.js");
icons(dist);

// The shell is what the page needs to show itself without a network. Not the console, and not what other pages embed.
const files = walk(dist).map((path) => relative(dist, path)).sort();
const indexHtml = readFileSync(join(dist, "index.html"), "utf8");
const isOfIndex = (file) => !file.startsWith("assets/") || indexHtml.includes(file) || isImported(file);
const shell = files.filter((file) => isOfIndex(file) && !/^(\.gitkeep|console\.html|voice-call\.js|sw\.js)$/.test(file) && !/^icons\//.test(file));
const version = createHash("sha256");
for (const file of shell) version.update(file).update(readFileSync(join(dist, file)));
const paths = shell.map((file) => (file === "index.html" ? "/" : `/${file}`));
await single("app/sw/sw.ts", "sw.js", {
  __SHELL__: JSON.stringify(paths),
  __VERSION__: JSON.stringify(version.digest("hex").slice(0, 12)),
});
writeFileSync(join(dist, "shell.json"), JSON.stringify(shell));

/** Whether a script of the page brings it in. */
function isImported(file) {
  const name = file.replace("assets/", "");
  const scripts = [...indexHtml.matchAll(/assets\/[\w.-]+\.js/g)].map(([path]) => join(dist, path));
  return scripts.some((path) => existsSync(path) && readFileSync(path, "utf8").includes(name));
}

function walk(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? walk(path) : [path];
  });
}
