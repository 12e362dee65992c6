/** Factors on whole vectors. */

import { Floats } from "../views";

/** `values[i] *= factor`. */
export function scale(values: Floats, factor: f32): void {
  const factors = f32x4.splat(factor);
  const whole = values.length & ~15;
  for (let i = 0; i < whole; i += 16) {
    const at = values.pointer + ((<usize>i) << 2);
    v128.store(at, f32x4.mul(v128.load(at), factors));
    v128.store(at, f32x4.mul(v128.load(at, 16), factors), 16);
    v128.store(at, f32x4.mul(v128.load(at, 32), factors), 32);
    v128.store(at, f32x4.mul(v128.load(at, 48), factors), 48);
  }
  for (let i = whole; i < values.length; i += 4) values.setLanes(i, f32x4.mul(values.lanes(i), factors));
}

/**
 * The largest factor, at most 1, that brings a vector of Euclidean norm `norm` to a norm of at most `bound`.
 *
 * Below 1 it is taken 2^-22 smaller than `bound / norm`, so that the rounding of the factor and of each product cannot
 * lift the result above `bound`: sensitivity bounds rely on this.
 */
export function clipFactor(norm: f64, bound: f64): f32 {
  if (norm <= bound) return 1;
  return <f32>(bound / norm * (1.0 - 1.0 / 4_194_304.0));
}
