#!/usr/bin/env node
// curation-guest-build MODULE.js OUT: the component of a JavaScript module, with all that it imports, without WASI.
import { componentize } from "@bytecodealliance/componentize-js";
import { build } from "esbuild";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const [module, out] = process.argv.slice(2);
if (!module || !out) {
  console.error("usage: curation-guest-build MODULE.js OUT.wasm");
  process.exit(2);
}
try {
  // One source: a component has no files to import from.
  const { outputFiles } = await build({
    entryPoints: [module],
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    external: ["curation:guest/*"],
    legalComments: "none",
    logLevel: "error",
  });
  const { component } = await componentize(outputFiles[0].text, {
    witPath: fileURLToPath(new URL("wit", import.meta.url)),
    worldName: "guest",
    disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
  });
  await writeFile(out, component);
  console.log(`${out}: ${component.length} bytes`);
} catch (error) {
  console.error(`curation-guest-build: ${error.message ?? error}`);
  process.exit(1);
}
