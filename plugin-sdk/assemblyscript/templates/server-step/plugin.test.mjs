import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("two steps are the hand-computed ones", () => {
  const plugin = Testbed.open("{{name}}.wasm", { "server-learning-rate": 2, tau: 1 });
  // v = 9, w = 1 + 2·3/(3 + 1) = 2.5; then v = 25, w = 2.5 - 2·4/(5 + 1).
  assert.deepEqual(plugin.step([1], [3], [[0]]), [[2.5], [[9]]]);
  const [[w], [[v]]] = plugin.step([2.5], [-4], [[9]]);
  assert.ok(Math.abs(w - 7 / 6) < 1e-6 && v === 25, `${w} ${v}`);
});
