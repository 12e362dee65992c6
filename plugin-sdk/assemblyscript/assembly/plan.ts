/** The local plan: what a client's training is besides its loss and its optimizer. The host does the training. */

import { Message, Value } from "./value";

/**
 * One correction of local training. `w` are the client's weights, `w0` those it received, `g` the gradient. Slots are named
 * as in the manifest's `state`: the client's own, and server slots that are broadcast.
 */
export class Term {
  /** `field`: the name of the term's number, empty where it has none. */
  private constructor(
    private readonly term: string,
    private readonly field: string,
    private readonly value: f64,
    private readonly slotField: string = "",
    private readonly slot: string = "",
    private readonly labels: Value[] | null = null,
  ) {}

  /** `+ (mu/2)·‖w − w0‖²` in the objective. */
  static prox(mu: f64): Term {
    return new Term("prox", "mu", mu);
  }

  /** `+ (mu/2)·‖w − s‖²`, s the slot's values. */
  static proxToward(slot: string, mu: f64): Term {
    return new Term("prox", "mu", mu, "toward", slot);
  }

  /** `+ scale·⟨s, w⟩`; the scale may be negative. */
  static linear(slot: string, scale: f64): Term {
    return new Term("linear", "scale", scale, "slot", slot);
  }

  /** `+ (lambda/2)·‖w‖²` in the objective. */
  static l2(lambda: f64): Term {
    return new Term("l2", "lambda", lambda);
  }

  /** `g` of each step scaled to a Euclidean norm of at most `maxNorm`, over all tensors. */
  static clipGrad(maxNorm: f64): Term {
    return new Term("clip-grad", "max_norm", maxNorm);
  }

  /** The configured learning rate times `factor`. */
  static learningRateScale(factor: f64): Term {
    return new Term("learning-rate-scale", "factor", factor);
  }

  /**
   * Normalisation layers, running statistics included, that stay the client's own: its values in a client slot of shape
   * `norm` stand in the place of those of `w0` when training starts, what they become is kept there, and nothing of them
   * is uploaded. Of the uploaded phase alone.
   */
  static personal(slot: string): Term {
    return new Term("personal", "", 0.0, "slot", slot);
  }

  /**
   * Rows of class y are taken for rows of class `labels[y]`, in all that the client trains and measures itself in the round.
   * As many as there are classes, each below their number. Of attacks alone, once.
   */
  static relabel(labels: u64[]): Term {
    const values: Value[] = [];
    for (let label = 0; label < labels.length; label++) values.push(Value.ofI64(<i64>labels[label]));
    return new Term("relabel", "", 0.0, "", "", values);
  }

  encode(): Message {
    const term = new Message().withText("term", this.term);
    const labels = this.labels;
    if (labels != null) term.with("labels", Value.ofList(labels));
    if (this.field != "") term.withF64(this.field, this.value);
    return this.slot == "" ? term : term.withText(this.slotField, this.slot);
  }
}

/** A stretch of local training. */
export class Phase {
  private epochs: i64 = 0;
  private steps: i64 = 0;

  private constructor(
    private readonly terms: Term[],
    private readonly slot: string,
  ) {}

  /** Training that is uploaded: from the received weights through the configured epochs. */
  static upload(terms: Term[]): Phase {
    return new Phase(terms, "");
  }

  /** Training of a model that stays with the client, kept in one of its slots. */
  static personal(slot: string, terms: Term[]): Phase {
    return new Phase(terms, slot);
  }

  /** Epochs instead of the configured ones; at least 1. Not together with `withSteps`. */
  withEpochs(epochs: u64): Phase {
    this.epochs = <i64>epochs;
    return this;
  }

  /** Steps instead of epochs, at least 1. */
  withSteps(steps: u64): Phase {
    this.steps = <i64>steps;
    return this;
  }

  encode(): Message {
    const terms: Value[] = [];
    for (let i = 0; i < this.terms.length; i++) terms.push(Value.ofMap(this.terms[i].encode()));
    const phase = new Message().with("terms", Value.ofList(terms));
    if (this.slot != "") phase.withText("slot", this.slot);
    if (this.epochs > 0) phase.withI64("epochs", this.epochs);
    if (this.steps > 0) phase.withI64("steps", this.steps);
    return phase;
  }
}

/** At most one phase is uploaded (without one, the client trains plainly); personal phases run after it, in their order. */
export class Plan {
  constructor(private readonly phases: Phase[]) {}

  /** The usual plan: one phase with these terms. */
  static withTerms(terms: Term[]): Plan {
    return new Plan([Phase.upload(terms)]);
  }

  /** `{phases: [{terms: [{term, ..}, ..], slot, epochs, steps}, ..]}`; what is not set is left out. */
  encode(): Message {
    const phases: Value[] = [];
    for (let i = 0; i < this.phases.length; i++) phases.push(Value.ofMap(this.phases[i].encode()));
    return new Message().with("phases", Value.ofList(phases));
  }
}
