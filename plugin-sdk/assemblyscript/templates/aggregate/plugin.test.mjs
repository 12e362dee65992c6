import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("weights grow with the examples up to the cap", () => {
  const plugin = Testbed.open("{{name}}.wasm", { cap: 40 });
  // Examples, local steps, sum of their learning rates, staleness.
  const cohort = [[10, 5, 0.5, 0], [40, 20, 2, 0], [400, 200, 20, 0]];
  assert.deepEqual(plugin.weigh(cohort), [0.25, 1, 1]);
});
