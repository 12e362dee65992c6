/**
 * FedProx (Li et al., arXiv:1812.06127) with a proximal term that decays: in round t a client minimises
 * F(w) + (μₜ/2)·‖w − wᵗ‖², wᵗ as received, with μₜ = μ·decayᵗ⁻¹.
 * Early rounds hold the clients together, late ones let them train freely.
 */

import { Client, ClientBegin, Parameters, Plan, Term, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class DecayingProx extends Client {
  private readonly mu: f64;
  private readonly decay: f64;

  constructor(parameters: Parameters) {
    super();
    this.mu = parameters.f64("mu");
    this.decay = parameters.f64("decay");
  }

  plan(client: ClientBegin): Plan {
    // AssemblyScript's `Math` is compiled into the plugin, so it gives the same bits on every machine.
    const mu = this.mu * Math.pow(this.decay, <f64>client.round - 1);
    return Plan.withTerms([Term.prox(mu)]);
  }
}

plugin((parameters) => [new DecayingProx(parameters)]);
