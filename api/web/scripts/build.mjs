// Bundle src/ into dist/: index.html and assets with a hash in their names. `node scripts/build.mjs [outdir]`.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = process.argv[2] ?? join(root, "dist");

async function bundle() {
  const result = await build({
    absWorkingDir: root,
    entryPoints: { app: "src/main.tsx", style: "src/styles/index.css" },
    entryNames: "[name]-[hash]",
    outdir: join(out, "assets"),
    bundle: true,
    minify: true,
    metafile: true,
    format: "esm",
    target: ["es2022", "chrome123", "firefox121", "safari17.5"],
    jsx: "automatic",
    jsxImportSource: "preact",
    logLevel: "warning",
  });
  const names = Object.keys(result.metafile.outputs).map((path) => path.split("/").at(-1));
  return { script: names.find((name) => name.endsWith(".js")), style: names.find((name) => name.endsWith(".css")) };
}

async function icon() {
  const bytes = await readFile(join(root, "public", "icon.svg"));
  const name = `icon-${createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase()}.svg`;
  await writeFile(join(out, "assets", name), bytes);
  return name;
}

async function report(names) {
  let total = 0;
  for (const name of names) {
    const bytes = await readFile(join(out, "assets", name));
    const gzip = gzipSync(bytes, { level: 9 }).length;
    total += gzip;
    console.log(`  assets/${name}  ${bytes.length} bytes, ${gzip} gzipped`);
  }
  console.log(`  together ${total} bytes gzipped`);
}

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "assets"), { recursive: true });
const { script, style } = await bundle();
const picture = await icon();
const page = (await readFile(join(root, "src", "index.html"), "utf8"))
  .replace("{{script}}", `assets/${script}`)
  .replace("{{style}}", `assets/${style}`)
  .replace("{{icon}}", `assets/${picture}`);
await writeFile(join(out, "index.html"), page);
await report([script, style, picture]);
