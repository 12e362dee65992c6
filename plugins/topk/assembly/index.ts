/**
 * Top-k sparsification (Aji and Heafield, arXiv:1704.05021): the k values of largest magnitude of the whole update, ties to
 * the lower index; the rest is zero. The host finds the k-th magnitude and offers error feedback (Stich et al.,
 * arXiv:1809.07599).
 *
 * A frame: `u32` count, then count `u16` indices within the frame, ascending, then count `f32` values.
 */

import {
  Compress, FRAME, Floats, Input, KthAbs, Output, Parameters, Piece, Rows, ScanPlan, fail, failed, plugin,
} from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class TopK extends Compress {
  private readonly ratio: f64;

  constructor(parameters: Parameters) {
    super();
    this.ratio = parameters.f64("ratio");
  }

  scan(n: u64, vector: u32): ScanPlan {
    // The small addend undoes the binary rounding of ratios like 0.29.
    return ScanPlan.none().kthAbs(max<u64>(<u64>(this.ratio * <f64>n + 1e-9), 1));
  }

  encode(source: Piece, states: Rows, output: Output): void {
    const kth = source.measures.kthAbs(0);
    if (failed() || !fitsAFrame(source.values.length)) return;
    output.putU32(kth.kept);
    const place = output.reserve(<u64>kth.kept * 6);
    if (failed()) return;
    const count = pick(source.values, kth, place.pointer);
    if (count != kth.kept) {
      fail.argument("`kth_abs` says " + kth.kept.toString() + " values are kept, " + count.toString() + " are");
    }
  }

  decode(input: Input, target: Piece): void {
    const values = target.values;
    if (!fitsAFrame(values.length)) return;
    const count = input.takeU32();
    if (count > <u32>values.length) {
      return fail.argument("a frame of " + values.length.toString() + " values claims to hold " + count.toString());
    }
    const indices = input.take(<u64>count * 2);
    const kept = input.take(<u64>count * 4);
    input.finish();
    if (failed()) return;
    values.clear();
    let free = 0;
    for (let i: u32 = 0; i < count; i++) {
      const index = <i32>load<u16>(indices.pointer + i * 2);
      if (index < free || index >= values.length) {
        const where = " is out of order or beyond the frame's " + values.length.toString() + " values";
        return fail.argument("index " + index.toString() + where);
      }
      values[index] = load<f32>(kept.pointer + i * 4);
      free = index + 1;
    }
  }
}

/**
 * Writes the indices and values that are kept to `place`, which has room for `kth.kept` of each, and gives their number.
 * Few are kept, so sixteen values at a time are compared and mostly passed over.
 */
function pick(values: Floats, kth: KthAbs, place: usize): u32 {
  const threshold = f32x4.splat(kth.threshold);
  const valuesAt = place + ((<usize>kth.kept) << 1);
  let tiesLeft = kth.tiesKept, count: u32 = 0;
  const whole = values.length & ~15;
  for (let start = 0; start < values.length; start += 16) {
    const at = values.pointer + ((<usize>start) << 2);
    if (start < whole) {
      const some = v128.or(reaches(at, threshold), reaches(at + 32, threshold));
      if (!v128.any_true(some)) continue;
    }
    const end = min(start + 16, values.length);
    for (let i = start; i < end; i++) {
      const value = load<f32>(values.pointer + ((<usize>i) << 2));
      const magnitude = abs(value);
      if (!(magnitude >= kth.threshold)) continue;
      if (magnitude == kth.threshold) {
        if (tiesLeft == 0) continue;
        tiesLeft--;
      }
      if (count == kth.kept) return count;
      store<u16>(place + ((<usize>count) << 1), <u16>i);
      store<f32>(valuesAt + ((<usize>count) << 2), value);
      count++;
    }
  }
  return count;
}

/** Which of eight values have at least this magnitude, four masks joined with four. */
// @ts-ignore: decorator
@inline
function reaches(at: usize, threshold: v128): v128 {
  return v128.or(
    f32x4.ge(f32x4.abs(v128.load(at)), threshold),
    f32x4.ge(f32x4.abs(v128.load(at, 16)), threshold),
  );
}

function fitsAFrame(n: i32): bool {
  if (n <= FRAME) return true;
  fail.argument("a frame has at most " + FRAME.toString() + " values, this one " + n.toString());
  return false;
}

plugin((parameters) => [new TopK(parameters)]);
