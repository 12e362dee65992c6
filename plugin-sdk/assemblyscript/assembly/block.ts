/**
 * One data-plane call as it lies in memory: docs/abi.md section 7, the 32-bit layout.
 *
 * The host writes it, `check` looks at every pointer and count once, and the roles take from it what an operation needs.
 * It never outlives the call.
 */

import { fail } from "./error";
import { Doubles, Floats, Rows } from "./views";

/** Fields in their order, without padding; absent ones are null. */
@unmanaged
export class Block {
  size: u32;
  flags: u32;
  /** Index of the range's first element in its vector. */
  offset: u64;
  /** Which vector: 0 is the update. */
  vector: u32;
  /** Frame, tensor or shard number of this range. */
  unit: u32;
  /** Elements in the range. */
  n: u32;
  /** Rows, or clients where an operation has clients but no rows. */
  k: u32;
  rows: usize;
  weights: usize;
  table: usize;
  base: usize;
  states: usize;
  out: usize;
  rowsOut: usize;
  mixOut: usize;
  input: usize;
  output: usize;
  tableLen: u32;
  nStates: u32;
  nRowsOut: u32;
  mixLen: u32;
  inputLen: u32;
  outputCap: u32;
  /** Written by the plugin: bytes of `output` that it used. */
  outputLen: u32;
  /** Elements of each state; 0 means `n`. */
  stateN: u32;

  /** Rows that are there; an operation may speak of k clients without rows. */
  get numRows(): u32 {
    return this.rows == 0 ? 0 : this.k;
  }

  /** Rows as the authors see them. */
  rowsView(): Rows {
    return new Rows(this.rows, this.numRows, this.n);
  }

  get stateLength(): u32 {
    return this.stateN == 0 ? this.n : this.stateN;
  }

  statesView(): Rows {
    return new Rows(this.states, this.nStates, this.stateLength);
  }

  /** The only row, or the first one. */
  firstRow(): Floats {
    return new Floats(load<usize>(this.rows), this.n);
  }

  mixView(): Doubles {
    return new Doubles(this.mixOut, this.mixLen);
  }

  outView(): Floats {
    return new Floats(this.out, this.n);
  }

  tableView(): Doubles {
    return new Doubles(this.table, this.tableLen);
  }

  /** Checks size, nulls, alignment and lengths of the block at `at`. Fails with E_ARG and gives null. */
  static check(at: usize): Block | null {
    if (at == 0 || at % 8 != 0) {
      fail.argument("the block pointer is null or misaligned");
      return null;
    }
    const block = changetype<Block>(at);
    if (block.size < offsetof<Block>()) {
      const known = offsetof<Block>().toString();
      fail.argument("the block has " + block.size.toString() + " bytes, ABI 1.0 has " + known);
      return null;
    }
    return block.fieldsAreSound() ? block : null;
  }

  private fieldsAreSound(): bool {
    return vectors(this.rows, this.numRows, this.n, "rows") &&
      optional<f64>(this.weights, this.k, "weights") &&
      counted<f64>(this.table, this.tableLen, "table") &&
      optional<f32>(this.base, this.n, "base") &&
      vectors(this.states, this.nStates, this.stateLength, "states") &&
      optional<f32>(this.out, this.n, "out") &&
      vectors(this.rowsOut, this.nRowsOut, this.n, "rows_out") &&
      counted<f64>(this.mixOut, this.mixLen, "mix_out") &&
      counted<u8>(this.input, this.inputLen, "input") &&
      counted<u8>(this.output, this.outputCap, "output");
  }
}

/** A field with its own count: null only if the count is zero. */
function counted<T>(pointer: usize, length: u32, field: string): bool {
  if (pointer == 0 && length > 0) {
    fail.argument("`" + field + "` is null but has " + length.toString() + " elements");
    return false;
  }
  return optional<T>(pointer, length, field);
}

/** A field whose count is `n` or `k`: null means absent. */
function optional<T>(pointer: usize, length: u32, field: string): bool {
  if (pointer == 0) return true;
  if (pointer % sizeof<T>() == 0 && <u64>length * sizeof<T>() <= <u64>i32.MAX_VALUE) return true;
  fail.argument("`" + field + "` with " + length.toString() + " elements is misaligned or too long");
  return false;
}

/** A list of `count` pointers to `n` floats each. */
function vectors(list: usize, count: u32, n: u32, field: string): bool {
  if (list == 0 && count > 0) {
    fail.argument("`" + field + "` is null but has " + count.toString() + " vectors");
    return false;
  }
  if (!optional<usize>(list, count, field)) return false;
  for (let index: u32 = 0; index < count; index++) {
    const pointer = load<usize>(list + ((<usize>index) << 2));
    if (pointer == 0) {
      fail.argument("`" + field + "[" + index.toString() + "]` is null");
      return false;
    }
    if (!optional<f32>(pointer, n, field)) return false;
  }
  return true;
}
