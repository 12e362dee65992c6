// The host's measures of one vector, the slow and obvious way.

export class Scan {
  #values;
  #threshold = 0;
  #tiesLeft = 0;

  /** @param plan the reply of SCAN_PLAN @param {Float32Array} vector */
  constructor(plan, vector) {
    const magnitudes = Float32Array.from(vector, Math.abs).sort().reverse();
    this.#values = plan.measures.map((name) => {
      switch (name) {
        case "norm2": return [Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))];
        case "norm_inf": return [magnitudes.length > 0 ? magnitudes[0] : 0];
        case "sum": return [vector.reduce((sum, x) => sum + x, 0)];
        case "kth_abs": {
          const k = Number(plan.k);
          this.#threshold = magnitudes[k - 1];
          this.#tiesLeft = k - magnitudes.filter((x) => x > this.#threshold).length;
          return null;
        }
        default: throw new Error(`there is no measure \`${name}\``);
      }
    });
  }

  /** `table` of the next piece. */
  ofPiece(piece) {
    return Float64Array.from(this.#values.flatMap((values) => {
      if (values !== null) return values;
      const count = (keep) => piece.filter((x) => keep(Math.abs(x))).length;
      const ties = Math.min(count((x) => x === this.#threshold), this.#tiesLeft);
      this.#tiesLeft -= ties;
      return [this.#threshold, ties, ties + count((x) => x > this.#threshold)];
    }));
  }
}
