/**
 * What mix and aggregate have in common: from inner products of the rows to coefficients of new ones.
 *
 * Distances and dot products come from the host as a Gram matrix, so a rule costs K², whatever the size of the model; it
 * answers with coefficients, and the host forms the rows.
 */

import { Block } from "../block";
import { Message, Value } from "../value";
import { Doubles } from "../views";
import { require } from "./role";

/** Rows that the host adds behind the clients' rows. */
export namespace extraRow {
  /** The update of the server's own client, trained on root data. */
  export const ROOT: string = "root";
  /** The aggregate of the round before; zeros in the first. */
  export const PREVIOUS: string = "previous";
  /** Zeros: with it `Gram.dot` and `Gram.norm2` are known. */
  export const ZERO: string = "zero";
}

/** The reply to DECIDE_PLAN. */
export class DecisionPlan {
  private readonly extra: Value[] = [];

  private constructor(private readonly rowsOut: u64) {}

  /** DECIDE makes `rowsOut` rows, at least 1. */
  static rows(rowsOut: u64): DecisionPlan {
    return new DecisionPlan(rowsOut);
  }

  /** Also shows a row of `extraRow` to DECIDE, behind those asked for before. */
  with(row: string): DecisionPlan {
    this.extra.push(Value.ofText(row));
    return this;
  }

  /** `{rows_out, extra}`. */
  encode(): Message {
    return new Message().withI64("rows_out", <i64>this.rowsOut).with("extra", Value.ofList(this.extra));
  }
}

/**
 * Inner products of the rows, each minus a common origin that the host chooses. Rows 0 to K − 1 are the clients', extra rows
 * follow.
 */
export class Gram {
  constructor(
    private readonly table: Doubles,
    /** All rows, extra rows included. */
    public readonly rows: i32,
    /** Numbers of examples behind the rows; 0 for extra rows. */
    public readonly examples: Doubles,
  ) {}

  /**
   * Inner product of rows `i` and `j`, each minus the common origin. Of sums of rows whose coefficients add up to 0 it tells
   * norms and inner products, whatever the origin.
   */
  product(i: i32, j: i32): f64 {
    return this.table[i * this.rows + j];
  }

  /** Squared Euclidean distance of rows `i` and `j`, at least 0. */
  dist2(i: i32, j: i32): f64 {
    const dist2 = this.product(i, i) + this.product(j, j) - 2.0 * this.product(i, j);
    return dist2 > 0 ? dist2 : 0;
  }

  /** Squared Euclidean norm of row `i`, where row `zero` is the extra row of zeros. */
  norm2(i: i32, zero: i32): f64 {
    return this.dist2(i, zero);
  }

  /** Inner product of rows `i` and `j`, where row `zero` is the extra row of zeros. */
  dot(i: i32, j: i32, zero: i32): f64 {
    return this.product(i, j) - this.product(i, zero) - this.product(j, zero) + this.product(zero, zero);
  }
}

/**
 * The mixing matrix, zero at first: row r of the result is Σⱼ `row(r)[j]`·(row j). A row with a single coefficient of
 * exactly 1 is copied bit for bit.
 */
export class Decision {
  /** Of the last row asked for, so that `row(r)[j]` in a loop does not allocate. */
  private view: Doubles | null = null;
  private viewed: i32 = -1;

  constructor(
    private readonly coefficients: Doubles,
    private readonly rows: i32,
  ) {}

  /** Rows that come out. */
  get rowsOut(): i32 {
    return this.coefficients.length / this.rows;
  }

  /** Coefficients of result `r`, one for each row that DECIDE sees. */
  row(r: i32): Doubles {
    if (<u32>r >= <u32>this.rowsOut) throw new RangeError("there is no such row of the result");
    const view = this.view;
    if (view != null && this.viewed == r) return view;
    const made = new Doubles(this.coefficients.pointer + ((<usize>(r * this.rows)) << 3), this.rows);
    this.view = made;
    this.viewed = r;
    return made;
  }
}

/** The Gram matrix of a DECIDE block; null, having failed with E_ARG, if the block is not whole. For the roles. */
export function gramOf(block: Block): Gram | null {
  const rows = block.k;
  const square = rows > 0 && <u64>rows * rows == <u64>block.tableLen;
  if (!require(square, "DECIDE", "at least one row and a `table` of k·k values")) return null;
  if (!require(block.mixLen > 0 && block.mixLen % rows == 0, "DECIDE", "`mix_out` of rows of k values")) return null;
  if (!require(block.weights != 0, "DECIDE", "`weights`")) return null;
  return new Gram(block.tableView(), rows, new Doubles(block.weights, rows));
}

/** The mixing matrix of the same block, cleared. */
export function decisionOf(block: Block): Decision {
  const coefficients = block.mixView();
  coefficients.fill(0);
  return new Decision(coefficients, block.k);
}
