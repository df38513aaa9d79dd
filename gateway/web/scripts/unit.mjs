// Runs the unit tests with node's own runner. They are TypeScript: each is bundled first, because Node 20 does not read it.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const web = fileURLToPath(new URL("..", import.meta.url));
const out = join(web, "node_modules/.unit");
rmSync(out, { recursive: true, force: true });
const input = Object.fromEntries(
  ["client", "orb", "app"].flatMap((part) =>
    readdirSync(join(web, part, "tests")).map((name) => [`${part}-${name.replace(/\.ts$/, "")}`, join(web, part, "tests", name)]),
  ),
);
await build({
  configFile: false,
  logLevel: "error",
  publicDir: false,
  root: web,
  build: { outDir: out, target: "node20", minify: false, modulePreload: false, rollupOptions: { input, external: /^node:/, output: { entryFileNames: "[name].mjs" } } },
});
const files = Object.keys(input).map((name) => join(out, `${name}.mjs`));
process.exit(spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit" }).status ?? 1);
