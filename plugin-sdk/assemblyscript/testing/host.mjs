// What a plugin may import: a log that is kept, and random numbers that are like the host's in kind, not in value.

const MASK = (1n << 64n) - 1n;

/** SplitMix64 of a state and a word. */
function mixed(state, word) {
  let z = ((state ^ word) + 0x9e3779b97f4a7c15n) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

const uniform = (bits) => Number(bits >> 40n) / 2 ** 24;

/** The sum of twelve uniforms stands for a normal. */
function normal(bits) {
  let sum = -6;
  for (let part = 0n; part < 12n; part++) sum += uniform(mixed(bits, part));
  return sum;
}

/** The imports of one instance. `state` holds `memory`, `round`, `client` and the list `log`. */
export function imports(state) {
  const log = (level, text, len) => {
    const bytes = new Uint8Array(state.memory.buffer, text, len);
    state.log.push([level, new TextDecoder().decode(bytes)]);
  };
  const rand_fill = (scope, stream, offset, kind, out, n) => {
    const circumstances = [[0n, 0n], [state.round, 0n], [state.round, state.client]][scope];
    if (circumstances === undefined || stream > 65535 || kind > 2) return -1;
    const key = [BigInt(scope), BigInt(stream), ...circumstances].reduce(mixed, 0n);
    const view = new DataView(state.memory.buffer, out, n * 4);
    for (let index = 0; index < n; index++) {
      const bits = mixed(key, BigInt.asUintN(64, offset) + BigInt(index));
      if (kind === 0) view.setUint32(index * 4, Number(bits & 0xffffffffn), true);
      else view.setFloat32(index * 4, kind === 1 ? uniform(bits) : normal(bits), true);
    }
    return 0;
  };
  return { colla_v1: { log, rand_fill } };
}
