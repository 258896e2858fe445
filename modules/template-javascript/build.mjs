// node build.mjs [OUT]: the component, without WASI. The files are joined first: a component has no file to import.
import { componentize } from "@bytecodealliance/componentize-js";
import { readFile, writeFile } from "node:fs/promises";

const out = process.argv[2] ?? "module.wasm";
const [contract, own] = await Promise.all(["curation.js", "module.js"].map((name) => readFile(name, "utf8")));
const source = `${contract}\n${own.replace(/^import .* from "\.\/curation\.js";$/m, "")}`
  .replaceAll(/^export (?!const run )/gm, "");
const { component } = await componentize(source, {
  witPath: "wit",
  worldName: "guest",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(out, component);
console.log(`${out}: ${component.length} bytes`);
