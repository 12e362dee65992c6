/**
 * What an `abort`, a failed `assert` or a bad index comes to: the reason in the host's log, then a trap.
 *
 * The compiler is told to use it by `"use": ["abort=~lib/colla-plugin-sdk/assembly/abort/abort"]`, so that the module
 * imports nothing from `env`.
 */

import { log } from "./log";

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const reason = message == null ? "no message" : message;
  log.error("panicked at " + (file == null ? "?" : file) + ":" + line.toString() + ": " + reason);
  unreachable();
}
