/**
 * Role attack: what hostile clients send in place of their updates, for experiments with robust aggregation.
 *
 * The configuration says who is hostile; attackers know each other and the honest updates of the round (omniscient, as the
 * papers assume).
 */

import { attack_table, op } from "../abi";
import { Block } from "../block";
import { Floats, Rows } from "../views";
import { Role, require } from "./role";

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
   * ATTACK: must give the same values however the vector is cut into ranges. Random numbers of client scope are the
   * attacker's.
   */
  abstract attack(attacked: Attacked): void;

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
