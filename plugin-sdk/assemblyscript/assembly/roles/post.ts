/** Role post: a transform of the aggregate on the server, e.g. a clip or noise. */

import { op } from "../abi";
import { Block } from "../block";
import { failed } from "../error";
import { Message, Value } from "../value";
import { require } from "./role";
import { Piece, Stage } from "./stage";

/** What is known of the aggregate before it is transformed. */
export class PostBegin {
  /** Counted from 1. */
  readonly round: u64;
  /** Clients whose updates are in the aggregate. */
  readonly accepted: u64;
  /** Clients that were asked to train. */
  readonly cohort: u64;
  /** Clients in the federation, N. */
  readonly numClients: u64;
  /** Clients in a cohort on average: qN for Poisson cohorts. */
  readonly expectedCohort: f64;
  /** Whether each client takes part independently; else cohorts have a fixed size. */
  readonly poisson: bool;
  /** Σ aₖ. */
  readonly weightSum: f64;
  /** The largest aₖ. */
  readonly maxWeight: f64;
  /** What the weighted sum was divided by; 1 for rules that are no sums. */
  readonly denominator: f64;
  /** Largest Euclidean norm of an update that enters the sum, where a stage bounds it; else NaN. */
  readonly normBound: f64;
  /** By how much one client can move the aggregate, in Euclidean norm, where that is known; else NaN. */
  readonly sensitivity: f64;

  constructor(message: Message) {
    this.round = message.u64("round");
    this.accepted = message.u64("accepted");
    this.cohort = message.u64("cohort");
    this.numClients = message.u64("num_clients");
    this.expectedCohort = message.f64("expected_cohort");
    this.poisson = message.has("sampling") && message.text("sampling") == "poisson";
    this.weightSum = message.f64("weight_sum");
    this.maxWeight = message.f64("max_weight");
    this.denominator = message.f64("denominator");
    this.normBound = message.has("norm_bound") ? message.f64("norm_bound") : NaN;
    this.sensitivity = message.has("sensitivity") ? message.f64("sensitivity") : NaN;
  }
}

/** The reply of POST_BEGIN carries the message itself under this name, so that SYNC brings it to the data plane. */
const POST: string = "post";

export abstract class Post extends Stage {
  /** POST_BEGIN, once a round on every instance that will run APPLY. */
  begin(post: PostBegin): void {}

  /** APPLY: `piece.values` is read and written. Random numbers have round scope. */
  abstract apply(piece: Piece): void;

  call(operation: u32, message: Message): Message | null {
    if (operation != op.POST_BEGIN) return super.call(operation, message);
    begin(this, message);
    return new Message().with(POST, Value.ofMap(message));
  }

  common(operation: u32, message: Message): Message | null {
    const begun = operation == op.SYNC ? message.map(POST) : null;
    if (begun != null) begin(this, begun);
    return super.common(operation, message);
  }

  work(operation: u32, block: Block): bool {
    if (operation != op.APPLY) return super.work(operation, block);
    if (require(block.out != 0, "APPLY", "`out`")) this.apply(Piece.of(block, block.outView()));
    return true;
  }
}

function begin(plugin: Post, message: Message): void {
  const post = new PostBegin(message);
  if (!failed()) plugin.begin(post);
}
