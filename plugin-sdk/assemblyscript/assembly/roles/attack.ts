/**
 * Role attack: what hostile clients train on, or send in place of their updates, for experiments with robust aggregation.
 *
 * The configuration says who is hostile, `attacks` in the manifest which of the two methods are asked. Attackers that send
 * something else know each other and the honest updates of the round (omniscient, as the papers assume).
 */

import { attack_table, op } from "../abi";
import { Block } from "../block";
import { fail, failed } from "../error";
import { Plan } from "../plan";
import { Message } from "../value";
import { Floats, Rows } from "../views";
import { Role, require } from "./role";

/** Whom an attack on training is planned for. */
export class AttackBegin {
  constructor(
    /** Counted from 1. */
    public readonly round: u64,
    /** The hostile client. */
    public readonly client: u64,
    public readonly numExamples: u64,
    /** Classes of the data, at least 2; labels are below it. */
    public readonly numClasses: u64,
    /** What `roundBegin` replied this round. */
    public readonly broadcast: Message,
  ) {}
}

/** One attacker's view of a range of the updates. */
export class Attacked {
  constructor(
    /** Index of the first element. */
    public readonly offset: u64,
    /** Updates of the honest clients of the cohort, in the order of their ids; there may be none. */
    public readonly honest: Rows,
    /** What the attacker would have sent: it trained like everyone. */
    public readonly own: Floats,
    /** Clients in the cohort, n. */
    public readonly cohort: u32,
    /** Attackers in the cohort, f ≥ 1. */
    public readonly attackers: u32,
    /** Position of this attacker among them. */
    public readonly index: u32,
    /** What it sends; all of it must be written. */
    public readonly sent: Floats,
  ) {}
}

export abstract class Attack extends Role {
  /**
   * ATTACK_BEGIN, before a hostile client trains: how it does, such as on which labels (`Term.relabel`). The terms join
   * those of client plugins. Asked with `training` in the manifest's `attacks`. Must depend on nothing but the instance's
   * parameters and `client`. Default: like everyone.
   */
  plan(client: AttackBegin): Plan {
    return new Plan([]);
  }

  /**
   * ATTACK, asked unless the manifest's `attacks` lack `updates`: must give the same values however the vector is cut into
   * ranges. Random numbers of client scope are the attacker's.
   */
  attack(attacked: Attacked): void {
    fail.unsupported('the plugin replaces no updates; its manifest must say so: `"attacks": ["training"]`');
  }

  call(operation: u32, message: Message): Message | null {
    if (operation != op.ATTACK_BEGIN) return null;
    const broadcast = message.map("broadcast");
    const client = new AttackBegin(
      message.u64("round"),
      message.u64("client"),
      message.u64("num_examples"),
      message.u64("num_classes"),
      broadcast == null ? new Message() : broadcast,
    );
    return failed() ? new Message() : this.plan(client).encode();
  }

  work(operation: u32, block: Block): bool {
    if (operation != op.ATTACK) return false;
    const complete = block.base != 0 && block.out != 0 && block.tableLen >= <u32>attack_table.LEN;
    if (!require(complete, "ATTACK", "`base`, `out` and a `table` of at least 3 values")) return true;
    const table = block.tableView();
    this.attack(
      new Attacked(
        block.offset,
        block.rowsView(),
        new Floats(block.base, block.n),
        <u32>table[attack_table.COHORT],
        <u32>table[attack_table.ATTACKERS],
        <u32>table[attack_table.INDEX],
        block.outView(),
      ),
    );
    return true;
  }
}
