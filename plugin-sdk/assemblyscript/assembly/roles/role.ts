/**
 * What every role is, and the operations that every role may answer.
 *
 * An instance keeps nothing between calls but what these functions gave it: the host may run several instances and make
 * new ones at any time. What must last is in state slots or in `save`.
 */

import { op } from "../abi";
import { Block } from "../block";
import { fail } from "../error";
import { Message } from "../value";

export abstract class Role {
  /**
   * LAYOUT `{len, names, shapes, roles, offsets}`: the model's tensors, once after create. A plugin with a slot of shape
   * `piece` replies `{piece_state: List[I64]}`, the elements of such a slot for each piece in order.
   */
  layout(layout: Message): Message {
    return new Message();
  }

  /** SYNC: the control instance's last reply, on the instances of the data plane. */
  sync(reply: Message): void {}

  /**
   * ROUND_BEGIN `{round, cohort, num_clients, expected_cohort}` → what every client's plan gets as `broadcast`, and what
   * `sync` brings to the data plane; at most 64 KiB.
   */
  roundBegin(message: Message): Message {
    return new Message();
  }

  /** ROUND_END `{round, cohort, num_examples, train_loss}` → metrics, each a float or an int. */
  roundEnd(message: Message): Message {
    return new Message();
  }

  /** SAVE: small values that a resumed run needs, at most 1 MiB. */
  save(): Message {
    return new Message();
  }

  /** LOAD: what `save` gave. */
  load(saved: Message): void {}

  /** Normalize, compress and post share operations, so a plugin can be only one of them. For the export glue. */
  isStage(): bool {
    return false;
  }

  /** Mix and aggregate share operations too. For the export glue. */
  decides(): bool {
    return false;
  }

  /** A control operation of this role alone; null if it has no such operation. For the export glue. */
  call(operation: u32, message: Message): Message | null {
    return null;
  }

  /** A data operation of this role; false if it has no such operation. For the export glue. */
  work(operation: u32, block: Block): bool {
    return false;
  }

  /** A control operation that every role answers; null if it is none. For the export glue. */
  common(operation: u32, message: Message): Message | null {
    switch (operation) {
      case op.LAYOUT: return this.layout(message);
      case op.SYNC: {
        this.sync(message);
        return new Message();
      }
      case op.ROUND_BEGIN: return this.roundBegin(message);
      case op.ROUND_END: return this.roundEnd(message);
      case op.SAVE: return this.save();
      case op.LOAD: {
        this.load(message);
        return new Message();
      }
      default: return null;
    }
  }
}

/** Fails with E_ARG and what the operation needs, unless `holds`. */
export function require(holds: bool, operation: string, needs: string): bool {
  if (!holds) fail.argument(operation + " needs " + needs);
  return holds;
}
