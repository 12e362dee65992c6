/**
 * Free riders: a client that did no work sends share · the mean of the honest updates. It slows the training down without
 * standing out.
 */

import { Attack, Attacked, Parameters, mean, plugin, scale } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class FreeRider extends Attack {
  private readonly share: f32;

  constructor(parameters: Parameters) {
    super();
    this.share = parameters.f32("share");
  }

  /** One range of the updates: all of `sent` must be written. */
  attack(attacked: Attacked): void {
    // A cohort may have no honest client.
    if (attacked.honest.count == 0) return attacked.sent.clear();
    mean.uniform(attacked.honest, attacked.sent);
    scale(attacked.sent, this.share);
  }
}

plugin((parameters) => [new FreeRider(parameters)]);
