// The host's measures of one vector, the slow and obvious way.

export class Scan {
  #plan;
  #whole;
  #own;

  /** @param plan the reply of SCAN_PLAN @param {Float32Array} vector @param {Float64Array} own what the stage's scan gave */
  constructor(plan, vector, own) {
    this.#plan = plan;
    this.#whole = new Measured(plan, vector);
    this.#own = own;
  }

  /** `table` of the next piece. */
  ofPiece(piece) {
    const measured = this.#plan.of === "piece" ? new Measured(this.#plan, piece) : this.#whole;
    return Float64Array.from([...measured.ofPiece(piece), ...this.#own]);
  }
}

/** The measures of a vector or of a piece. */
class Measured {
  /** Per measure: the values that are the same for each piece; null for `kth_abs`. */
  #values;
  #threshold = 0;
  #tiesLeft = 0;

  constructor(plan, vector) {
    const magnitudes = Float32Array.from(vector, Math.abs).sort().reverse();
    this.#values = plan.measures.map((name) => {
      switch (name) {
        case "norm2": return [Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))];
        case "norm_inf": return [magnitudes.length > 0 ? magnitudes[0] : 0];
        case "sum": return [vector.reduce((sum, x) => sum + x, 0)];
        case "kth_abs": {
          const k = Math.min(Number(plan.k), vector.length);
          this.#threshold = magnitudes[k - 1];
          this.#tiesLeft = k - magnitudes.filter((x) => x > this.#threshold).length;
          return null;
        }
        default: throw new Error(`there is no measure \`${name}\``);
      }
    });
  }

  ofPiece(piece) {
    return this.#values.flatMap((values) => {
      if (values !== null) return values;
      const count = (keep) => piece.filter((x) => keep(Math.abs(x))).length;
      const ties = Math.min(count((x) => x === this.#threshold), this.#tiesLeft);
      this.#tiesLeft -= ties;
      return [this.#threshold, ties, ties + count((x) => x > this.#threshold)];
    });
  }
}
