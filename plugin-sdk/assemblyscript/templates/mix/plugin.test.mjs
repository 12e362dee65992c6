import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("each update meets its nearest one", () => {
  const plugin = Testbed.open("{{name}}.wasm", { share: 0.25 });
  const expected = [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.25, 0.75]];
  assert.deepEqual(plugin.decide([[0], [1], [3]], [1, 1, 1]), expected);
});

test("one update alone stays", () => {
  assert.deepEqual(Testbed.open("{{name}}.wasm").decide([[2]], [1]), [[1]]);
});
