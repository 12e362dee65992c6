import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("the update in the middle is chosen alone", () => {
  const plugin = Testbed.open("{{name}}.wasm");
  // On a line at 0, 1, 3, 1000: the sums are 1004, 1002, 1002, 2996.
  assert.deepEqual(plugin.decide([[0], [1], [3], [1000]], [1, 1, 1, 1]), [[0, 1, 0, 0]]);
});
