import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("the ends are pulled in to their neighbours", () => {
  const plugin = Testbed.open("{{name}}.wasm", { beta: 0.25 });
  // One of four at each end: (2 + 2 + 4 + 4)/4, and (-1 - 1 + 1 + 1)/4.
  assert.deepEqual(plugin.reduce([[1e30, 1], [2, -1e30], [4, -1], [1, 5]]), [3, 0]);
});

test("one client alone is the aggregate", () => {
  assert.deepEqual(Testbed.open("{{name}}.wasm").reduce([[1.5, -2]]), [1.5, -2]);
});
