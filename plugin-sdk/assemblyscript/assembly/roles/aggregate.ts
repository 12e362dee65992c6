/**
 * Role aggregate: how the cohort's updates become one.
 *
 * Over sums (manifest `reduce` = `sum-before`) the plugin only weighs: the host forms Σ aₖ·uₖ exactly and divides by the
 * denominator. Over rows (`rows`) the plugin reduces ranges of all updates itself.
 */

import { op, table } from "../abi";
import { Block } from "../block";
import { fail, failed } from "../error";
import { Message } from "../value";
import { Doubles, Floats, Rows } from "../views";
import { Role, require } from "./role";

/** The clients of a round, in the order of their ids. */
export class Cohort {
  constructor(
    private readonly rows: Doubles,
    /** Columns of a row; later minor versions append some. */
    private readonly columns: i32,
    public readonly length: i32,
  ) {}

  numExamples(client: i32): f64 {
    return this.rows[client * this.columns + table.NUM_EXAMPLES];
  }

  /** Local steps that the client's plan holds. */
  steps(client: i32): f64 {
    return this.rows[client * this.columns + table.STEPS];
  }

  /** Sum of the learning rates of these steps. */
  lrSum(client: i32): f64 {
    return this.rows[client * this.columns + table.LR_SUM];
  }

  /** Rounds since the weights that the client trained from; 0 in synchronous rounds. */
  staleness(client: i32): f64 {
    return this.rows[client * this.columns + table.STALENESS];
  }
}

/** What DENOMINATOR tells after the last client. */
export class Sums {
  constructor(
    /** Σ aₖ over the accepted clients. */
    public readonly weightSum: f64,
    /** Clients whose updates are in the sum. */
    public readonly accepted: u64,
    /** Clients that were asked to train. */
    public readonly cohort: u64,
  ) {}
}

export abstract class Aggregate extends Role {
  /** WEIGH: fills one weight aₖ ≥ 0 per client. Default: the number of examples. */
  weigh(cohort: Cohort, weights: Doubles): void {
    for (let client = 0; client < cohort.length; client++) weights[client] = cohort.numExamples(client);
  }

  /** DENOMINATOR: what the weighted sum is divided by. Default: Σ aₖ. */
  denominator(sums: Sums): f64 {
    return sums.weightSum;
  }

  /**
   * REDUCE: one range of all updates to one range of the aggregate; `rows` has at least one row, each as long as `out`.
   * `weights`, one per row, are the host's (numbers of examples); an unweighted rule ignores them. A coordinate-wise rule
   * must give the same values however the vector is cut into ranges.
   */
  reduce(rows: Rows, weights: Doubles | null, out: Floats): void {
    fail.unsupported("this plugin aggregates over sums, not over rows");
  }

  call(operation: u32, message: Message): Message | null {
    if (operation != op.DENOMINATOR) return null;
    const sums = new Sums(message.f64("weight_sum"), message.u64("accepted"), message.u64("cohort"));
    return failed() ? new Message() : new Message().withF64("denominator", this.denominator(sums));
  }

  work(operation: u32, block: Block): bool {
    if (operation == op.WEIGH) {
      weigh(this, block);
      return true;
    }
    if (operation == op.REDUCE) {
      reduce(this, block);
      return true;
    }
    return false;
  }
}

function weigh(plugin: Aggregate, block: Block): void {
  if (!require(block.mixLen == block.k, "WEIGH", "k places in `mix_out`")) return;
  const columns = block.k == 0 ? <u32>table.COLUMNS : block.tableLen / block.k;
  const whole = <u64>columns * block.k == <u64>block.tableLen && columns >= <u32>table.COLUMNS;
  if (!require(whole, "WEIGH", "a `table` of k rows with at least 4 columns")) return;
  plugin.weigh(new Cohort(block.tableView(), columns, block.k), new Doubles(block.mixOut, block.mixLen));
}

function reduce(plugin: Aggregate, block: Block): void {
  if (!require(block.numRows > 0, "REDUCE", "at least one row")) return;
  if (!require(block.out != 0, "REDUCE", "`out`")) return;
  const weights: Doubles | null = block.weights == 0 ? null : new Doubles(block.weights, block.k);
  plugin.reduce(block.rowsView(), weights, block.outView());
}
