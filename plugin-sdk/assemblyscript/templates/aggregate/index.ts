/**
 * Weighted mean with capped weights, aₖ = min(nₖ/cap, 1) (McMahan et al., arXiv:1710.06963): a client with very many
 * examples cannot dominate. The host forms Σ aₖ·Δₖ / Σ aₖ exactly.
 */

import { Aggregate, Cohort, Doubles, Parameters, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class CappedMean extends Aggregate {
  private readonly cap: f64;

  constructor(parameters: Parameters) {
    super();
    this.cap = parameters.f64("cap");
  }

  weigh(cohort: Cohort, weights: Doubles): void {
    for (let client = 0; client < cohort.length; client++) {
      weights[client] = min(cohort.numExamples(client) / this.cap, 1);
    }
  }
}

plugin((parameters) => [new CappedMean(parameters)]);
