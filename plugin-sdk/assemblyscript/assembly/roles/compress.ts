/**
 * Role compress: a vector becomes bytes on one side of the network and a vector again on the other.
 *
 * Error feedback, the direction and lossless coding are the host's: a compressor only says what it loses.
 */

import { op } from "../abi";
import { Block } from "../block";
import { Input, Output } from "../codec";
import { failed } from "../error";
import { Bytes, Rows } from "../views";
import { require } from "./role";
import { Piece, Stage } from "./stage";

export abstract class Compress extends Stage {
  /**
   * ENCODE: at most the manifest's `max_encoded` bytes. `source.values` is only read. `states` are the manifest's client
   * slots in its order, read and written: the encoding client's; none for the downlink and for vectors other than the
   * update.
   */
  abstract encode(source: Piece, states: Rows, output: Output): void;

  /**
   * DECODE: exactly the bytes of one ENCODE, but from the network, so check everything. All of `target.values` must be
   * written; they are not zero before.
   */
  abstract decode(input: Input, target: Piece): void;

  work(operation: u32, block: Block): bool {
    if (operation == op.ENCODE) {
      if (require(block.numRows == 1, "ENCODE", "exactly one row")) {
        const output = new Output(new Bytes(block.output, block.outputCap));
        this.encode(Piece.of(block, block.firstRow()), block.statesView(), output);
        if (!failed()) block.outputLen = output.length;
      }
      return true;
    }
    if (operation == op.DECODE) {
      if (require(block.out != 0, "DECODE", "`out`")) {
        this.decode(new Input(new Bytes(block.input, block.inputLen)), Piece.of(block, block.outView()));
      }
      return true;
    }
    return super.work(operation, block);
  }
}
