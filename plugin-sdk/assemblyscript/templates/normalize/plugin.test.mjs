import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("long and short updates get the same length", () => {
  const plugin = Testbed.open("{{name}}.wasm", { norm: 10 });
  // ‖(3, 4)‖ = 5: doubled, whatever the pieces.
  assert.deepEqual(plugin.apply([3, 4], 1), [6, 8]);
  assert.deepEqual(plugin.apply([-30, 40], 2), [-6, 8]);
  assert.deepEqual(plugin.apply([0, 0], 2), [0, 0]);
});
