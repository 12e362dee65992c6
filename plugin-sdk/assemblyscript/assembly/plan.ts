/** The local plan: what a client's training is besides its loss and its optimizer. The host does the training. */

import { Message, Value } from "./value";

/** One correction of local training. `w` are the client's weights, `w0` those it received, `g` the gradient. */
export class Term {
  private constructor(
    private readonly term: string,
    private readonly field: string,
    private readonly value: f64,
  ) {}

  /** `+ (mu/2)·‖w − w0‖²` in the objective. */
  static prox(mu: f64): Term {
    return new Term("prox", "mu", mu);
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

  encode(): Message {
    return new Message().withText("term", this.term).withF64(this.field, this.value);
  }
}

/** ABI 1.0 hosts run exactly one phase: the configured epochs, with these terms. */
export class Plan {
  private constructor(private readonly terms: Term[]) {}

  static withTerms(terms: Term[]): Plan {
    return new Plan(terms);
  }

  /** `{phases: [{terms: [{term, ..}, ..]}]}`. */
  encode(): Message {
    const terms: Value[] = [];
    for (let i = 0; i < this.terms.length; i++) terms.push(Value.ofMap(this.terms[i].encode()));
    const phase = new Message().with("terms", Value.ofList(terms));
    return new Message().with("phases", Value.ofList([Value.ofMap(phase)]));
  }
}
