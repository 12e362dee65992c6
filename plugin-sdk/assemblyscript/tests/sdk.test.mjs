// The SDK against the committed byte vectors of tests/vectors/abi/, against the codec of `testing/`, and against numbers
// computed by hand or the slow way.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { PluginError, Testbed, decode, encode, op } from "../testing/index.mjs";
import { imports } from "../testing/host.mjs";
import { build, root } from "./build.mjs";

const file = build("probe");
const roles = build("roles");
const vectors = (name) => JSON.parse(readFileSync(join(root, `../../tests/vectors/abi/${name}.json`), "utf8"));

function instance() {
  const state = { memory: null, round: 1n, client: 0n, log: [] };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), imports(state));
  state.memory = exports.memory;
  return exports;
}

const raw = instance();

/** Copies bytes into memory that the plugin's allocator gave. */
function lend(bytes) {
  const place = raw.colla_alloc(Math.max(bytes.length, 1), 64);
  new Uint8Array(raw.memory.buffer).set(bytes, place);
  return place;
}

function held(place) {
  return Buffer.from(raw.memory.buffer, place, raw.heldLength()).toString("hex");
}

/** The bytes, decoded and encoded again by the plugin's codec; null if it refuses them. */
function reencoded(bytes) {
  const place = raw.reencoded(lend(bytes), bytes.length);
  return place === 0 ? null : held(place);
}

test("maps decode and encode to the committed bytes, and not a byte more or less", () => {
  const maps = vectors("maps");
  assert.ok(Object.keys(maps).length >= 11);
  for (const [name, hex] of Object.entries(maps)) {
    const bytes = Buffer.from(hex, "hex");
    assert.equal(reencoded(bytes), hex, name);
    // An object lists names like `64` first, so the order of a map may differ.
    const map = decode(Uint8Array.from(bytes));
    assert.deepEqual(decode(encode(map)), map, `${name}, in JavaScript`);
    assert.equal(encode(map).length, bytes.length, `${name}, in JavaScript`);
    assert.equal(reencoded(Buffer.concat([bytes, Buffer.of(0)])), null, `${name} with a byte too many`);
    if (bytes.length > 1) assert.equal(reencoded(bytes.subarray(0, -1)), null, `${name} with a byte too few`);
  }
  assert.equal(held(raw.encodedPlan()), maps.plan);
  assert.equal(held(raw.encodedScanPlan()), maps["scan-plan"]);
});

test("filled blocks are read field by field, at the committed offsets", () => {
  const { size, offsets, hex } = vectors("blocks").block32;
  const bytes = Buffer.from(hex, "hex");
  const at = lend(bytes);
  Object.entries(offsets).forEach(([name, offset], field) => {
    assert.equal(raw.offsetOf(field), offset, name);
    const expected = name === "offset" ? bytes.readBigUInt64LE(offset) : BigInt(bytes.readUInt32LE(offset));
    assert.equal(BigInt.asUintN(64, raw.fieldOf(at, field)), expected, name);
  });
  assert.equal(raw.offsetOf(Object.keys(offsets).length), size);
});

test("hostile messages are refused", () => {
  const refused = (what, ...bytes) => assert.equal(reencoded(Uint8Array.from(bytes)), null, what);
  const entry = (...value) => [1, 1, 97, ...value];
  refused("a count that no bytes follow", 255, 255, 255, 255, 15);
  refused("a count of more than 32 bits", 255, 255, 255, 255, 31);
  refused("a number without an end", ...entry(1, ...Array(10).fill(128), 0));
  refused("a number of more than 64 bits", ...entry(1, ...Array(9).fill(255), 2));
  refused("a bool of 2", ...entry(0, 2));
  refused("a tenth variant", ...entry(9, 0));
  refused("a string that is longer than the message", ...entry(3, 200, 1, 97));
  refused("a list of four milliards", ...entry(5, 255, 255, 255, 255, 15, 0, 1));
  refused("floats of 16 milliard bytes", ...entry(8, 255, 255, 255, 255, 15, 0, 0, 0, 0));
  for (const bad of [[0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80], [0xe2, 0x82], [0xff]]) {
    refused(`the text ${bad}`, ...entry(3, bad.length, ...bad));
  }
  for (const text of ["\u0000", "é", "€", "𝄞", "\uD7FF\uE000\uFFFF", "\u{10FFFF}"]) {
    const bytes = encode({ a: text });
    assert.equal(reencoded(bytes), Buffer.from(bytes).toString("hex"), text);
  }
});

test("values nest sixteen deep and no deeper", () => {
  // Lists of one list each, and maps of one map each, around `true`.
  const lists = (depth) => Uint8Array.of(1, 1, 97, ...Array(depth).fill([5, 1]).flat(), 0, 1);
  const maps = (depth) => Uint8Array.of(1, 1, 97, ...Array(depth).fill([6, 1, 1, 98]).flat(), 0, 1);
  for (const nested of [lists, maps]) {
    assert.equal(reencoded(nested(16)), Buffer.from(nested(16)).toString("hex"));
    assert.equal(reencoded(nested(17)), null);
    assert.equal(reencoded(nested(20_000)), null);
  }
});

test("what is wrong with a block is said as the Rust SDK says it", () => {
  const plugin = (() => {
    const config = encode({ rank: -1n });
    const out = lend(new Uint8Array(8));
    assert.equal(raw.colla_create(lend(config), config.length, 0, out), 0);
    return new DataView(raw.memory.buffer).getUint32(out, true);
  })();
  const check = (fields, expected, at) => {
    const block = new DataView(new ArrayBuffer(104));
    block.setUint32(0, 104, true);
    for (const [offset, value] of Object.entries(fields)) block.setUint32(Number(offset), value, true);
    assert.equal(raw.colla_block(plugin, op.REDUCE, at ?? lend(new Uint8Array(block.buffer))), -1);
    const out = lend(new Uint8Array(8));
    raw.colla_last_error(plugin, out);
    const [pointer, length] = new Uint32Array(raw.memory.buffer, out, 2);
    assert.equal(new TextDecoder().decode(new Uint8Array(raw.memory.buffer, pointer, length)), expected);
  };
  const floats = lend(new Uint8Array(64));
  const rows = lend(new Uint8Array(Uint32Array.of(floats, 0).buffer));
  check({ 0: 100 }, "the block has 100 bytes, ABI 1.0 has 104");
  check({ 72: 3 }, "`table` is null but has 3 elements");
  check({ 76: 2 }, "`states` is null but has 2 vectors");
  check({ 24: 2, 52: floats + 1 }, "`out` with 2 elements is misaligned or too long");
  check({ 24: 0x80000000, 52: floats }, "`out` with 2147483648 elements is misaligned or too long");
  check({ 28: 2, 36: floats + 4 }, "`weights` with 2 elements is misaligned or too long");
  check({ 24: 2, 28: 2, 32: rows }, "`rows[1]` is null");
  check({}, "the block pointer is null or misaligned", 0);
  check({}, "the block pointer is null or misaligned", floats + 4);
  check({}, "REDUCE needs at least one row");
  check({ 28: 1, 32: rows }, "REDUCE needs `out`");
});

test("allocations are aligned, never overlap, are used again, and fail cleanly when they are impossible", () => {
  const { colla_alloc, colla_free, memory } = instance();
  for (const [size, align] of [[0, 8], [8, 0], [8, 3], [0xffffffff, 8], [0x7fffffff, 64], [64, 0x80000000]]) {
    assert.equal(colla_alloc(size, align), 0, `size ${size}, alignment ${align}`);
  }
  let seed = 12345;
  const random = (below) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % below;
  const live = [];
  for (let step = 0; step < 20_000; step++) {
    if (live.length > 40 || (live.length > 0 && random(2))) {
      const [[start, end, align]] = live.splice(random(live.length), 1);
      colla_free(start, end - start, align);
      continue;
    }
    const [size, align] = [1 + random(random(10) ? 5_000 : 300_000), 1 << random(18)];
    const start = colla_alloc(size, align) >>> 0;
    assert.ok(start > 0 && start % align === 0 && start + size <= memory.buffer.byteLength, `step ${step}`);
    for (const [from, to] of live) assert.ok(start + size <= from || to <= start, `step ${step} overlaps`);
    live.push([start, start + size, align]);
    new Uint8Array(memory.buffer, start, size).fill(255);
  }
  for (const [start, end, align] of live) colla_free(start, end - start, align);
  const before = memory.buffer.byteLength;
  assert.notEqual(colla_alloc(before - 8 * 65_536, 64), 0, "what was freed is one range again");
  assert.equal(memory.buffer.byteLength, before);
});

test("what the host has allocated stays as it is while the plugin works", () => {
  const { exports, control, data, untouched } = lean(1 << 20);
  const kept = exports.colla_alloc(3 << 20, 64);
  const bytes = () => new Uint8Array(exports.memory.buffer, kept, 3 << 20);
  bytes().forEach((_, at, all) => (all[at] = (at * 31) & 255));
  for (let call = 0; call < 1_000; call++) control(call), data();
  assert.ok(bytes().every((byte, at) => byte === ((at * 31) & 255)) && untouched());
});

test("a million calls need no more memory than a hundred", () => {
  const { exports, control, data } = lean();
  for (let call = 0; call < 100; call++) control(call), data();
  const before = exports.memory.buffer.byteLength;
  for (let call = 0; call < 500_000; call++) control(call), data();
  assert.equal(exports.memory.buffer.byteLength, before);
  assert.ok(before <= 4 * 65_536, `${before} bytes`);
});

/** One control call and one data call, without the testbed's own work around them. */
function lean(early = 64) {
  const exports = instance();
  // Before the plugin is created, as the host does it.
  const filled = exports.colla_alloc(early, 64);
  const untouched = () => new Uint8Array(exports.memory.buffer, filled, early).every((byte) => byte === 0xa5);
  new Uint8Array(exports.memory.buffer, filled, early).fill(0xa5);
  const put = (bytes) => {
    const place = exports.colla_alloc(bytes.length, 64);
    new Uint8Array(exports.memory.buffer).set(bytes, place);
    return place;
  };
  const config = encode({ rank: 1n });
  const out = put(new Uint8Array(8));
  assert.equal(exports.colla_create(put(config), config.length, 0, out), 0);
  const context = new DataView(exports.memory.buffer).getUint32(out, true);
  const counts = { round: 3n, accepted: 2n, cohort: 2n, num_clients: 9n, expected_cohort: 2 };
  const message = encode({ ...counts, weight_sum: 1, denominator: 1, aggregate_norm2: 2 });
  const [unusable, messageAt] = [put(new Uint8Array(9).fill(7)), put(message)];
  const row = put(new Uint8Array(400));
  const rows = put(new Uint8Array(Uint32Array.of(row, row, row).buffer));
  const block = new DataView(new ArrayBuffer(104));
  for (const [at, word] of [[0, 104], [24, 100], [28, 3], [32, rows], [52, put(new Uint8Array(400))]]) {
    block.setUint32(at, word, true);
  }
  const blockAt = put(new Uint8Array(block.buffer));
  // Every seventh message is unusable, so that failures are among what is repeated.
  const control = (call) => {
    if (call % 7 > 0) assert.equal(exports.colla_call(context, op.STEP_BEGIN, messageAt, message.length), 0);
    else assert.equal(exports.colla_call(context, op.STEP_BEGIN, unusable, 9), -1);
  };
  const data = () => assert.equal(exports.colla_block(context, op.REDUCE, blockAt), 0);
  return { exports, control, data, untouched };
}

test("a call over a large vector needs next to no memory of its own", () => {
  const n = 1 << 19;
  const rows = Array.from({ length: 4 }, (_, k) => Float32Array.from({ length: n }, (_, i) => (i * 7 + k * 3) % 11));
  const bound = 4 * n * (rows.length + 1) + (1 << 20);
  for (const [plugin, work] of [
    [Testbed.open(file, { rank: 2 }), (plugin) => plugin.reduce(rows)],
    [Testbed.open(file), (plugin) => plugin.reduce(rows, [1, 2, 3, 4])],
    // Element by element, `honest[row][i]`.
    [Testbed.open(roles), (plugin) => plugin.attack(rows.slice(1), rows[0], 1)],
  ]) {
    work(plugin);
    const used = plugin.memory.buffer.byteLength;
    assert.ok(used <= bound, `${used} bytes for ${bound}`);
  }
});

test("the sorting network sorts every sequence of zeros and ones", () => {
  for (let n = 1; n <= 12; n++) {
    for (let bits = 0; bits < 1 << n; bits++) {
      const ones = [...bits.toString(2)].filter((bit) => bit === "1").length;
      assert.equal(raw.sortedBits(n, bits), ((1 << ones) - 1) << (n - ones), `n = ${n}, input ${bits.toString(2)}`);
    }
  }
});

test("columns come sorted by total order whatever their position", () => {
  const key = (value) => {
    const bits = new Int32Array(Float32Array.of(value).buffer)[0];
    return bits < 0 ? bits ^ 0x7fffffff : bits;
  };
  const special = [0, -0, Infinity, -Infinity, 1.5, -2, 1.1754943508222875e-38, -7, 3];
  for (const n of [1, 31, 32, 69]) {
    const rows = Array.from({ length: 9 }, (_, k) => Array.from({ length: n }, (_, i) => special[(i * 5 + k * 7) % 9]));
    for (let rank = 0; rank < 9; rank++) {
      const out = Testbed.open(file, { rank }).reduce(rows);
      out.forEach((value, i) => {
        const column = rows.map((row) => row[i]).sort((a, b) => key(a) - key(b));
        assert.ok(Object.is(value, column[rank]), `column ${i} of ${n}, rank ${rank}`);
      });
    }
  }
  const nans = [[NaN], [1], [2]];
  assert.deepEqual(Testbed.open(file, { rank: 1 }).reduce(nans), [2]);
});

test("means are the hand-computed ones in whole blocks and in the tail, wherever they are cut", () => {
  const plugin = Testbed.open(file);
  const n = 67;
  const [a, b] = [1, 4].map((factor) => Array.from({ length: n }, (_, i) => factor * i));
  assert.deepEqual(plugin.reduce([a, b]), a.map((i) => 2.5 * i));
  // Weights 3 and 1: (3·i + 4i)/4.
  assert.deepEqual(plugin.reduce([a, b], [3, 1]), a.map((i) => 1.75 * i));
  assert.throws(() => plugin.reduce([[1]], [0]), { code: -5 });
  const rows = Array.from({ length: 7 }, (_, k) => Array.from({ length: 100 }, (_, i) => ((i * 37 + k * 101) % 97) * 0.013));
  for (const weights of [undefined, [1, 2, 3, 4, 5, 6, 7]]) {
    const whole = plugin.reduce(rows, weights);
    for (const cut of [1, 31, 32, 33, 64, 99]) {
      const part = (...range) => plugin.reduce(rows.map((row) => row.slice(...range)), weights);
      assert.deepEqual([...part(0, cut), ...part(cut)], whole, `cut at ${cut}`);
    }
  }
});

test("means of values at the end of the range are in it, in whole blocks and in the tail", () => {
  const plugin = Testbed.open(file);
  const far = Math.fround(3.4028234663852886e38);
  for (const place of [3, 36]) {
    const row = (far, before) => Array.from({ length: 37 }, (_, i) => (i === place ? far : i === place - 1 ? before : 0.5));
    const out = plugin.reduce([row(far, 1), row(far, Infinity), row(-far / 2, 2), row(far / 2, 2)]);
    assert.deepEqual([out[place], out[place - 1], out[0]], [far / 2, Infinity, 0.5], `column ${place}`);
  }
});

test("a step treats every element alike, the last ones too, and learns its round from SYNC", () => {
  const [control, other] = [Testbed.open(file), Testbed.open(file)];
  const w = Array.from({ length: 11 }, (_, i) => i), delta = w.map((i) => i % 3), v = w.map((i) => 2 * i);
  assert.throws(() => other.step(w, delta, [v]), { code: -4, message: "the round has not begun" });
  assert.deepEqual(other.call(op.SYNC, control.stepBegin(4)), {});
  const moved = w.map((i) => i + (i % 3));
  assert.deepEqual(other.step(w, delta, [v]), [w.map((i) => i + 4 * moved[i]), [moved]]);
});

test("roles share what every role answers, and a failed create says why", () => {
  const plugin = Testbed.open(file);
  assert.deepEqual(plugin.call(op.ROUND_BEGIN, { round: 5n, cohort: 2n }), { first: 1, second: 2n });
  assert.deepEqual(plugin.log, [[1, "round 5 ✓"]]);
  assert.throws(() => plugin.call(op.CLIENT_BEGIN), {
    code: -3,
    message: "control operation 4 belongs to none of this plugin's roles",
  });
  assert.throws(() => Testbed.open(file, { rank: -2 }), new PluginError(-2, "`rank` = -2 is below -1"));
  const bare = instance();
  assert.equal(bare.colla_create(0, 0, 0, bare.colla_alloc(8, 8)), -2);
});

test("a client plans phases, ends with vectors and states, and weighs its vectors", () => {
  const plugin = Testbed.open(roles);
  const plan = plugin.call(op.CLIENT_BEGIN, { round: 1n, client: 0n, num_examples: 5n });
  const terms = [{ term: "linear", scale: -1, slot: "c" }, { term: "personal", slot: "norms" }];
  const upload = { terms, steps: 3n };
  const own = { terms: [{ term: "prox", mu: 0.5, toward: "own" }], slot: "own", epochs: 2n };
  assert.deepEqual(plan, { phases: [upload, own] });
  const floats = (...values) => Float32Array.from(values);
  const done = plugin.block(op.CLIENT_END, {
    n: 5, rows: [floats(9, 8, 7, 6, 5)], base: floats(1, 2, 3, 4, 5), states: [floats(0, 0, 0, 0, 0)],
    rowsOut: [floats(9, 9, 9, 9, 9)], table: Float64Array.of(10, 2, 0.1, 0, 1),
  });
  // (local − received)/2.
  assert.deepEqual([done.states[0], done.rowsOut[0]], [floats(4, 3, 2, 1, 0), floats(4, 3, 2, 1, 0)]);
  const weigh = (columns, vector) => {
    const table = Float64Array.from({ length: 2 * columns }, (_, i) => i);
    return [...plugin.block(op.WEIGH, { k: 2, vector, table, mixOut: new Float64Array(2) }).mixOut];
  };
  // Column 4 is the training loss; before training the plugin gives the number of the vector, from 0 on.
  assert.deepEqual([weigh(7, 1), weigh(4, 3)], [[4, 11], [2, 2]]);
  assert.throws(() => weigh(3, 1), { code: -1, message: "WEIGH needs a `table` of k rows with at least 4 columns" });
  assert.throws(() => weigh(4, 0), { code: -3 }, "the update is the aggregate's");
  const other = Testbed.open(file);
  assert.throws(() => other.block(op.CLIENT_END, { n: 0 }), { code: -3 });
});

test("a stage scans frame by frame, and what it put into the header undoes it", () => {
  const plugin = Testbed.open(roles);
  const vector = Array.from({ length: 70_000 }, (_, i) => (i === 69_999 ? -8 : (i % 5) - 2));
  const { values, headers } = plugin.applyWithHeaders(vector, 40_000);
  assert.deepEqual(headers.map((header) => new Float32Array(header.slice().buffer)[0]), [8, 8]);
  assert.deepEqual(values, vector.map((x) => x / 8));
  assert.deepEqual(plugin.undo(values, 40_000, headers), vector);
  assert.throws(() => plugin.undo(values, 40_000, [[], []]), { code: -1 });
  assert.throws(() => plugin.undo([1], 1, [[0, 0, 0x80, 0x3f, 0]]), /1 bytes too many/);
});

test("a post stage learns its round and where there is a bound", () => {
  const plugin = Testbed.open(roles, { post: true });
  const counts = { round: 1n, accepted: 4n, cohort: 4n, num_clients: 9n, expected_cohort: 4, sampling: "fixed" };
  const begin = { ...counts, weight_sum: 4, max_weight: 1, denominator: 4 };
  plugin.call(op.POST_BEGIN, begin);
  assert.deepEqual(plugin.apply([1, 2], 2), [-1, -2]);
  const other = Testbed.open(roles, { post: true });
  other.call(op.SYNC, plugin.call(op.POST_BEGIN, { ...begin, norm_bound: 3 }));
  assert.deepEqual(other.apply([1, 2], 2), [3, 6]);
});

test("attackers, mixers and selectors see what the host shows them", () => {
  const plugin = Testbed.open(roles);
  assert.deepEqual(plugin.attack([[1, 2, 3], [3, 4, 5]], [9, 9, 9], 1), [-2, -3, -4]);
  assert.deepEqual(plugin.attack([], [9, 8], 1), [9, 8]);
  const plan = plugin.call(op.ATTACK_BEGIN, { round: 1n, client: 0n, num_examples: 5n, num_classes: 3n });
  assert.deepEqual(plan, { phases: [{ terms: [{ term: "relabel", labels: [2n, 1n, 0n] }] }] });
  // ‖(3, 4)‖² = 25 and ‖(1, 0)‖² = 1, times the examples; the inner product is 3.
  assert.deepEqual(plugin.decide([[3, 4], [1, 0]], [2, 7]), [[50, 7, 3]]);
  assert.throws(() => plugin.block(op.DECIDE, { k: 2, table: new Float64Array(3), mixOut: new Float64Array(2) }), {
    message: "DECIDE needs at least one row and a `table` of k·k values",
  });
  const clients = [[5, 0.1, 1], [0, 9, 1], [5, 0.7, 2], [5, 0, 0], [5, 0.7, 1]];
  assert.deepEqual(plugin.select(clients, 2), [2, 4]);
  assert.deepEqual(plugin.select(clients, 6), [0, 2, 3, 4, -1, -1]);
  assert.deepEqual(plugin.call(op.LAYOUT, { len: 12n }), { piece_state: [12n] });
});

test("an exception is logged with its place before the trap", () => {
  const plugin = Testbed.open(file, { rank: 3 });
  assert.throws(() => plugin.reduce([[1]]), WebAssembly.RuntimeError);
  assert.match(plugin.log[0][1], /^panicked at assembly\/index\.ts:\d+: no such rank$/);
});

test("a module has the exports of the ABI and imports nothing else than the ABI's two functions", () => {
  const module = new WebAssembly.Module(readFileSync(file));
  const names = WebAssembly.Module.exports(module).map(({ name }) => name);
  const expected = ["abi_version", "alloc", "free", "create", "destroy", "call", "reply", "block", "last_error"];
  for (const name of expected) assert.ok(names.includes(`colla_${name}`), name);
  assert.ok(names.includes("memory"));
  assert.deepEqual(WebAssembly.Module.imports(module), [{ module: "colla_v1", name: "log", kind: "function" }]);
});
