// A step of the compiler: puts the project's `manifest.json` into the module, as the custom section that the host reads
// without running anything. The compiler sets `baseDir`, the folder in which it runs.

import { readFileSync } from "node:fs";
import { join } from "node:path";

export default class Manifest {
  afterCompile(module) {
    const bytes = readFileSync(join(this.baseDir, "manifest.json"));
    JSON.parse(bytes.toString("utf8")); // What is no JSON stops the build here, with its place.
    module.addCustomSection("colla.manifest", new Uint8Array(bytes));
  }
}
