// Messages in JavaScript's own types, to and from the bytes of docs/abi.md section 5. Written apart from the plugin's codec.
//
//   boolean → Bool    bigint → I64    number → F64    string → Str    Uint8Array → Bytes
//   array → List      object → Map    Float64Array → F64s    Float32Array → F32s

/** @param {object} map @returns {Uint8Array} */
export function encode(map) {
  const bytes = [];
  putMap(bytes, map);
  return Uint8Array.from(bytes);
}

/** @param {Uint8Array} bytes @returns {object} Throws if the bytes are anything but an encoded map. */
export function decode(bytes) {
  if (bytes.length === 0) return {};
  const reader = { bytes, at: 0, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  const map = takeMap(reader);
  if (reader.at !== bytes.length) throw new Error(`${bytes.length - reader.at} bytes are left over`);
  return map;
}

function putVarint(bytes, number) {
  let left = BigInt.asUintN(64, BigInt(number));
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  bytes.push(Number(left));
}

function putArray(bytes, array) {
  putVarint(bytes, array.length);
  for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) bytes.push(byte);
}

function putText(bytes, text) {
  putArray(bytes, new TextEncoder().encode(text));
}

function putMap(bytes, map) {
  const entries = Object.entries(map);
  putVarint(bytes, entries.length);
  for (const [name, value] of entries) {
    putText(bytes, name);
    putValue(bytes, value);
  }
}

function putValue(bytes, value) {
  if (typeof value === "boolean") bytes.push(0, Number(value));
  else if (typeof value === "bigint") {
    bytes.push(1);
    putVarint(bytes, (value << 1n) ^ (value >> 63n));
  } else if (typeof value === "number") bytes.push(2, ...new Uint8Array(Float64Array.of(value).buffer));
  else if (typeof value === "string") {
    bytes.push(3);
    putText(bytes, value);
  } else if (value instanceof Uint8Array) {
    bytes.push(4);
    putArray(bytes, value);
  } else if (Array.isArray(value)) {
    bytes.push(5);
    putVarint(bytes, value.length);
    for (const item of value) putValue(bytes, item);
  } else if (value instanceof Float64Array) {
    bytes.push(7);
    putArray(bytes, value);
  } else if (value instanceof Float32Array) {
    bytes.push(8);
    putArray(bytes, value);
  } else {
    bytes.push(6);
    putMap(bytes, value);
  }
}

function takeByte(reader) {
  if (reader.at === reader.bytes.length) throw new Error("the message ends early");
  return reader.bytes[reader.at++];
}

function takeVarint(reader) {
  let number = 0n;
  for (let shift = 0n; shift < 64n; shift += 7n) {
    const byte = takeByte(reader);
    number |= BigInt(byte & 127) << shift;
    if (byte < 128) return BigInt.asUintN(64, number);
  }
  throw new Error("a number is too long");
}

function take(reader, count) {
  if (reader.at + count > reader.bytes.length) throw new Error("the message ends early");
  reader.at += count;
  return reader.bytes.slice(reader.at - count, reader.at);
}

function takeCount(reader) {
  return Number(takeVarint(reader));
}

function takeText(reader) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(take(reader, takeCount(reader)));
}

function takeMap(reader) {
  const map = {};
  for (let left = takeCount(reader); left > 0; left--) {
    const name = takeText(reader);
    map[name] = takeValue(reader);
  }
  return map;
}

function takeValue(reader) {
  const kind = takeCount(reader);
  switch (kind) {
    case 0: return takeByte(reader) === 1;
    case 1: {
      const number = takeVarint(reader);
      return BigInt.asIntN(64, (number >> 1n) ^ -(number & 1n));
    }
    case 2: return new Float64Array(take(reader, 8).buffer)[0];
    case 3: return takeText(reader);
    case 4: return take(reader, takeCount(reader));
    case 5: {
      const list = [];
      for (let left = takeCount(reader); left > 0; left--) list.push(takeValue(reader));
      return list;
    }
    case 6: return takeMap(reader);
    case 7: return new Float64Array(take(reader, takeCount(reader) * 8).buffer);
    case 8: return new Float32Array(take(reader, takeCount(reader) * 4).buffer);
    default: throw new Error(`there is no variant ${kind}`);
  }
}
