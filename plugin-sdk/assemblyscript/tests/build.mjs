// Builds a plugin of the tests as an author's project is built: the template's settings, the SDK as a package.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The path of the built module. */
export function build(name) {
  const folder = mkdtempSync(join(tmpdir(), "colla-plugin-sdk-"));
  cpSync(join(root, "tests", name), folder, { recursive: true });
  const settings = readFileSync(join(root, "templates/project/asconfig.json"), "utf8");
  writeFileSync(join(folder, "asconfig.json"), settings.replaceAll("{{name}}", name));
  const packages = join(folder, "node_modules");
  mkdirSync(packages);
  symlinkSync(root, join(packages, "colla-plugin-sdk"), "junction");
  const compiler = createRequire(import.meta.url).resolve("assemblyscript/package.json");
  execFileSync(process.execPath, [join(dirname(compiler), "bin/asc.js"), "assembly/index.ts"], { cwd: folder });
  return join(folder, `${name}.wasm`);
}
