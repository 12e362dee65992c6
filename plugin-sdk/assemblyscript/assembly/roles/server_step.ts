/** Role server-step: how the aggregate moves the weights. */

import { op } from "../abi";
import { Block } from "../block";
import { failed } from "../error";
import { Message, Value } from "../value";
import { Floats, Rows } from "../views";
import { Role, require } from "./role";

/** What is known before the weights move. */
export class StepBegin {
  constructor(
    /** Counted from 1. */
    public readonly round: u64,
    /** Clients whose updates are in the aggregate. */
    public readonly accepted: u64,
    /** Clients in the federation. */
    public readonly numClients: u64,
    public readonly weightSum: f64,
    /** The aggregate's Euclidean norm. */
    public readonly aggregateNorm2: f64,
  ) {}
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
    const complete = block.base != 0 && block.out != 0 && block.numRows == 1;
    if (require(complete, "STEP", "`base`, `out` and exactly one row")) {
      this.step(
        new Step(
          block.offset,
          block.n,
          new Floats(block.base, block.n),
          new Floats(load<usize>(block.rows), block.n),
          block.statesView(),
          block.outView(),
        ),
      );
    }
    return true;
  }
}

function begin(plugin: ServerStep, message: Message): void {
  const step = new StepBegin(
    message.u64("round"),
    message.u64("accepted"),
    message.u64("num_clients"),
    message.f64("weight_sum"),
    message.f64("aggregate_norm2"),
  );
  if (!failed()) plugin.begin(step);
}
