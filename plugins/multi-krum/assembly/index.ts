/**
 * Krum and Multi-Krum of Blanchard et al. (NeurIPS 2017, arXiv:1703.02757). Among n updates of which f may be hostile, the
 * score of update i is the sum of its squared distances to the n − f − 2 others nearest to it (the Krum function of the
 * paper's section 4). Multi-Krum averages the m updates with the lowest scores; m = 1 is Krum.
 *
 * The order of every sum is that which the Rust twin beside it states: distances ascending, examples by index.
 */

import { Aggregate, Decision, Gram, Parameters, fail, failed, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class MultiKrum extends Aggregate {
  private readonly f: i32;
  /** 0: n − f. */
  private readonly m: i32;
  private readonly byExamples: bool;
  /** Updates that are no neighbours besides the f farthest: the update itself, and in the paper one more. */
  private readonly spared: i32;

  constructor(parameters: Parameters) {
    super();
    this.f = count(parameters, "f");
    this.m = count(parameters, "m");
    this.byExamples = parameters.choice("weights") == "num-examples";
    this.spared = parameters.choice("neighbours") == "n-f-2" ? 2 : 1;
  }

  decide(gram: Gram, decision: Decision): void {
    const n = gram.rows, f = this.f;
    if (n < 2 * f + 3) {
      const advice = n < 3 ? "use larger cohorts" : "use `f` of at most " + ((n - 3) / 2).toString();
      const needed = "`f = " + f.toString() + "` needs at least 2f + 3 = " + (2 * f + 3).toString();
      return fail.argument(n.toString() + " updates, and " + needed + "; " + advice);
    }
    const m = this.m > 0 ? this.m : n - f;
    if (m > n) {
      const problem = "`m = " + m.toString() + "`, and there are " + n.toString() + " updates";
      return fail.argument(problem + "; use at most as many, or 0");
    }
    const scores = new StaticArray<f64>(n);
    const distances = new StaticArray<f64>(n - 1);
    for (let i = 0; i < n; i++) scores[i] = score(gram, i, n - f - this.spared, distances);
    const isSelected = lowest(scores, m);
    const coefficients = decision.row(0);
    let total: f64 = 0;
    for (let i = 0; i < n; i++) if (isSelected[i]) total += this.byExamples ? gram.examples[i] : 1;
    if (total <= 0) {
      const where = "the selected updates stand for no examples (behind a mix none do)";
      return fail.numeric(where + "; use `weights = \"uniform\"`");
    }
    for (let i = 0; i < n; i++) if (isSelected[i]) coefficients[i] = (this.byExamples ? gram.examples[i] : 1) / total;
  }
}

function count(parameters: Parameters, name: string): i32 {
  const value = parameters.i64(name);
  // The manifest's bounds are narrower; twice the number must fit as well.
  if (!failed() && (value < 0 || value > 1_000_000_000)) {
    fail.config("`" + name + "` is " + value.toString() + "; use 0 or more");
  }
  return <i32>value;
}

/**
 * Sum of the `neighbours` smallest squared distances of row `i` to others, added in ascending order. `distances` is room for
 * all of them: what a call allocates is collected only after it.
 */
function score(gram: Gram, i: i32, neighbours: i32, distances: StaticArray<f64>): f64 {
  for (let j = 0, at = 0; j < gram.rows; j++) if (j != i) distances[at++] = gram.dist2(i, j);
  distances.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  let sum: f64 = 0;
  for (let rank = 0; rank < neighbours; rank++) sum += distances[rank];
  return sum;
}

/** For each index, whether its score is among the `m` lowest; ties go to the lower index. */
function lowest(scores: StaticArray<f64>, m: i32): StaticArray<bool> {
  const isSelected = new StaticArray<bool>(scores.length);
  for (let chosen = 0; chosen < m; chosen++) {
    let best = -1;
    for (let i = 0; i < scores.length; i++) if (!isSelected[i] && (best < 0 || scores[i] < scores[best])) best = i;
    isSelected[best] = true;
  }
  return isSelected;
}

plugin((parameters) => [new MultiKrum(parameters)]);
