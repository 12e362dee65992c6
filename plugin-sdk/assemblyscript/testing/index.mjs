// A host for tests: it creates a built plugin with the defaults of its manifest and calls it as the real host does.
//
//   const plugin = Testbed.open("build/my-rule.wasm", { beta: 0.25 });
//   plugin.reduce([[1, 2], [3, 4]]);
//
// A failure of the plugin is thrown as a `PluginError` with `code` and `message`.

import { readFileSync } from "node:fs";
import { decode, encode } from "./codec.mjs";
import { imports } from "./host.mjs";
import { Scan } from "./scan.mjs";

export { decode, encode };

/** Operation numbers of docs/abi.md section 9. */
export const op = {
  LAYOUT: 1, SYNC: 2, ROUND_BEGIN: 3, CLIENT_BEGIN: 4, ROUND_END: 5, SAVE: 6, LOAD: 7, SCAN_PLAN: 8, DENOMINATOR: 9,
  STEP_BEGIN: 10, DECIDE_PLAN: 12, POST_BEGIN: 13, ATTACK_BEGIN: 14, WEIGH: 32, DECIDE: 33, REDUCE: 34, STEP: 35, APPLY: 36, UNDO: 37,
  SCAN: 38, ENCODE: 39, DECODE: 40, CLIENT_END: 41, ATTACK: 43, SELECT: 44,
};

/** Bytes of the block, and where its fields are. */
const BLOCK_BYTES = 104;
const AT = {
  offset: 8, vector: 16, unit: 20, n: 24, k: 28, rows: 32, weights: 36, table: 40, base: 44, states: 48, out: 52,
  rowsOut: 56, mixOut: 60, input: 64, output: 68, tableLen: 72, nStates: 76, nRowsOut: 80, mixLen: 84, inputLen: 88,
  outputCap: 92, outputLen: 96, stateN: 100,
};

export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Testbed {
  #exports;
  #state = { memory: null, round: 1n, client: 0n, log: [] };
  #context = 0;

  /** @param {string | URL} file @param {object} parameters those that differ from the manifest's defaults */
  static open(file, parameters = {}) {
    return new Testbed(new WebAssembly.Module(readFileSync(file)), parameters);
  }

  constructor(module, parameters = {}) {
    const [section] = WebAssembly.Module.customSections(module, "colla.manifest");
    this.manifest = JSON.parse(new TextDecoder().decode(section));
    const instance = new WebAssembly.Instance(module, imports(this.#state));
    this.#exports = instance.exports;
    this.#state.memory = instance.exports.memory;
    const { resolved, unknown } = resolve(this.manifest.params ?? [], parameters);
    if (unknown.length > 0) throw new Error(`the manifest has no parameter \`${unknown[0]}\``);
    this.#lend((lend) => {
      const [config, out] = [encode(resolved), lend(new Uint8Array(8))];
      this.#checked(this.#exports.colla_create(lend(config), config.length, 0, out));
      this.#context = new DataView(this.memory.buffer).getUint32(out, true);
    });
  }

  get memory() {
    return this.#state.memory;
  }

  /** What the plugin has logged: pairs of level and text. */
  get log() {
    return this.#state.log;
  }

  /** Round and client of the random numbers from now on. */
  circumstances(round, client) {
    this.#state.round = BigInt(round);
    this.#state.client = BigInt(client);
  }

  /** A control operation; messages are as in `codec.mjs`. */
  call(operation, message = {}) {
    return this.#lend((lend) => {
      const bytes = encode(message);
      this.#checked(this.#exports.colla_call(this.#context, operation, lend(bytes), bytes.length));
      return decode(this.#slice(lend, this.#exports.colla_reply));
    });
  }

  /**
   * A data operation. Fields: `offset`, `vector`, `unit`, `n`, `k`, `stateN` as numbers; `rows`, `states`, `rowsOut` as lists of Float32Array;
   * `base`, `out` as Float32Array; `weights`, `table`, `mixOut` as Float64Array; `input`, `output` as Uint8Array.
   * Returns the fields that a plugin may write, as it left them.
   */
  block(operation, fields) {
    return this.#lend((lend) => {
      const block = new DataView(new ArrayBuffer(BLOCK_BYTES));
      const word = (name, value) => block.setUint32(AT[name], value, true);
      const array = (name, count) => {
        const given = fields[name];
        if (given === undefined) return [0, given];
        const place = lend(given);
        word(name, place);
        if (count) word(count, given.length);
        return [place, given];
      };
      const list = (name, count) => {
        const vectors = (fields[name] ?? []).map((vector) => [lend(vector), vector]);
        if (vectors.length > 0) word(name, lend(Uint32Array.from(vectors, ([place]) => place)));
        word(count, Math.max(vectors.length, name === "rows" ? fields.k ?? 0 : 0));
        return vectors;
      };
      block.setUint32(0, BLOCK_BYTES, true);
      block.setBigUint64(AT.offset, BigInt(fields.offset ?? 0), true);
      for (const name of ["vector", "unit", "n", "stateN"]) word(name, fields[name] ?? 0);
      list("rows", "k");
      const states = list("states", "nStates");
      const rowsOut = list("rowsOut", "nRowsOut");
      for (const name of ["weights", "base"]) array(name);
      for (const [name, count] of [["table", "tableLen"], ["input", "inputLen"]]) array(name, count);
      const out = array("out");
      const mixOut = array("mixOut", "mixLen");
      const output = array("output", "outputCap");
      const at = lend(new Uint8Array(block.buffer));
      this.#checked(this.#exports.colla_block(this.#context, operation, at));
      const used = new DataView(this.memory.buffer).getUint32(at + AT.outputLen, true);
      return {
        states: states.map((vector) => this.#read(...vector)),
        rowsOut: rowsOut.map((vector) => this.#read(...vector)),
        out: this.#read(...out),
        mixOut: this.#read(...mixOut),
        output: this.#read(...output)?.slice(0, used),
      };
    });
  }

  /** WEIGH, for clients given as [examples, steps, sum of learning rates, staleness]. */
  weigh(cohort) {
    const fields = { k: cohort.length, table: Float64Array.from(cohort.flat()), mixOut: new Float64Array(cohort.length) };
    return [...this.block(op.WEIGH, fields).mixOut];
  }

  /**
   * DECIDE_PLAN, then DECIDE on the plain Gram matrix of `rows` and of the extra rows (root: the mean of the rows; previous:
   * zeros): the mixing matrix, one list per row that comes out.
   */
  decide(rows, examples) {
    const plan = this.call(op.DECIDE_PLAN, { rows: BigInt(rows.length) });
    const mean = rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
    const all = [...rows, ...plan.extra.map((name) => (name === "root" ? mean : mean.map(() => 0)))];
    const [k, rowsOut] = [all.length, Number(plan.rows_out)];
    const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    const table = Float64Array.from(all.flatMap((a) => all.map((b) => dot(a, b))));
    const weights = Float64Array.from(all, (_, i) => examples[i] ?? 0);
    const { mixOut } = this.block(op.DECIDE, { k, table, weights, mixOut: new Float64Array(rowsOut * k) });
    return Array.from({ length: rowsOut }, (_, r) => [...mixOut.slice(r * k, (r + 1) * k)]);
  }

  /** ATTACK of the first of `attackers` attackers in one piece. */
  attack(honest, own, attackers) {
    const floats = (values) => Float32Array.from(values);
    const table = Float64Array.of(honest.length + attackers, attackers, 0);
    const fields = { n: own.length, rows: honest.map(floats), base: floats(own), table, out: floats(own).fill(NaN) };
    return [...this.block(op.ATTACK, fields).out];
  }

  /** SELECT of `size` clients, given as [examples, last loss, last round]. */
  select(clients, size) {
    const fields = { k: clients.length, table: Float64Array.from(clients.flat()), mixOut: new Float64Array(size) };
    return [...this.block(op.SELECT, fields).mixOut];
  }

  /** REDUCE over rows of equal length. */
  reduce(rows, weights = undefined) {
    const vectors = rows.map((row) => Float32Array.from(row));
    const n = vectors[0].length;
    const fields = { n, rows: vectors, out: new Float32Array(n).fill(NaN) };
    if (weights !== undefined) fields.weights = Float64Array.from(weights);
    return [...this.block(op.REDUCE, fields).out];
  }

  /** STEP_BEGIN of a round in which 10 of 100 clients took part. */
  stepBegin(round) {
    const counts = { round: BigInt(round), accepted: 10n, cohort: 10n, num_clients: 100n, expected_cohort: 10 };
    return this.call(op.STEP_BEGIN, { ...counts, weight_sum: 10, denominator: 10, aggregate_norm2: 1 });
  }

  /** STEP over a whole model: `[new weights, new states]`. */
  step(weights, update, states) {
    const floats = (values) => Float32Array.from(values);
    const n = weights.length;
    const fields = { n, base: floats(weights), rows: [floats(update)], states: states.map(floats) };
    const done = this.block(op.STEP, { ...fields, out: new Float32Array(n).fill(NaN) });
    return [[...done.out], done.states.map((state) => [...state])];
  }

  /** SCAN_PLAN, then APPLY piece by piece. */
  apply(values, piece) {
    return this.applyWithHeaders(values, piece).values;
  }

  /** The same, with the side header of each piece. */
  applyWithHeaders(values, piece) {
    const vector = Float32Array.from(values);
    const scan = this.#scan(vector);
    const done = pieces(vector, piece).map(({ part, ...place }) => {
      const output = new Uint8Array(this.manifest.max_header ?? 0);
      return this.block(op.APPLY, { ...place, table: scan.ofPiece(part), out: part, output });
    });
    return { values: done.flatMap(({ out }) => [...out]), headers: done.map(({ output }) => output) };
  }

  /** UNDO piece by piece. */
  undo(values, piece, headers) {
    return pieces(Float32Array.from(values), piece).flatMap(({ part, ...place }) => {
      return [...this.block(op.UNDO, { ...place, out: part, input: Uint8Array.from(headers[place.unit]) }).out];
    });
  }

  /** SCAN_PLAN, then ENCODE piece by piece. */
  encode(values, piece) {
    const { num, den, plus } = this.manifest.max_encoded;
    const vector = Float32Array.from(values);
    const scan = this.#scan(vector);
    return pieces(vector, piece).map(({ part, ...place }) => {
      const output = new Uint8Array(Math.floor((part.length * num) / den) + plus);
      return this.block(op.ENCODE, { ...place, rows: [part], table: scan.ofPiece(part), output }).output;
    });
  }

  /** DECODE of pieces with these numbers of elements, joined. */
  decode(encoded, sizes) {
    let offset = 0;
    return encoded.flatMap((piece, index) => {
      const n = sizes[index];
      const fields = { offset, unit: index, n, input: Uint8Array.from(piece), out: new Float32Array(n).fill(NaN) };
      offset += n;
      return [...this.block(op.DECODE, fields).out];
    });
  }

  /** Measures a whole vector as the plan asks, with the stage's own scan. */
  #scan(vector) {
    const plan = this.call(op.SCAN_PLAN, { n: BigInt(vector.length), vector: 0n });
    let own = new Float64Array(Number(plan.scan ?? 0n));
    for (const { part, ...place } of own.length > 0 ? pieces(vector, 65_536) : []) {
      own = this.block(op.SCAN, { ...place, rows: [part], table: own, mixOut: new Float64Array(own.length) }).mixOut;
    }
    return new Scan(plan, vector, own);
  }

  #checked(code) {
    if (code === 0) return;
    const message = this.#lend((lend) => this.#slice(lend, this.#exports.colla_last_error));
    throw new PluginError(code, new TextDecoder().decode(message));
  }

  /** The bytes that `colla_reply` or `colla_last_error` names. */
  #slice(lend, get) {
    const out = lend(new Uint8Array(8));
    get(this.#context, out);
    const view = new DataView(this.memory.buffer);
    const [pointer, length] = [view.getUint32(out, true), view.getUint32(out + 4, true)];
    return new Uint8Array(this.memory.buffer, pointer, length).slice();
  }

  #read(place, like) {
    return like && new like.constructor(this.memory.buffer, place, like.length).slice();
  }

  /** Runs `work` with a function that copies an array into the plugin's memory; what it lent is freed at the end. */
  #lend(work) {
    const lent = [];
    const lend = (array) => {
      const size = Math.max(64, array.byteLength);
      const place = this.#exports.colla_alloc(size, 64) >>> 0;
      if (place === 0) throw new Error(`the plugin gave no memory for ${size} bytes`);
      lent.push([place, size]);
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      new Uint8Array(this.memory.buffer).set(bytes, place);
      return place;
    };
    try {
      return work(lend);
    } finally {
      for (const [place, size] of lent) this.#exports.colla_free(place, size, 64);
    }
  }
}

/** The parts of a vector, with their `offset`, `unit` and `n`. */
function pieces(vector, piece) {
  return Array.from({ length: Math.ceil(vector.length / piece) }, (_, unit) => {
    const part = vector.slice(unit * piece, (unit + 1) * piece);
    return { offset: unit * piece, unit, n: part.length, part };
  });
}

/** Every declared parameter with its default, or the given value; integers travel as I64. */
function resolve(declared, given) {
  const value = ({ name, type, default: fallback }) => {
    const chosen = given[name] ?? fallback;
    return type === "int" ? BigInt(chosen) : chosen;
  };
  const resolved = Object.fromEntries(declared.map((parameter) => [parameter.name, value(parameter)]));
  return { resolved, unknown: Object.keys(given).filter((name) => !(name in resolved)) };
}
