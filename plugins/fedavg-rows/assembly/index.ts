/**
 * FedAvg, Algorithm 1 of McMahan et al. (arXiv:1602.05629), over rows: Δ = Σ nₖ·Δₖ / Σ nₖ, in `f32`, in the order of the
 * clients. `fedavg` lets the host form the same sum exactly and keeps no rows; this is the plain form to start a rule over
 * rows from, and what a plugin's throughput is measured with.
 */

import { Aggregate, Doubles, Floats, Rows, mean, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class FedAvgRows extends Aggregate {
  reduce(rows: Rows, weights: Doubles | null, out: Floats): void {
    if (weights == null) mean.uniform(rows, out);
    else mean.weighted(rows, weights, out);
  }
}

plugin(() => [new FedAvgRows()]);
