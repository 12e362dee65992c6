import assert from "node:assert/strict";
import { test } from "node:test";
import { Testbed } from "colla-plugin-sdk/testing";

test("signs are kept and magnitudes become their mean", () => {
  const plugin = Testbed.open("{{name}}.wasm");
  const encoded = plugin.encode([1, -2, 3], 3);
  // Mean magnitude 2, and the second bit set.
  assert.deepEqual(encoded, [Uint8Array.of(...new Uint8Array(Float32Array.of(2).buffer), 0b010)]);
  assert.deepEqual(plugin.decode(encoded, [3]), [2, -2, 2]);
});

test("damaged bytes are refused", () => {
  const plugin = Testbed.open("{{name}}.wasm");
  for (const bytes of [[], [0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0xc0, 0x7f, 0]]) {
    assert.throws(() => plugin.decode([bytes], [3]), { code: -1 });
  }
});
