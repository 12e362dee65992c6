import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("who has waited longest trains and small clients never do", () => {
  const plugin = Testbed.open("{{name}}.wasm", { "min-examples": 5 });
  // Examples, last loss, last round.
  const clients = [[10, 0.5, 4], [10, 0.5, 2], [4, 0, 0], [10, 0.5, 3], [10, 0, 0]];
  assert.deepEqual(plugin.select(clients, 3), [4, 1, 3]);
  assert.deepEqual(plugin.select(clients, 5), [4, 1, 3, 0, -1]);
});
