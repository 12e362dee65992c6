/** Every role that `probe` lacks, each with the least that shows how it is called. */

import {
  Attack, AttackBegin, Attacked, Client, ClientBegin, ClientEnd, Clients, Cohort, Decision, DecisionPlan, Doubles, Gram,
  Input, Message, Mix, Normalize, Output, Parameters, Phase, Piece, Plan, Post, PostBegin, Role, ScanFrame, ScanPlan,
  Select, Term, Value, extraRow, fail, failed, plugin, scale,
} from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

/** The clients with the largest last loss; ties to the lower id. */
class Worst extends Select {
  layout(layout: Message): Message {
    return new Message().with("piece_state", Value.ofList([Value.ofI64(layout.i64("len"))]));
  }

  select(clients: Clients, size: i32): i32[] {
    const ids: i32[] = [];
    for (let client = 0; client < clients.length; client++) if (clients.numExamples(client) > 0) ids.push(client);
    while (ids.length > size) {
      let least = 0;
      for (let i = 1; i < ids.length; i++) if (clients.lastLoss(ids[i]) <= clients.lastLoss(ids[least])) least = i;
      ids.splice(least, 1);
    }
    return ids;
  }
}

class Personal extends Client {
  plan(client: ClientBegin): Plan {
    const own = Phase.personal("own", [Term.proxToward("own", 0.5)]).withEpochs(2);
    return new Plan([Phase.upload([Term.linear("c", -1), Term.personal("norms")]).withSteps(3), own]);
  }

  /** v = (local − received)/steps; the state becomes v. */
  end(end: ClientEnd): void {
    const steps = f32x4.splat(<f32>end.steps);
    for (let i = 0; i < end.length; i += 4) {
      const v = f32x4.div(f32x4.sub(end.local.lanes(i), end.received.lanes(i)), steps);
      end.vectors[0].setLanes(i, v);
      end.states[0].setLanes(i, v);
    }
  }

  weighVector(vector: i32, cohort: Cohort, weights: Doubles): void {
    for (let client = 0; client < cohort.length; client++) {
      weights[client] = cohort.isTrained ? cohort.trainLoss(client) : <f64>vector;
    }
  }
}

/** Divides by the largest magnitude of the own scan, and sends it along. */
class Unit extends Normalize {
  scan(n: u64, vector: u32): ScanPlan {
    return ScanPlan.none().sum().withOwn(1);
  }

  scanFrame(frame: ScanFrame): void {
    let largest = frame.before[0];
    for (let i = 0; i < frame.values.length; i++) largest = max(largest, <f64>abs(frame.values[i]));
    frame.after[0] = largest;
  }

  apply(piece: Piece, header: Output): void {
    const largest = <f32>piece.measures.value(1);
    header.putF32(largest);
    scale(piece.values, 1 / largest);
  }

  undo(piece: Piece, header: Input): void {
    const largest = header.takeF32();
    header.finish();
    if (!(largest > 0)) fail.argument("the largest magnitude is " + largest.toString());
    if (!failed()) scale(piece.values, largest);
  }
}

class Noise extends Post {
  private bound: f32 = 0;

  begin(post: PostBegin): void {
    this.bound = isNaN(post.normBound) ? -1 : <f32>post.normBound;
  }

  apply(piece: Piece): void {
    scale(piece.values, this.bound);
  }
}

/** Minus the mean of the honest updates, or the own one where there are none. */
class Opposite extends Attack {
  /** All labels are reversed. */
  plan(client: AttackBegin): Plan {
    const labels: u64[] = [];
    for (let label: u64 = 0; label < client.numClasses; label++) labels.push(client.numClasses - 1 - label);
    return Plan.withTerms([Term.relabel(labels)]);
  }

  attack(attacked: Attacked): void {
    for (let i = 0; i < attacked.own.length; i++) {
      let sum: f32 = 0;
      for (let row = 0; row < attacked.honest.count; row++) sum += attacked.honest[row][i];
      attacked.sent[i] = attacked.honest.count == 0 ? attacked.own[i] : -sum / <f32>attacked.honest.count;
    }
  }
}

/** One row: the clients weighted by their squared distance to zero. */
class Norms extends Mix {
  decision(clients: u64): DecisionPlan {
    return DecisionPlan.rows(1).with(extraRow.ZERO);
  }

  decide(gram: Gram, decision: Decision): void {
    const zero = gram.rows - 1;
    for (let i = 0; i < zero; i++) decision.row(0)[i] = gram.norm2(i, zero) * gram.examples[i];
    decision.row(0)[zero] = gram.dot(0, 1, zero);
  }
}

plugin((parameters: Parameters): Role[] => {
  const stage: Role = parameters.bool("post") ? new Noise() : new Unit();
  return [new Worst(), new Personal(), stage, new Opposite(), new Norms()];
});
