/** Role mix: rows become other rows before they are aggregated (nearest-neighbour mixing, bucketing). */

import { op } from "../abi";
import { Block } from "../block";
import { failed } from "../error";
import { Message } from "../value";
import { Decision, DecisionPlan, Gram, decisionOf, gramOf } from "./decide";
import { Role } from "./role";

export abstract class Mix extends Role {
  /**
   * DECIDE_PLAN: how many rows come out of DECIDE for `clients` rows, and which extra rows it wants to see. Default: as many
   * as go in, and no extra rows.
   */
  decision(clients: u64): DecisionPlan {
    return DecisionPlan.rows(clients);
  }

  /** DECIDE: the coefficients of every mixed row. Random numbers have round scope. */
  abstract decide(gram: Gram, decision: Decision): void;

  decides(): bool {
    return true;
  }

  call(operation: u32, message: Message): Message | null {
    if (operation != op.DECIDE_PLAN) return null;
    const rows = message.u64("rows");
    return failed() ? new Message() : this.decision(rows).encode();
  }

  work(operation: u32, block: Block): bool {
    if (operation != op.DECIDE) return false;
    const gram = gramOf(block);
    if (gram != null) this.decide(gram, decisionOf(block));
    return true;
  }
}
