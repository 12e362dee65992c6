/**
 * Coordinate-wise rules over the sorted values of each column (median, trimmed mean and their kin).
 *
 * A column's K values are sorted by a network (Batcher's merge exchange; Knuth, TAOCP 5.2.2, algorithm M): its comparisons
 * do not depend on the data, so 32 columns are sorted at once with vector minimum and maximum.
 */

import { Floats, Rows } from "../views";

const LANES: i32 = 32;
/** Bytes of the values that one row has in a block of columns. */
const STRIDE: usize = 128;

/** The values of four columns, ascending in each. */
export class Sorted {
  constructor(
    public readonly count: i32,
    private readonly start: usize,
    /** Which four of the 32 columns. */
    public offset: usize = 0,
  ) {}

  /** The `rank`-th smallest value of each of the four columns, from 0 on. */
  // @ts-ignore: decorator
  @inline
  at(rank: i32): v128 {
    assert(<u32>rank < <u32>this.count);
    return v128.load(this.start + <usize>rank * STRIDE + this.offset);
  }
}

/** What becomes of the sorted values. It must treat the four columns alike and apart. */
export abstract class SortedRule {
  abstract lanes(sorted: Sorted): v128;
}

/**
 * `out[i] = rule(values of column i, ascending)`. At least one row.
 *
 * Order: that of Rust's `f32::total_cmp`, so that NaNs stand at the ends and nothing depends on their position. Columns
 * beyond the last one are zeros, and their results are dropped.
 */
export function reduceSorted(rows: Rows, out: Floats, rule: SortedRule): void {
  const exchanges = mergeExchange(rows.count);
  const keys = new StaticArray<u8>(rows.count * <i32>STRIDE);
  const start = changetype<usize>(keys);
  const sorted = new Sorted(rows.count, start);
  for (let i = 0; i < out.length; i += LANES) {
    for (let row = 0; row < rows.count; row++) read(rows, row, i, start + <usize>row * STRIDE);
    for (let e = 0; e < exchanges.length; e += 2) {
      exchange(start + <usize>exchanges[e] * STRIDE, start + <usize>exchanges[e + 1] * STRIDE);
    }
    const end = start + <usize>rows.count * STRIDE;
    for (let at = start; at < end; at += 16) v128.store(at, ordered(v128.load(at)));
    for (let lane = 0; lane < LANES && i + lane < out.length; lane += 4) {
      sorted.offset = (<usize>lane) << 2;
      out.setLanes(i + lane, rule.lanes(sorted));
    }
  }
}

/** The keys of 32 columns of a row, with those of zero after the last one. */
function read(rows: Rows, row: i32, i: i32, to: usize): void {
  if (i <= rows.length - LANES) {
    const at = rows.start(row) + ((<usize>i) << 2);
    for (let byte: usize = 0; byte < STRIDE; byte += 16) v128.store(to + byte, ordered(v128.load(at + byte)));
    return;
  }
  for (let lane = 0; lane < LANES; lane += 4) {
    const values = i + lane < rows.length ? rows[row].lanes(i + lane) : i32x4.splat(0);
    v128.store(to + ((<usize>lane) << 2), ordered(values));
  }
}

/** Float bits to integers whose order is that of `total_cmp`, and back: it is its own inverse. */
// @ts-ignore: decorator
@inline
function ordered(bits: v128): v128 {
  return v128.xor(bits, i32x4.shr_u(i32x4.shr_s(bits, 31), 1));
}

function exchange(low: usize, high: usize): void {
  for (let byte: usize = 0; byte < STRIDE; byte += 16) {
    const a = v128.load(low + byte), b = v128.load(high + byte);
    v128.store(low + byte, i32x4.min_s(a, b));
    v128.store(high + byte, i32x4.max_s(a, b));
  }
}

/** Pairs `i < j`, one after the other, whose ordered exchange in this order sorts any `n` values. */
export function mergeExchange(n: i32): i32[] {
  const pairs: i32[] = [];
  let top = 1;
  while (top < n) top <<= 1;
  top >>= 1;
  for (let p = top; p > 0; p >>= 1) {
    let q = top, r = 0, d = p;
    while (true) {
      for (let i = 0; i < n - d; i++) {
        if ((i & p) == r) {
          pairs.push(i);
          pairs.push(i + d);
        }
      }
      if (q == p) break;
      d = q - p;
      q >>= 1;
      r = p;
    }
  }
  return pairs;
}
