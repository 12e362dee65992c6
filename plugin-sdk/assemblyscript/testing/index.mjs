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
  STEP_BEGIN: 10, WEIGH: 32, REDUCE: 34, STEP: 35, APPLY: 36, ENCODE: 39, DECODE: 40,
};

/** Bytes of the block, and where its fields are. */
const BLOCK_BYTES = 104;
const AT = {
  offset: 8, vector: 16, unit: 20, n: 24, k: 28, rows: 32, weights: 36, table: 40, base: 44, states: 48, out: 52,
  mixOut: 60, input: 64, output: 68, tableLen: 72, nStates: 76, mixLen: 84, inputLen: 88, outputCap: 92, outputLen: 96,
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
   * A data operation. Fields: `offset`, `vector`, `unit`, `n`, `k` as numbers; `rows`, `states` as lists of Float32Array;
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
      for (const name of ["vector", "unit", "n"]) word(name, fields[name] ?? 0);
      list("rows", "k");
      const states = list("states", "nStates");
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
    const sums = { weight_sum: 10, aggregate_norm2: 1 };
    return this.call(op.STEP_BEGIN, { round: BigInt(round), accepted: 10n, num_clients: 100n, ...sums });
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
    const vector = Float32Array.from(values);
    const scan = this.#scan(vector);
    return pieces(vector, piece).flatMap(({ offset, part }) => {
      const fields = { offset, n: part.length, table: scan.ofPiece(part), out: part };
      return [...this.block(op.APPLY, fields).out];
    });
  }

  /** SCAN_PLAN, then ENCODE piece by piece. */
  encode(values, piece) {
    const { num, den, plus } = this.manifest.max_encoded;
    const vector = Float32Array.from(values);
    const scan = this.#scan(vector);
    return pieces(vector, piece).map(({ offset, part }) => {
      const output = new Uint8Array(Math.floor((part.length * num) / den) + plus);
      return this.block(op.ENCODE, { offset, n: part.length, rows: [part], table: scan.ofPiece(part), output }).output;
    });
  }

  /** DECODE of pieces with these numbers of elements, joined. */
  decode(encoded, sizes) {
    let offset = 0;
    return encoded.flatMap((piece, index) => {
      const n = sizes[index];
      const out = this.block(op.DECODE, { offset, n, input: Uint8Array.from(piece), out: new Float32Array(n).fill(NaN) }).out;
      offset += n;
      return [...out];
    });
  }

  #scan(vector) {
    return new Scan(this.call(op.SCAN_PLAN, { n: BigInt(vector.length), vector: 0n }), vector);
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

function pieces(vector, piece) {
  const parts = [];
  for (let offset = 0; offset < vector.length; offset += piece) {
    parts.push({ offset, part: vector.slice(offset, offset + piece) });
  }
  return parts;
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
