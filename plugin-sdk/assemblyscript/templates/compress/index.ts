/**
 * Scaled signs (Karimireddy et al., arXiv:1901.09847): Δᵢ becomes ±‖Δ‖₁/n, taken for each frame.
 * Run it with `error-feedback=true`, which the host offers for any compressor: what one upload loses is added to the next.
 *
 * A frame: the scale as `f32`, then one bit for each value, low bits first, 1 for negative.
 */

import { Compress, Input, Output, Piece, Rows, fail, failed, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class Signs extends Compress {
  encode(source: Piece, states: Rows, output: Output): void {
    const values = source.values;
    let sum: f64 = 0;
    for (let i = 0; i < values.length; i++) sum += <f64>abs(values[i]);
    output.putF32(<f32>(sum / <f64>max(values.length, 1)));
    const bits = output.reserve((values.length + 7) / 8);
    if (failed()) return;
    const zero = f32x4.splat(0);
    for (let byte = 0; byte < bits.length; byte++) {
      const i = byte * 8;
      const low = i32x4.bitmask(f32x4.lt(values.lanes(i), zero));
      const high = i + 4 < values.length ? i32x4.bitmask(f32x4.lt(values.lanes(i + 4), zero)) : 0;
      bits[byte] = <u8>(low | (high << 4));
    }
  }

  /** The bytes come from the network, so nothing about them is certain. */
  decode(input: Input, target: Piece): void {
    const scale = input.takeF32();
    if (!isFinite(scale) || scale < 0) return fail.argument("the scale of a frame is " + scale.toString());
    const values = target.values;
    const bits = input.take((values.length + 7) / 8);
    input.finish();
    if (failed()) return;
    for (let i = 0; i < values.length; i++) {
      values[i] = (bits[i >> 3] >> <u8>(i & 7)) & 1 ? -scale : scale;
    }
  }
}

plugin(() => [new Signs()]);
