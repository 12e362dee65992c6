/** The clients of a round as a table: what is known of each, before and after training. In the order of client ids. */

import { table } from "./abi";
import { Block } from "./block";
import { require } from "./roles/role";
import { Message } from "./value";
import { Doubles } from "./views";

export class Cohort {
  private constructor(
    private readonly table: Doubles,
    /** Columns of a row; later minor versions append some. */
    private readonly columns: i32,
  ) {}

  /** Clients. */
  get length(): i32 {
    return this.table.length / this.columns;
  }

  /** Whether the clients have trained, so that the last three columns are known. */
  get isTrained(): bool {
    return this.columns >= table.COLUMNS_AFTER;
  }

  numExamples(client: i32): f64 {
    return this.table[client * this.columns + table.NUM_EXAMPLES];
  }

  /** Local steps that the client's plan holds. */
  steps(client: i32): f64 {
    return this.table[client * this.columns + table.STEPS];
  }

  /** Sum of the learning rates of these steps. */
  lrSum(client: i32): f64 {
    return this.table[client * this.columns + table.LR_SUM];
  }

  /** Rounds since the weights that the client trained from; 0 in synchronous rounds. */
  staleness(client: i32): f64 {
    return this.table[client * this.columns + table.STALENESS];
  }

  /** Mean loss over the examples seen. Known after training only; so are the next two. */
  trainLoss(client: i32): f64 {
    return this.trained(client, table.TRAIN_LOSS);
  }

  /** Mean loss of the received weights on the client's examples; 0 unless the manifest `needs` `loss-before`. */
  lossBefore(client: i32): f64 {
    return this.trained(client, table.LOSS_BEFORE);
  }

  /** ‖Δₖ‖² of the update as received; 0 unless the manifest `needs` `update-norm2`. */
  updateNorm2(client: i32): f64 {
    return this.trained(client, table.UPDATE_NORM2);
  }

  private trained(client: i32, column: i32): f64 {
    if (!this.isTrained) throw new Error("before training there is no such column");
    return this.table[client * this.columns + column];
  }

  /** The table of WEIGH. Fails with E_ARG if it has no whole rows; then there are no clients. */
  static ofBlock(block: Block): Cohort {
    const columns = block.k == 0 ? <u32>table.COLUMNS : block.tableLen / block.k;
    const whole = <u64>columns * block.k == <u64>block.tableLen && columns >= <u32>table.COLUMNS;
    if (!require(whole, "WEIGH", "a `table` of k rows with at least 4 columns")) return Cohort.empty();
    return new Cohort(block.tableView(), columns);
  }

  /** `{columns, table}` of a message; no clients where it has no table. Fails as `ofBlock`. */
  static ofMessage(message: Message): Cohort {
    if (!message.has("table")) return Cohort.empty();
    const rows = message.f64s("table");
    const columns = message.u64("columns");
    const whole = columns >= <u64>table.COLUMNS && columns <= <u64>i32.MAX_VALUE && <u64>rows.length % columns == 0;
    if (!require(whole, "the message", "a `table` of whole rows with at least 4 `columns`")) return Cohort.empty();
    return new Cohort(Doubles.of(rows), <i32>columns);
  }

  private static empty(): Cohort {
    return new Cohort(new Doubles(0, 0), table.COLUMNS);
  }
}
