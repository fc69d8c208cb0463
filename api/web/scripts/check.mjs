// Type-check the sources and the tests: tsc --noEmit, strict.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const manifest = createRequire(import.meta.url).resolve("typescript/package.json");
const tsc = join(dirname(manifest), "bin", "tsc");
const result = spawnSync(process.execPath, [tsc, "--noEmit", "-p", root], { stdio: "inherit", cwd: root });
process.exit(result.status ?? 1);
