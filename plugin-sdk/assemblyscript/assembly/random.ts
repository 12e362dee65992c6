/**
 * Random numbers from the host: counter-based streams, the same bits in every language and on any number of threads.
 *
 * Element `i` of a fill is element `offset + i` of its stream, so a vector that is drawn in pieces, with `offset` the
 * piece's, equals the vector drawn at once. Draw one kind of number from one stream (below 65,536). The manifest must say
 * `"rng": true`.
 */

import { rand_kind } from "./abi";
import { fail } from "./error";
import { importRandFill } from "./host";
import { Floats } from "./views";

/** Which circumstances give a stream of its own. */
export enum Scope {
  /** The same numbers for the whole run, e.g. a fixed rotation. */
  Run = 0,
  /** New numbers each round, the same for every client, e.g. a shared mask. */
  Round = 1,
  /** New numbers each round for each client; in `decode` the sender's and those of its round. */
  Client = 2,
}

export namespace random {
  /** Uniform in [0, 1): multiples of 2^-24. */
  export function uniform(scope: Scope, stream: u16, offset: u64, out: Floats): void {
    fill(scope, stream, offset, rand_kind.UNIFORM, out.pointer, out.length);
  }

  /** Standard normal. */
  export function normal(scope: Scope, stream: u16, offset: u64, out: Floats): void {
    fill(scope, stream, offset, rand_kind.NORMAL, out.pointer, out.length);
  }

  /** Uniform over all 32-bit values. */
  export function u32s(scope: Scope, stream: u16, offset: u64, out: StaticArray<u32>): void {
    fill(scope, stream, offset, rand_kind.U32, changetype<usize>(out), out.length);
  }
}

function fill(scope: Scope, stream: u16, offset: u64, kind: u32, out: usize, n: i32): void {
  if (importRandFill(scope, stream, offset, kind, out, n) < 0) {
    fail.argument("the host refused to draw random numbers here; does the manifest say `rng`?");
  }
}
