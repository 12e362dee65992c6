/** Role client: how a client trains, and what it keeps and uploads besides its update. */

import { end_table, op } from "../abi";
import { Block } from "../block";
import { Cohort } from "../cohort";
import { failed, skip } from "../error";
import { Plan } from "../plan";
import { Message } from "../value";
import { Doubles, Floats, Rows } from "../views";
import { Role, require } from "./role";

/** Whom the plan is for. */
export class ClientBegin {
  constructor(
    /** Counted from 1. */
    public readonly round: u64,
    public readonly client: u64,
    public readonly numExamples: u64,
    /** What `roundBegin` replied this round. */
    public readonly broadcast: Message,
  ) {}
}

/** A range of the model after local training. All views are `length` long. */
export class ClientEnd {
  constructor(
    /** Index of the first element. */
    public readonly offset: u64,
    public readonly length: i32,
    /** w_local, where the uploaded phase ended. */
    public readonly local: Floats,
    /** w, as the client received it. */
    public readonly received: Floats,
    /** The manifest's client slots in its order, read and written; then its broadcast server slots, which are not kept. */
    public readonly states: Rows,
    /** The manifest's `vectors` in its order; all of them must be written. */
    public readonly vectors: Rows,
    public readonly numExamples: f64,
    public readonly steps: f64,
    /** Sum of the learning rates of the steps. */
    public readonly lrSum: f64,
    /** Mean loss over the examples seen. */
    public readonly trainLoss: f64,
  ) {}
}

export abstract class Client extends Role {
  /** CLIENT_BEGIN, before a client trains. Must depend on nothing but the instance's parameters and `client`. */
  abstract plan(client: ClientBegin): Plan;

  /**
   * CLIENT_END: new values of the client's slots, and the plugin's own vectors. Asked only of plugins that declare client
   * slots or vectors. Must give the same values however the model is cut into ranges. Default: nothing to do.
   */
  end(end: ClientEnd): void {
    skip();
  }

  /**
   * WEIGH of the plugin's own vector `vector`, counted from 0: what each client's counts in the raw sum Σ aₖ·vₖ that
   * `Step.sums` gives. Default: 1.
   */
  weighVector(vector: i32, cohort: Cohort, weights: Doubles): void {
    weights.fill(1);
  }

  call(operation: u32, message: Message): Message | null {
    if (operation != op.CLIENT_BEGIN) return null;
    const broadcast = message.map("broadcast");
    const client = new ClientBegin(
      message.u64("round"),
      message.u64("client"),
      message.u64("num_examples"),
      broadcast == null ? new Message() : broadcast,
    );
    return failed() ? new Message() : this.plan(client).encode();
  }

  work(operation: u32, block: Block): bool {
    if (operation == op.CLIENT_END) {
      end(this, block);
      return true;
    }
    // Vector 0 is the update, which the aggregate weighs.
    if (operation != op.WEIGH || block.vector == 0) return false;
    if (!require(block.mixLen == block.k, "WEIGH", "k places in `mix_out`")) return true;
    const cohort = Cohort.ofBlock(block);
    if (!failed()) this.weighVector(block.vector - 1, cohort, block.mixView());
    return true;
  }
}

function end(plugin: Client, block: Block): void {
  const complete = block.numRows == 1 && block.base != 0 && block.tableLen >= <u32>end_table.LEN;
  if (!require(complete, "CLIENT_END", "one row, `base` and a `table` of at least 5 values")) return;
  const table = block.tableView();
  plugin.end(
    new ClientEnd(
      block.offset,
      block.n,
      block.firstRow(),
      new Floats(block.base, block.n),
      block.statesView(),
      new Rows(block.rowsOut, block.nRowsOut, block.n),
      table[end_table.NUM_EXAMPLES],
      table[end_table.STEPS],
      table[end_table.LR_SUM],
      table[end_table.TRAIN_LOSS],
    ),
  );
}
