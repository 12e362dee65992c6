/** What normalize, compress and post have in common: a scan of the whole vector, then its pieces. */

import { op } from "../abi";
import { Block } from "../block";
import { fail, failed } from "../error";
import { Measures, ScanPlan } from "../scan";
import { Message } from "../value";
import { Doubles, Floats } from "../views";
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
    /** What `scan` asked for, measured on the whole vector; nothing in `decode` and `undo`. */
    public readonly measures: Measures,
  ) {}

  static of(block: Block, values: Floats): Piece {
    return new Piece(block.offset, block.vector, block.unit, values, new Measures(block.tableView()));
  }
}

/** One frame of a vector in a stage's own scan. Frames have 65,536 elements and come in index order. */
export class ScanFrame {
  constructor(
    public readonly offset: u64,
    public readonly vector: u32,
    public readonly values: Floats,
    /** What the frames before this one gave; zeros before the first. */
    public readonly before: Doubles,
    /** What the frames up to this one give; all of it must be written. */
    public readonly after: Doubles,
  ) {}
}

export abstract class Stage extends Role {
  /** SCAN_PLAN: what to measure on a vector of `n` elements before its first piece. */
  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none();
  }

  /** SCAN: one frame of the stage's own scan, see `ScanPlan.withOwn`. */
  scanFrame(frame: ScanFrame): void {
    fail.unsupported("this stage has no scan of its own");
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

  work(operation: u32, block: Block): bool {
    if (operation != op.SCAN) return false;
    const complete = block.numRows == 1 && block.tableLen == block.mixLen;
    if (require(complete, "SCAN", "exactly one row, and as many values in `table` as in `mix_out`")) {
      const frame = block.firstRow();
      this.scanFrame(new ScanFrame(block.offset, block.vector, frame, block.tableView(), block.mixView()));
    }
    return true;
  }
}
