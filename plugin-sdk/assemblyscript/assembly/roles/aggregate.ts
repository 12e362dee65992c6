/**
 * Role aggregate: how the cohort's updates become one.
 *
 * Over sums (manifest `reduce` = `sum-before` or `sum-after`) the plugin only weighs: the host forms Σ aₖ·uₖ exactly and
 * divides by the denominator. By distances (`gram`) it decides on coefficients. Over rows (`rows`) it reduces ranges of all
 * updates itself.
 */

import { op } from "../abi";
import { Block } from "../block";
import { Cohort } from "../cohort";
import { fail, failed } from "../error";
import { Message } from "../value";
import { Doubles, Floats, Rows } from "../views";
import { Decision, DecisionPlan, Gram, decisionOf, gramOf } from "./decide";
import { Role, require } from "./role";

/** What DENOMINATOR tells after the last client. */
export class Sums {
  /** Σ aₖ over the accepted clients. */
  readonly weightSum: f64;
  /** Clients whose updates are in the sum. */
  readonly accepted: u64;
  /** Clients that were asked to train. */
  readonly cohort: u64;
  /** Clients in the federation, N. */
  readonly numClients: u64;
  /** Clients in a cohort on average: qN for Poisson cohorts. */
  readonly expectedCohort: f64;
  /** The accepted clients. */
  readonly clients: Cohort;
  /** Their weights aₖ. */
  readonly weights: StaticArray<f64>;

  constructor(message: Message) {
    this.weightSum = message.f64("weight_sum");
    this.accepted = message.u64("accepted");
    this.cohort = message.u64("cohort");
    this.numClients = message.u64("num_clients");
    this.expectedCohort = message.f64("expected_cohort");
    this.clients = Cohort.ofMessage(message);
    this.weights = message.f64s("weights");
  }
}

export abstract class Aggregate extends Role {
  /**
   * WEIGH: fills one weight aₖ ≥ 0 per client. Default: the number of examples. With `sum-after` it is asked after training.
   */
  weigh(cohort: Cohort, weights: Doubles): void {
    for (let client = 0; client < cohort.length; client++) weights[client] = cohort.numExamples(client);
  }

  /** DENOMINATOR: what the weighted sum is divided by. Default: Σ aₖ. */
  denominator(sums: Sums): f64 {
    return sums.weightSum;
  }

  /**
   * DECIDE_PLAN: how many rows come out of DECIDE for `clients` rows, and which extra rows it wants to see. Default: one row,
   * the aggregate, and no extra rows.
   */
  decision(clients: u64): DecisionPlan {
    return DecisionPlan.rows(1);
  }

  /** DECIDE: from distances between the updates to the coefficients of the result, or of the rows for `reduce`. */
  decide(gram: Gram, decision: Decision): void {
    fail.unsupported("this plugin does not aggregate by distances");
  }

  /**
   * REDUCE: one range of all updates to one range of the aggregate; `rows` has at least one row, each as long as `out`.
   * `weights`, one per row, are the host's (numbers of examples); an unweighted rule ignores them. A coordinate-wise rule
   * must give the same values however the vector is cut into ranges.
   */
  reduce(rows: Rows, weights: Doubles | null, out: Floats): void {
    fail.unsupported("this plugin does not aggregate over rows");
  }

  decides(): bool {
    return true;
  }

  call(operation: u32, message: Message): Message | null {
    if (operation == op.DENOMINATOR) {
      const sums = new Sums(message);
      return failed() ? new Message() : new Message().withF64("denominator", this.denominator(sums));
    }
    if (operation == op.DECIDE_PLAN) {
      const rows = message.u64("rows");
      return failed() ? new Message() : this.decision(rows).encode();
    }
    return null;
  }

  work(operation: u32, block: Block): bool {
    switch (operation) {
      case op.WEIGH: {
        weigh(this, block);
        return true;
      }
      case op.DECIDE: {
        const gram = gramOf(block);
        if (gram != null) this.decide(gram, decisionOf(block));
        return true;
      }
      case op.REDUCE: {
        reduce(this, block);
        return true;
      }
      default: return false;
    }
  }
}

function weigh(plugin: Aggregate, block: Block): void {
  if (!require(block.mixLen == block.k, "WEIGH", "k places in `mix_out`")) return;
  const cohort = Cohort.ofBlock(block);
  if (!failed()) plugin.weigh(cohort, block.mixView());
}

function reduce(plugin: Aggregate, block: Block): void {
  if (!require(block.numRows > 0, "REDUCE", "at least one row")) return;
  if (!require(block.out != 0, "REDUCE", "`out`")) return;
  const weights: Doubles | null = block.weights == 0 ? null : new Doubles(block.weights, block.k);
  plugin.reduce(block.rowsView(), weights, block.outView());
}
