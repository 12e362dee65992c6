/** Bytes of an encoded piece: a writer that cannot run over, a reader that cannot run out unnoticed. Little-endian. */

import { fail } from "./error";
import { Bytes } from "./views";

/** The host's output buffer. What was put is what the host sends. */
export class Output {
  /** Bytes put. */
  length: i32 = 0;

  constructor(private readonly buffer: Bytes) {}

  /** Takes the next `count` bytes to be filled. Fails with E_CAPACITY, and gives none, if they do not fit. */
  reserve(count: u64): Bytes {
    const start = this.length;
    if (count > <u64>(this.buffer.length - start)) {
      const needed = (<u64>start + count).toString();
      fail.capacity("the piece needs " + needed + " bytes, the buffer has " + this.buffer.length.toString());
      return new Bytes(0, 0);
    }
    this.length += <i32>count;
    return new Bytes(this.buffer.pointer + start, <i32>count);
  }

  putU32(value: u32): void {
    const place = this.reserve(4);
    if (place.length == 4) store<u32>(place.pointer, value);
  }

  putF32(value: f32): void {
    this.putU32(reinterpret<u32>(value));
  }
}

/** An encoded piece that came over the network: trust no length and no number in it. */
export class Input {
  private at: i32 = 0;

  constructor(private readonly bytes: Bytes) {}

  /** The next `count` bytes. Fails with E_ARG, and gives none, if fewer are left. */
  take(count: u64): Bytes {
    const left = this.bytes.length - this.at;
    if (count > <u64>left) {
      fail.argument("the encoded piece ends early: " + count.toString() + " bytes wanted, " + left.toString() + " left");
      return new Bytes(0, 0);
    }
    const taken = new Bytes(this.bytes.pointer + this.at, <i32>count);
    this.at += <i32>count;
    return taken;
  }

  takeU32(): u32 {
    const taken = this.take(4);
    return taken.length == 4 ? load<u32>(taken.pointer) : 0;
  }

  takeF32(): f32 {
    return reinterpret<f32>(this.takeU32());
  }

  /** Fails with E_ARG if bytes are left over. */
  finish(): void {
    const left = this.bytes.length - this.at;
    if (left > 0) fail.argument("the encoded piece has " + left.toString() + " bytes too many");
  }
}
