/**
 * FedAdagrad, Algorithm 2 of Reddi et al. (arXiv:2003.00295) with β₁ = 0, and Δ the aggregate update:
 * v ← v + Δ², w ← w + η·Δ/(√v + τ). The host keeps v (`state` in the manifest).
 */

import { Parameters, ServerStep, Step, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class FedAdagrad extends ServerStep {
  private readonly eta: f32;
  private readonly tau: f32;

  constructor(parameters: Parameters) {
    super();
    this.eta = parameters.f32("server-learning-rate");
    this.tau = parameters.f32("tau");
  }

  /** Four elements at a time. */
  step(step: Step): void {
    const eta = f32x4.splat(this.eta), tau = f32x4.splat(this.tau), states = step.states[0];
    for (let i = 0; i < step.length; i += 4) {
      const delta = step.update.lanes(i);
      const v = f32x4.add(states.lanes(i), f32x4.mul(delta, delta));
      const move = f32x4.div(f32x4.mul(eta, delta), f32x4.add(f32x4.sqrt(v), tau));
      states.setLanes(i, v);
      step.newWeights.setLanes(i, f32x4.add(step.weights.lanes(i), move));
    }
  }
}

plugin((parameters) => [new FedAdagrad(parameters)]);
