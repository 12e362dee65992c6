/** Role select: which clients train in a round. */

import { op, select_table } from "../abi";
import { Block } from "../block";
import { fail, failed } from "../error";
import { Doubles } from "../views";
import { Role, require } from "./role";

/** All clients of the federation; the position of a client is its id. */
export class Clients {
  constructor(
    private readonly table: Doubles,
    private readonly columns: i32,
  ) {}

  get length(): i32 {
    return this.table.length / this.columns;
  }

  /** 0 for a client that cannot be chosen. */
  numExamples(client: i32): f64 {
    return this.table[client * this.columns + select_table.NUM_EXAMPLES];
  }

  /** The last round in which it took part; 0 if it never did. */
  lastRound(client: i32): u64 {
    return <u64>this.table[client * this.columns + select_table.LAST_ROUND];
  }

  /** Training loss of that round; 0 if there was none. */
  lastLoss(client: i32): f64 {
    return this.table[client * this.columns + select_table.LAST_LOSS];
  }
}

export abstract class Select extends Role {
  /** SELECT: ids of at most `size` different clients with examples. Random numbers have round scope. */
  abstract select(clients: Clients, size: i32): i32[];

  work(operation: u32, block: Block): bool {
    if (operation != op.SELECT) return false;
    const columns: u32 = block.k == 0 ? 0 : block.tableLen / block.k;
    const whole = columns >= <u32>select_table.COLUMNS && <u64>columns * block.k == <u64>block.tableLen;
    if (!require(whole, "SELECT", "a `table` of k rows with at least 3 columns")) return true;
    const places = block.mixView();
    const chosen = this.select(new Clients(block.tableView(), columns), places.length);
    if (chosen.length > places.length) {
      fail.internal("chose " + chosen.length.toString() + " clients where " + places.length.toString() + " were asked for");
    }
    if (failed()) return true;
    places.fill(-1);
    for (let i = 0; i < chosen.length; i++) places[i] = <f64>chosen[i];
    return true;
  }
}
