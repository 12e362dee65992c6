/**
 * What a stage lets the host measure on the whole vector, and the answers.
 *
 * The host measures exactly and in a fixed order; the values stand in `table` of every APPLY or ENCODE of the vector, in
 * the order asked.
 */

import { fail } from "./error";
import { Doubles } from "./views";
import { Message, Value } from "./value";

/** The measures that a stage wants, in order. */
export class ScanPlan {
  private readonly measures: Value[] = [];
  private k: i64 = -1;
  private pieces: bool = false;
  private own: u32 = 0;

  private constructor() {}

  static none(): ScanPlan {
    return new ScanPlan();
  }

  /** Adds the Euclidean norm: one value. */
  norm2(): ScanPlan {
    return this.add("norm2");
  }

  /** Adds the largest magnitude: one value. */
  normInf(): ScanPlan {
    return this.add("norm_inf");
  }

  /** Adds the sum of the elements: one value. */
  sum(): ScanPlan {
    return this.add("sum");
  }

  /** Adds the `k`-th largest magnitude: three values, see `KthAbs`. At most one `k` per plan; the last one counts. */
  kthAbs(k: u64): ScanPlan {
    this.k = <i64>k;
    return this.add("kth_abs");
  }

  /** Measures each piece by itself instead of the whole vector; `kthAbs` then counts within the piece. */
  ofPieces(): ScanPlan {
    this.pieces = true;
    return this;
  }

  /**
   * Adds the stage's own scan: its `scanFrame` sees the vector frame by frame and carries `values` numbers, at most 4096,
   * which stand in `Measures` behind the host's.
   */
  withOwn(values: u32): ScanPlan {
    this.own = values;
    return this;
  }

  /** `{measures: [..], k, of, scan}`; all but the first are left out where nothing needs them. */
  encode(): Message {
    const message = new Message().with("measures", Value.ofList(this.measures));
    if (this.k >= 0) message.withI64("k", this.k);
    if (this.pieces) message.withText("of", "piece");
    if (this.own > 0) message.withI64("scan", this.own);
    return message;
  }

  private add(name: string): ScanPlan {
    this.measures.push(Value.ofText(name));
    return this;
  }
}

/** The answer to `ScanPlan.kthAbs`. */
export class KthAbs {
  constructor(
    /** The `k`-th largest magnitude of the whole vector. */
    public readonly threshold: f32,
    /** How many elements of this piece with exactly this magnitude are kept: the first ones. */
    public readonly tiesKept: u32,
    /** How many elements of this piece are kept in all. */
    public readonly kept: u32,
  ) {}
}

/** The values of the measures, one after another in the order asked. */
export class Measures {
  constructor(private readonly values: Doubles) {}

  /** The value at position `at`. Fails with E_ARG if it is absent, with E_NUMERIC if it is not finite; then it is 0. */
  value(at: i32): f64 {
    if (at >= this.values.length) {
      const asked = (at + 1).toString();
      fail.argument("`table` holds " + this.values.length.toString() + " values, the plan asked for " + asked + " or more");
      return 0;
    }
    const value = this.values[at];
    if (isFinite(value)) return value;
    fail.numeric("measure " + at.toString() + " of the vector is " + (isNaN(value) ? "not a number" : "infinite"));
    return 0;
  }

  /** The three values from position `at` on. */
  kthAbs(at: i32): KthAbs {
    return new KthAbs(<f32>this.value(at), <u32>this.value(at + 1), <u32>this.value(at + 2));
  }
}
