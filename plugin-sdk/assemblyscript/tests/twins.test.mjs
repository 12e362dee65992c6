// The committed plugins of both languages, side by side on random input: the same bits. (Runs of the whole host with each
// are compared in tests/assemblyscript.rs.)

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { Testbed, op } from "../testing/index.mjs";
import { root } from "./build.mjs";

const SEED = 20_260;
let state = SEED;

/** Uniform in [0, 1), from a generator whose seed every failure names. */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

const below = (bound) => Math.floor(random() * bound);
const choice = (...words) => words[below(words.length)];

/** Rows of many magnitudes, or of few values with many ties and two equal rows. */
function randomRows(count, length) {
  const value = random() < 0.3 ? () => below(3) : () => Math.fround((random() - 0.5) * 10 ** (random() * 8 - 4));
  const rows = Array.from({ length: count }, () => Array.from({ length }, value));
  if (random() < 0.3) rows[1] = [...rows[0]];
  return rows;
}

/** The answers of the plugin in both languages must be equal, signs of zero included. */
function twins(name, parameters, ask) {
  const shipped = join(root, "../../plugins/shipped");
  const [rust, assemblyscript] = [`${name}.wasm`, `assemblyscript/${name}.wasm`].map((file) =>
    ask(Testbed.open(join(shipped, file), parameters)),
  );
  assert.deepStrictEqual(assemblyscript, rust, `${name} with ${JSON.stringify(parameters)}, seed ${SEED}`);
}

for (const [name, check] of Object.entries({
  fedavg: (rows, examples) => {
    const cohort = examples.map((count) => [count, 5, 0.5, 0]);
    const counts = { round: 1n, cohort: 9n, num_clients: 99n, expected_cohort: 9, accepted: BigInt(rows.length) };
    const parameters = { weights: choice("uniform", "num-examples"), denominator: below(2) * 7.5 };
    twins("fedavg", parameters, (plugin) => [
      plugin.weigh(cohort),
      plugin.call(op.DENOMINATOR, { ...counts, weight_sum: 123.25 }),
    ]);
  },
  fedprox: () => {
    const client = { round: 3n, client: 17n, num_examples: 42n };
    twins("fedprox", { mu: random() }, (plugin) => plugin.call(op.CLIENT_BEGIN, client));
  },
  "fedavg-rows": (rows, examples) => {
    twins("fedavg-rows", {}, (plugin) => [plugin.reduce(rows, examples), plugin.reduce(rows)]);
  },
  clip: (rows) => {
    const piece = 1 + below(rows[0].length);
    twins("clip", { norm: 0.01 + 5 * random() }, (plugin) => plugin.apply(rows[0], piece));
  },
  topk: (rows) => {
    const piece = 1 + below(rows[0].length);
    twins("topk", { ratio: 0.01 + 0.99 * random() }, (plugin) => {
      const encoded = plugin.encode(rows[0], piece);
      const sizes = encoded.map((_, index) => Math.min(piece, rows[0].length - index * piece));
      return [encoded, plugin.decode(encoded, sizes)];
    });
  },
  "multi-krum": (rows, examples) => {
    const f = below(Math.floor((rows.length - 3) / 2) + 1);
    const choices = { weights: choice("uniform", "num-examples"), neighbours: choice("n-f-2", "n-f-1") };
    const parameters = { f, m: below(rows.length + 1), ...choices };
    twins("multi-krum", parameters, (plugin) => plugin.decide(rows, examples));
  },
})) {
  test(`${name} gives the same bits in both languages`, () => {
    for (let round = 0; round < 100; round++) {
      const rows = randomRows(3 + below(30), 1 + below(200));
      check(rows, rows.map(() => 1 + below(1000)));
    }
  });
}
