/**
 * Means of rows: 32 columns in eight registers and the loop over the rows inside, the shape that streams at memory speed.
 *
 * Every element is summed from zero in the order of the rows, in `f32` without fused multiply-add, as the Rust SDK does:
 * the results are equal bit for bit, and do not depend on where a vector is cut.
 */

import { fail } from "../error";
import { Doubles, Floats, Rows } from "../views";

const LANES: i32 = 32;

export namespace mean {
  /**
   * `out[i] = (x₁[i] + x₂[i] + …) / K`, summed in the order of the rows, in `f64` where the sum leaves the range of `f32`.
   * At least one row.
   */
  export function uniform(rows: Rows, out: Floats): void {
    const count = f32x4.splat(<f32>rows.count);
    const whole = out.length - (out.length % LANES);
    for (let i = 0; i < whole; i += LANES) {
      let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
      for (let row = 0; row < rows.count; row++) {
        const at = column(rows, row, i);
        a = f32x4.add(a, v128.load(at, 0));
        b = f32x4.add(b, v128.load(at, 16));
        c = f32x4.add(c, v128.load(at, 32));
        d = f32x4.add(d, v128.load(at, 48));
        e = f32x4.add(e, v128.load(at, 64));
        f = f32x4.add(f, v128.load(at, 80));
        g = f32x4.add(g, v128.load(at, 96));
        h = f32x4.add(h, v128.load(at, 112));
      }
      const to = out.pointer + ((<usize>i) << 2);
      v128.store(to, f32x4.div(a, count), 0);
      v128.store(to, f32x4.div(b, count), 16);
      v128.store(to, f32x4.div(c, count), 32);
      v128.store(to, f32x4.div(d, count), 48);
      v128.store(to, f32x4.div(e, count), 64);
      v128.store(to, f32x4.div(f, count), 80);
      v128.store(to, f32x4.div(g, count), 96);
      v128.store(to, f32x4.div(h, count), 112);
    }
    for (let i = whole; i < out.length; i += 4) {
      let sum = f32x4.splat(0);
      for (let row = 0; row < rows.count; row++) sum = f32x4.add(sum, rows[row].lanes(i));
      out.setLanes(i, f32x4.div(sum, count));
    }
    for (let i = 0; i < out.length; i += 4) {
      // x − x is 0 but for infinities and NaN.
      const lanes = out.lanes(i);
      if (!v128.any_true(f32x4.ne(f32x4.sub(lanes, lanes), f32x4.splat(0)))) continue;
      for (let j = i; j < min(i + 4, out.length); j++) {
        if (!isFinite(out[j])) out[j] = wide(rows, j);
      }
    }
  }

  /** The mean of column `i` in `f64`, rounded to `f32`: for sums beyond `f32`. */
  function wide(rows: Rows, i: i32): f32 {
    let sum: f64 = 0;
    for (let row = 0; row < rows.count; row++) sum += <f64>rows[row][i];
    return <f32>(sum / <f64>rows.count);
  }

  /**
   * `out[i] = Σₖ cₖ·xₖ[i]` with `cₖ = wₖ / Σw` rounded to `f32`, summed in the order of the rows.
   *
   * Shapes: as many weights as rows. Fails with E_NUMERIC if Σw is not positive and finite.
   */
  export function weighted(rows: Rows, weights: Doubles, out: Floats): void {
    assert(rows.count == weights.length, "one weight per row");
    let sum: f64 = 0;
    for (let row = 0; row < rows.count; row++) sum += weights[row];
    if (!(sum > 0 && isFinite(sum))) {
      return fail.numeric("the weights of the rows sum to " + sum.toString() + ", which nothing can be divided by");
    }
    const shares = new StaticArray<f32>(rows.count);
    for (let row = 0; row < rows.count; row++) shares[row] = <f32>(weights[row] / sum);
    sums(rows, shares, out);
  }

  /** `out[i] = Σₖ cₖ·xₖ[i]`, summed in the order of the rows. */
  export function sums(rows: Rows, factors: StaticArray<f32>, out: Floats): void {
    const whole = out.length - (out.length % LANES);
    const first = changetype<usize>(factors);
    for (let i = 0; i < whole; i += LANES) {
      let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
      for (let row = 0; row < rows.count; row++) {
        const at = column(rows, row, i);
        const factor = v128.load_splat<f32>(first + ((<usize>row) << 2));
        a = f32x4.add(a, f32x4.mul(factor, v128.load(at, 0)));
        b = f32x4.add(b, f32x4.mul(factor, v128.load(at, 16)));
        c = f32x4.add(c, f32x4.mul(factor, v128.load(at, 32)));
        d = f32x4.add(d, f32x4.mul(factor, v128.load(at, 48)));
        e = f32x4.add(e, f32x4.mul(factor, v128.load(at, 64)));
        f = f32x4.add(f, f32x4.mul(factor, v128.load(at, 80)));
        g = f32x4.add(g, f32x4.mul(factor, v128.load(at, 96)));
        h = f32x4.add(h, f32x4.mul(factor, v128.load(at, 112)));
      }
      const to = out.pointer + ((<usize>i) << 2);
      v128.store(to, a, 0);
      v128.store(to, b, 16);
      v128.store(to, c, 32);
      v128.store(to, d, 48);
      v128.store(to, e, 64);
      v128.store(to, f, 80);
      v128.store(to, g, 96);
      v128.store(to, h, 112);
    }
    for (let i = whole; i < out.length; i += 4) {
      let sum = f32x4.splat(0);
      for (let row = 0; row < rows.count; row++) {
        sum = f32x4.add(sum, f32x4.mul(f32x4.splat(factors[row]), rows[row].lanes(i)));
      }
      out.setLanes(i, sum);
    }
  }
}

/** Where column `i` of a row lies. */
// @ts-ignore: decorator
@inline
function column(rows: Rows, row: i32, i: i32): usize {
  return rows.start(row) + ((<usize>i) << 2);
}
