/**
 * FedProx, Algorithm 2 of Li et al. (arXiv:1812.06127): client k minimises Fₖ(w) + (μ/2)·‖w − wᵗ‖², wᵗ as received.
 * What becomes of the updates is another plugin's business, so it stacks with any aggregation.
 */

import { Client, ClientBegin, Parameters, Plan, Term, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class FedProx extends Client {
  private readonly mu: f64;

  constructor(parameters: Parameters) {
    super();
    this.mu = parameters.f64("mu");
  }

  plan(client: ClientBegin): Plan {
    return Plan.withTerms([Term.prox(this.mu)]);
  }
}

plugin((parameters) => [new FedProx(parameters)]);
