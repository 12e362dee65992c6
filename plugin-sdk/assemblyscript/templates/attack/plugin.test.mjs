import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("a free rider sends a part of the honest mean", () => {
  const plugin = Testbed.open("{{name}}.wasm", { share: 0.25 });
  assert.deepEqual(plugin.attack([[1, 4], [3, -8]], [9, 9], 1), [0.5, -0.5]);
  assert.deepEqual(plugin.attack([], [9, 9], 2), [0, 0]);
});
