/**
 * Flat clipping of updates, McMahan et al. (arXiv:1710.06963): Δ ← Δ · min(1, S/‖Δ‖), over all parameters.
 * The factor is rounded down, so that the clipped norm never exceeds S; a bound on one client's influence needs that.
 */

import {
  Normalize, Output, Parameters, Piece, ScanPlan, clipFactor, failed, plugin, scale,
} from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class Clip extends Normalize {
  private readonly norm: f64;

  constructor(parameters: Parameters) {
    super();
    this.norm = parameters.f64("norm");
  }

  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none().norm2();
  }

  apply(piece: Piece, header: Output): void {
    const norm = piece.measures.value(0);
    if (failed() || norm <= this.norm) return;
    scale(piece.values, clipFactor(norm, this.norm));
  }
}

plugin((parameters) => [new Clip(parameters)]);
