import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed, op } from "colla-plugin-sdk/testing";

test("the strength halves each round with a decay of one half", () => {
  const plugin = Testbed.open("{{name}}.wasm", { mu: 0.8, decay: 0.5 });
  for (const [round, mu] of [[1n, 0.8], [2n, 0.4], [3n, 0.2]]) {
    const plan = plugin.call(op.CLIENT_BEGIN, { round, client: 7n, num_examples: 20n });
    assert.deepEqual(plan, { phases: [{ terms: [{ term: "prox", mu }] }] });
  }
});
