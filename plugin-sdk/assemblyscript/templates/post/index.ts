/**
 * A bounded round: the aggregate Δ ← Δ·min(1, S/‖Δ‖), over all parameters, before the server step. Whatever the cohort sent,
 * no round moves the weights further than S.
 */

import { Parameters, Piece, Post, ScanPlan, clipFactor, failed, plugin, scale } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class BoundedRound extends Post {
  private readonly norm: f64;

  constructor(parameters: Parameters) {
    super();
    this.norm = parameters.f64("norm");
  }

  /** The host measures the whole aggregate before the first piece of it comes. */
  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none().norm2();
  }

  apply(piece: Piece): void {
    const factor = clipFactor(piece.measures.value(0), this.norm);
    if (!failed()) scale(piece.values, factor);
  }
}

plugin((parameters) => [new BoundedRound(parameters)]);
