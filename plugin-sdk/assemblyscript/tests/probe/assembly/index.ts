/** A plugin of two roles, and functions that show the tests what no operation shows. */

import {
  Aggregate, Doubles, Floats, Message, Parameters, Plan, Rows, ScanPlan, ServerStep, Sorted, SortedRule, Step, StepBegin,
  Term, fail, log, mean, plugin, reduceSorted,
} from "colla-plugin-sdk/assembly";
import { Block } from "colla-plugin-sdk/assembly/block";
import { mergeExchange } from "colla-plugin-sdk/assembly/math/sorted";
import { postcard } from "colla-plugin-sdk/assembly/postcard";
export * from "colla-plugin-sdk/assembly/exports";

class Rank extends SortedRule {
  constructor(private readonly rank: i32) {
    super();
  }

  lanes(sorted: Sorted): v128 {
    return sorted.at(this.rank);
  }
}

class Reduce extends Aggregate {
  private readonly rank: i32;

  constructor(parameters: Parameters) {
    super();
    this.rank = <i32>parameters.i64("rank");
    if (this.rank < -1) fail.config("`rank` = " + this.rank.toString() + " is below -1");
  }

  roundBegin(message: Message): Message {
    log.info("round " + message.u64("round").toString() + " ✓");
    return new Message().withF64("first", 1);
  }

  reduce(rows: Rows, weights: Doubles | null, out: Floats): void {
    if (this.rank >= rows.count) throw new Error("no such rank");
    if (this.rank >= 0) reduceSorted(rows, out, new Rank(this.rank));
    else if (weights == null) mean.uniform(rows, out);
    else mean.weighted(rows, weights, out);
  }
}

/** v ← v/2 + Δ, w ← w + round·v. */
class Momentum extends ServerStep {
  private rate: f32 = 0;

  begin(step: StepBegin): void {
    this.rate = <f32>step.round;
  }

  roundBegin(message: Message): Message {
    return new Message().withI64("second", 2);
  }

  step(step: Step): void {
    if (this.rate == 0) return fail.state("the round has not begun");
    const half = f32x4.splat(0.5), rate = f32x4.splat(this.rate), v = step.states[0];
    for (let i = 0; i < step.length; i += 4) {
      const moved = f32x4.add(f32x4.mul(half, v.lanes(i)), step.update.lanes(i));
      v.setLanes(i, moved);
      step.newWeights.setLanes(i, f32x4.add(step.weights.lanes(i), f32x4.mul(rate, moved)));
    }
  }
}

plugin((parameters) => [new Reduce(parameters), new Momentum()]);

let held: StaticArray<u8> = [];

function hold(bytes: StaticArray<u8>): usize {
  held = bytes;
  return changetype<usize>(bytes);
}

/** Where the bytes of the message lie when decoded and encoded again; 0 if they are refused. */
export function reencoded(from: usize, len: usize): usize {
  const message = postcard.decode(from, len);
  return message == null ? 0 : hold(postcard.encode(message));
}

export function heldLength(): i32 {
  return held.length;
}

export function encodedPlan(): usize {
  return hold(postcard.encode(Plan.withTerms([Term.prox(0.01), Term.clipGrad(10)]).encode()));
}

export function encodedScanPlan(): usize {
  return hold(postcard.encode(ScanPlan.none().norm2().kthAbs(1000).encode()));
}

/** The offset of a field of the block, by its position. */
export function offsetOf(field: i32): i32 {
  const offsets: StaticArray<i32> = [
    offsetof<Block>("size"), offsetof<Block>("flags"), offsetof<Block>("offset"), offsetof<Block>("vector"),
    offsetof<Block>("unit"), offsetof<Block>("n"), offsetof<Block>("k"), offsetof<Block>("rows"),
    offsetof<Block>("weights"), offsetof<Block>("table"), offsetof<Block>("base"), offsetof<Block>("states"),
    offsetof<Block>("out"), offsetof<Block>("rowsOut"), offsetof<Block>("mixOut"), offsetof<Block>("input"),
    offsetof<Block>("output"), offsetof<Block>("tableLen"), offsetof<Block>("nStates"), offsetof<Block>("nRowsOut"),
    offsetof<Block>("mixLen"), offsetof<Block>("inputLen"), offsetof<Block>("outputCap"), offsetof<Block>("outputLen"),
    offsetof<Block>("stateN"), offsetof<Block>(),
  ];
  return offsets[field];
}

/** A field of the block at `at`, by its position, as the SDK reads it. */
export function fieldOf(at: usize, field: i32): u64 {
  const block = changetype<Block>(at);
  switch (field) {
    case 0: return block.size;
    case 1: return block.flags;
    case 2: return block.offset;
    case 3: return block.vector;
    case 4: return block.unit;
    case 5: return block.n;
    case 6: return block.k;
    case 7: return block.rows;
    case 8: return block.weights;
    case 9: return block.table;
    case 10: return block.base;
    case 11: return block.states;
    case 12: return block.out;
    case 13: return block.rowsOut;
    case 14: return block.mixOut;
    case 15: return block.input;
    case 16: return block.output;
    case 17: return block.tableLen;
    case 18: return block.nStates;
    case 19: return block.nRowsOut;
    case 20: return block.mixLen;
    case 21: return block.inputLen;
    case 22: return block.outputCap;
    case 23: return block.outputLen;
    default: return block.stateN;
  }
}

/** Sorts the lowest `n` bits of `bits`, taken as `n` values of 0 or 1, by the network. */
export function sortedBits(n: i32, bits: u32): u32 {
  const pairs = mergeExchange(n);
  for (let pair = 0; pair < pairs.length; pair += 2) {
    const low = pairs[pair], high = pairs[pair + 1];
    if (((bits >> low) & 1) > ((bits >> high) & 1)) bits ^= (1 << low) | (1 << high);
  }
  return bits;
}
