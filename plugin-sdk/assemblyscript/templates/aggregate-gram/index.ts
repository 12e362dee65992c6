/**
 * Medoid: of all updates the one whose distances to the others have the smallest sum. It is one of the updates, bit for bit,
 * and a few hostile clients cannot choose it.
 */

import { Aggregate, Decision, Gram, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class Medoid extends Aggregate {
  /** The host knows all distances; the answer is one coefficient for each update. */
  decide(gram: Gram, decision: Decision): void {
    let best = 0, smallest: f64 = Infinity;
    for (let i = 0; i < gram.rows; i++) {
      let sum: f64 = 0;
      for (let j = 0; j < gram.rows; j++) sum += sqrt(gram.dist2(i, j));
      // The first of equals.
      if (sum < smallest) {
        best = i;
        smallest = sum;
      }
    }
    decision.row(0)[best] = 1;
  }
}

plugin(() => [new Medoid()]);
