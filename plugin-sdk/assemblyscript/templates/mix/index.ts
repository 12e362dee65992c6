/**
 * Pairing: each update moves towards the one nearest to it, u ← (1 − share)·u + share·nearest(u), so that the rule behind it
 * sees updates that differ less.
 */

import { Decision, Gram, Mix, Parameters, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class Pairing extends Mix {
  private readonly share: f64;

  constructor(parameters: Parameters) {
    super();
    this.share = parameters.f64("share");
  }

  /** The host knows all distances; the answer is a row of coefficients for each new update. */
  decide(gram: Gram, decision: Decision): void {
    for (let i = 0; i < gram.rows; i++) {
      let nearest = -1;
      // The first of equals.
      for (let j = 0; j < gram.rows; j++) {
        if (j != i && (nearest < 0 || gram.dist2(i, j) < gram.dist2(i, nearest))) nearest = j;
      }
      const coefficients = decision.row(i);
      coefficients[i] = 1;
      if (nearest >= 0) {
        coefficients[i] = 1 - this.share;
        coefficients[nearest] = this.share;
      }
    }
  }
}

plugin((parameters) => [new Pairing(parameters)]);
