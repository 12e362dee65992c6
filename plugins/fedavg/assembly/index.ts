/** FedAvg, Algorithm 1 of McMahan et al. (arXiv:1602.05629): Δ = Σ nₖ·Δₖ / Σ nₖ. The host forms the sum exactly. */

import { Aggregate, Cohort, Doubles, Parameters, Sums, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class FedAvg extends Aggregate {
  private readonly uniform: bool;
  private readonly fixed: f64;

  constructor(parameters: Parameters) {
    super();
    this.uniform = parameters.choice("weights") == "uniform";
    this.fixed = parameters.f64("denominator");
  }

  weigh(cohort: Cohort, weights: Doubles): void {
    for (let client = 0; client < cohort.length; client++) {
      weights[client] = this.uniform ? 1 : cohort.numExamples(client);
    }
  }

  denominator(sums: Sums): f64 {
    return this.fixed > 0 ? this.fixed : sums.weightSum;
  }
}

plugin((parameters) => [new FedAvg(parameters)]);
