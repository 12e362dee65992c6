/** Role server-step: how the aggregate moves the weights. */

import { op } from "../abi";
import { Block } from "../block";
import { Cohort } from "../cohort";
import { failed } from "../error";
import { Message, Value } from "../value";
import { Floats, Rows } from "../views";
import { Role, require } from "./role";

/** What is known before the weights move. */
export class StepBegin {
  /** Counted from 1. */
  readonly round: u64;
  /** Clients whose updates are in the aggregate. */
  readonly accepted: u64;
  /** Clients that were asked to train. */
  readonly cohort: u64;
  /** Clients in the federation, N. */
  readonly numClients: u64;
  /** Clients in a cohort on average: qN for Poisson cohorts. */
  readonly expectedCohort: f64;
  /** Σ aₖ. */
  readonly weightSum: f64;
  /** What the weighted sum was divided by; 1 for rules that are no sums. */
  readonly denominator: f64;
  /** The aggregate's Euclidean norm. */
  readonly aggregateNorm2: f64;
  /** Σ of the weights of each of the plugin's own vectors, in the manifest's order. */
  readonly vectorWeightSums: StaticArray<f64>;
  /** The accepted clients, where the manifest has `needs`; else no clients. Good for the length of the call. */
  readonly clients: Cohort;
  /** Their weights aₖ. */
  readonly weights: StaticArray<f64>;

  constructor(message: Message) {
    this.round = message.u64("round");
    this.accepted = message.u64("accepted");
    this.cohort = message.u64("cohort");
    this.numClients = message.u64("num_clients");
    this.expectedCohort = message.f64("expected_cohort");
    this.weightSum = message.f64("weight_sum");
    this.denominator = message.f64("denominator");
    this.aggregateNorm2 = message.f64("aggregate_norm2");
    this.vectorWeightSums = message.f64s("vector_weight_sums");
    this.clients = Cohort.ofMessage(message);
    this.weights = message.f64s("weights");
  }
}

/**
 * A range of the model; all views are `length` long. An elementwise rule goes through it four elements at a time,
 * `for (let i = 0; i < step.length; i += 4)`, with `lanes` and `setLanes`.
 */
export class Step {
  constructor(
    /** Index of the first element. */
    public readonly offset: u64,
    public readonly length: i32,
    /** w, before the step. */
    public readonly weights: Floats,
    /** Δ, the aggregate update. */
    public readonly update: Floats,
    /** Raw sums Σ aₖ·vₖ of the plugin's own vectors, in the manifest's order. */
    public readonly sums: Rows,
    /** The manifest's server slots, in its order; read and written. */
    public readonly states: Rows,
    /** w, after the step. */
    public readonly newWeights: Floats,
  ) {}
}

/** The reply of STEP_BEGIN carries the message itself under this name, so that SYNC brings it to the data plane. */
const STEP: string = "step";

export abstract class ServerStep extends Role {
  /** STEP_BEGIN, once a round on every instance that will run STEP. */
  begin(step: StepBegin): void {}

  /** STEP: must give the same values however the model is cut into ranges. */
  abstract step(step: Step): void;

  call(operation: u32, message: Message): Message | null {
    if (operation != op.STEP_BEGIN) return null;
    begin(this, message);
    return new Message().with(STEP, Value.ofMap(message));
  }

  common(operation: u32, message: Message): Message | null {
    const begun = operation == op.SYNC ? message.map(STEP) : null;
    if (begun != null) begin(this, begun);
    return super.common(operation, message);
  }

  work(operation: u32, block: Block): bool {
    if (operation != op.STEP) return false;
    const complete = block.base != 0 && block.out != 0 && block.numRows > 0;
    if (require(complete, "STEP", "`base`, `out` and at least one row")) {
      const weights = new Floats(block.base, block.n);
      const sums = block.rowsView().from(1);
      const states = block.statesView();
      this.step(new Step(block.offset, block.n, weights, block.firstRow(), sums, states, block.outView()));
    }
    return true;
  }
}

function begin(plugin: ServerStep, message: Message): void {
  const step = new StepBegin(message);
  if (!failed()) plugin.begin(step);
}
