/**
 * Coordinate-wise winsorised mean: of K values, the ⌊βK⌋ smallest become the next larger one and the ⌊βK⌋ largest the next
 * smaller one, then all are averaged, unweighted. A few hostile clients cannot move it far, and honest outliers still count.
 */

import {
  Aggregate, Doubles, Floats, Parameters, Rows, Sorted, SortedRule, plugin, reduceSorted,
} from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class WinsorisedMean extends Aggregate {
  private readonly beta: f64;

  constructor(parameters: Parameters) {
    super();
    this.beta = parameters.f64("beta");
  }

  reduce(rows: Rows, weights: Doubles | null, out: Floats): void {
    const k = rows.count;
    // The small addend undoes the binary rounding of products like 0.29·100.
    const cut = min(<i32>(this.beta * <f64>k + 1e-9), (k - 1) / 2);
    reduceSorted(rows, out, new Mean(cut));
  }
}

/** Of four coordinates at once; `sorted.at(i)` holds the i-th smallest value of each. */
class Mean extends SortedRule {
  constructor(private readonly cut: i32) {
    super();
  }

  lanes(sorted: Sorted): v128 {
    const last = sorted.count - 1 - this.cut;
    let sum = f32x4.splat(0);
    for (let i = 0; i < sorted.count; i++) sum = f32x4.add(sum, sorted.at(min(max(i, this.cut), last)));
    return f32x4.div(sum, f32x4.splat(<f32>sorted.count));
  }
}

plugin((parameters) => [new WinsorisedMean(parameters)]);
