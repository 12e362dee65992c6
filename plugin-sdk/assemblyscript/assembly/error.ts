/**
 * What goes wrong in a plugin: a status code and a message for people.
 *
 * AssemblyScript has no exceptions that a host could catch, so a failure is noted here and the call goes on to its end;
 * whatever it answers is then dropped, and the host gets the code and the message of the first failure. Return as soon as
 * it is convenient: after `fail.argument(..)`, and after `failed()` where a value that was asked for matters.
 *
 * Messages read: what is wrong, with both values, what to do; lower case, no final stop.
 */

import { status } from "./abi";

let code: i32 = status.OK;
let text: string = "";

function note(failure: i32, message: string): void {
  if (code == status.OK) {
    code = failure;
    text = message;
  }
}

/** Not a failure: the plugin has nothing to do here, and the host goes on as if it had not asked. */
export function skip(): void {
  note(status.SKIP, "");
}

/** Whether this call has failed (or was skipped). */
export function failed(): bool {
  return code != status.OK;
}

export namespace fail {
  /** A block or message is not what the operation requires. */
  export function argument(message: string): void {
    note(status.E_ARG, message);
  }
  /** The parameters cannot be used. */
  export function config(message: string): void {
    note(status.E_CONFIG, message);
  }
  /** The plugin does not implement what it was asked. */
  export function unsupported(message: string): void {
    note(status.E_UNSUPPORTED, message);
  }
  /** Called in the wrong order, or state is missing. */
  export function state(message: string): void {
    note(status.E_STATE, message);
  }
  /** A number is not finite or out of its domain. */
  export function numeric(message: string): void {
    note(status.E_NUMERIC, message);
  }
  /** An output buffer is too small. */
  export function capacity(message: string): void {
    note(status.E_CAPACITY, message);
  }
  /** The plugin broke one of its own invariants. */
  export function internal(message: string): void {
    note(status.E_INTERNAL, message);
  }
}

/** The first failure of a call. For the export glue, which asks once at the end of each call. */
export class Failure {
  constructor(
    public readonly code: i32,
    public readonly message: string,
  ) {}

  /** Takes the failure, if there was one, and clears it. */
  static take(): Failure | null {
    if (code == status.OK) return null;
    const failure = new Failure(code, text);
    code = status.OK;
    text = "";
    return failure;
  }
}
