/**
 * Normalised updates: Δ ← S·Δ/‖Δ‖, over all parameters, so that only directions are averaged.
 * Clipping shortens long updates; this also lengthens short ones. A zero update stays zero.
 */

import { Normalize, Output, Parameters, Piece, ScanPlan, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class UnitLength extends Normalize {
  private readonly norm: f64;

  constructor(parameters: Parameters) {
    super();
    this.norm = parameters.f64("norm");
  }

  /** The host measures the whole update before the first piece of it comes. */
  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none().norm2();
  }

  apply(piece: Piece, header: Output): void {
    const norm = piece.measures.value(0);
    if (norm <= 0) return;
    // In `f64`: the factor of a tiny update is more than an `f32` holds, the product is not.
    const factor = f64x2.splat(this.norm / norm);
    for (let i = 0; i < piece.values.length; i += 4) {
      const values = piece.values.lanes(i);
      const low = f32x4.demote_f64x2_zero(f64x2.mul(f64x2.promote_low_f32x4(values), factor));
      const upper = v128.shuffle<f32>(values, values, 2, 3, 2, 3);
      const high = f32x4.demote_f64x2_zero(f64x2.mul(f64x2.promote_low_f32x4(upper), factor));
      piece.values.setLanes(i, v128.shuffle<f32>(low, high, 0, 1, 4, 5));
    }
  }
}

plugin((parameters) => [new UnitLength(parameters)]);
