/** Role normalize: a transform of a vector on the client, after training and before compression. */

import { op } from "../abi";
import { Block } from "../block";
import { Input, Output } from "../codec";
import { fail, failed } from "../error";
import { Bytes } from "../views";
import { require } from "./role";
import { Piece, Stage } from "./stage";

export abstract class Normalize extends Stage {
  /**
   * APPLY: `piece.values` is read and written. What is put into `header` travels with the piece to `undo`; its capacity is
   * the manifest's `max_header`, 0 where that is not given.
   */
  abstract apply(piece: Piece, header: Output): void;

  /**
   * UNDO, on the server: the inverse of `apply` on a piece that compression may have changed. Asked only where the manifest
   * gives `max_header`. `header` comes from the network, so check everything; there are no measures.
   */
  undo(piece: Piece, header: Input): void {
    fail.unsupported("this stage cannot be undone");
  }

  work(operation: u32, block: Block): bool {
    if (operation == op.APPLY) {
      if (require(block.out != 0, "APPLY", "`out`")) {
        const header = new Output(new Bytes(block.output, block.outputCap));
        this.apply(Piece.of(block, block.outView()), header);
        if (!failed()) block.outputLen = header.length;
      }
      return true;
    }
    if (operation == op.UNDO) {
      if (require(block.out != 0, "UNDO", "`out`")) {
        this.undo(Piece.of(block, block.outView()), new Input(new Bytes(block.input, block.inputLen)));
      }
      return true;
    }
    return super.work(operation, block);
  }
}
