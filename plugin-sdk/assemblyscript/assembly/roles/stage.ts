/** What normalize, compress and post have in common: a scan of the whole vector, then its pieces. */

import { op } from "../abi";
import { Block } from "../block";
import { failed } from "../error";
import { Measures, ScanPlan } from "../scan";
import { Message } from "../value";
import { Floats } from "../views";
import { Role, require } from "./role";

/** A frame, tensor or whole vector (the manifest's `unit`). */
export class Piece {
  constructor(
    /** Index of the first element in its vector. */
    public readonly offset: u64,
    /** 0 is the update. */
    public readonly vector: u32,
    public readonly unit: u32,
    public readonly values: Floats,
    /** What `scan` asked for, measured on the whole vector; nothing in `decode`. */
    public readonly measures: Measures,
  ) {}

  static of(block: Block, values: Floats): Piece {
    return new Piece(block.offset, block.vector, block.unit, values, new Measures(block.tableView()));
  }
}

export abstract class Stage extends Role {
  /** SCAN_PLAN: what to measure on a vector of `n` elements before its first piece. */
  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none();
  }

  isStage(): bool {
    return true;
  }

  call(operation: u32, message: Message): Message | null {
    if (operation != op.SCAN_PLAN) return null;
    const n = message.u64("n");
    const vector = message.u32("vector");
    return failed() ? new Message() : this.scan(n, vector).encode();
  }
}

/** A stage that changes pieces in place. */
export abstract class Transform extends Stage {
  /** APPLY: `piece.values` is read and written. */
  abstract apply(piece: Piece): void;

  work(operation: u32, block: Block): bool {
    if (operation != op.APPLY) return false;
    if (require(block.out != 0, "APPLY", "`out`")) this.apply(Piece.of(block, block.outView()));
    return true;
  }
}
