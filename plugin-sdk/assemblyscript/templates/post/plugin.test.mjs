import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("a long aggregate is shortened and a short one left alone", () => {
  const plugin = Testbed.open("{{name}}.wasm", { norm: 2.5 });
  // ‖(3, 4)‖ = 5: halved, whatever the pieces.
  const [x, y] = plugin.apply([3, 4], 1);
  assert.ok(Math.abs(x - 1.5) < 1e-6 && Math.abs(y - 2) < 1e-6, `${x} ${y}`);
  assert.deepEqual(plugin.apply([1.5, -2], 2), [1.5, -2]);
});
