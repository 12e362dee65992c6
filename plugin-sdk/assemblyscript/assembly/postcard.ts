/**
 * Messages as bytes: postcard 1, as docs/abi.md section 5 has it.
 *
 * Decoding trusts nothing: no length is believed before the bytes are there, nesting is limited, and bytes that are left
 * over make a message invalid. `tests/vectors/abi/maps.json` holds both directions to bytes that another program wrote.
 */

import { utf8 } from "./utf8";
import { Kind, Message, Value } from "./value";

/** Lists and maps may be nested this deep: a hostile message of a few kilobytes must not overflow the stack. */
const MAX_DEPTH: i32 = 16;

export namespace postcard {
  export function encode(message: Message): StaticArray<u8> {
    const bytes = new StaticArray<u8>(sizeOfMap(message));
    writeMap(changetype<usize>(bytes), message);
    return bytes;
  }

  /** `null` if the bytes are no encoded map. A length of 0 is the empty map. */
  export function decode(from: usize, len: usize): Message | null {
    if (len == 0) return new Message();
    if (from == 0) return null;
    const reader = new Reader(from, from + len);
    const message = reader.map(0);
    return reader.valid && reader.at == reader.end ? message : null;
  }
}

function sizeOfVarint(value: u64): i32 {
  let size = 1;
  for (; value > 0x7f; value >>= 7) size++;
  return size;
}

function writeVarint(at: usize, value: u64): usize {
  for (; value > 0x7f; value >>= 7) store<u8>(at++, <u8>(value | 0x80));
  store<u8>(at, <u8>value);
  return at + 1;
}

/** Small magnitudes to small numbers: 0, -1, 1, -2, .. become 0, 1, 2, 3, .. */
function zigzag(value: i64): u64 {
  return <u64>((value << 1) ^ (value >> 63));
}

function sizeOfText(text: string): i32 {
  const size = utf8.length(text);
  return sizeOfVarint(size) + size;
}

function writeText(at: usize, text: string): usize {
  const size = utf8.length(text);
  at = writeVarint(at, size);
  utf8.write(text, at);
  return at + size;
}

function writeArray(at: usize, length: i32, from: usize, bytes: i32): usize {
  at = writeVarint(at, length);
  memory.copy(at, from, bytes);
  return at + bytes;
}

function sizeOfMap(map: Message): i32 {
  let size = sizeOfVarint(map.length);
  for (let i = 0; i < map.length; i++) size += sizeOfText(map.names[i]) + sizeOfValue(map.values[i]);
  return size;
}

function writeMap(at: usize, map: Message): usize {
  at = writeVarint(at, map.length);
  for (let i = 0; i < map.length; i++) at = writeValue(writeText(at, map.names[i]), map.values[i]);
  return at;
}

/** One byte for the variant, then its content. */
function sizeOfValue(value: Value): i32 {
  switch (value.kind) {
    case Kind.Bool: return 2;
    case Kind.I64: return 1 + sizeOfVarint(zigzag(value.bits));
    case Kind.F64: return 9;
    case Kind.Str: return 1 + sizeOfText(value.text);
    case Kind.Bytes: {
      const length = value.bytes!.length;
      return 1 + sizeOfVarint(length) + length;
    }
    case Kind.List: {
      const list = value.list!;
      let size = 1 + sizeOfVarint(list.length);
      for (let i = 0; i < list.length; i++) size += sizeOfValue(list[i]);
      return size;
    }
    case Kind.Map: return 1 + sizeOfMap(value.map!);
    case Kind.F64s: {
      const length = value.f64s!.length;
      return 1 + sizeOfVarint(length) + length * 8;
    }
    default: {
      const length = value.f32s!.length;
      return 1 + sizeOfVarint(length) + length * 4;
    }
  }
}

function writeValue(at: usize, value: Value): usize {
  store<u8>(at++, <u8>value.kind);
  switch (value.kind) {
    case Kind.Bool: {
      store<u8>(at, <u8>value.bits);
      return at + 1;
    }
    case Kind.I64: return writeVarint(at, zigzag(value.bits));
    case Kind.F64: {
      store<u64>(at, value.bits);
      return at + 8;
    }
    case Kind.Str: return writeText(at, value.text);
    case Kind.Bytes: {
      const bytes = value.bytes!;
      return writeArray(at, bytes.length, changetype<usize>(bytes), bytes.length);
    }
    case Kind.List: {
      const list = value.list!;
      at = writeVarint(at, list.length);
      for (let i = 0; i < list.length; i++) at = writeValue(at, list[i]);
      return at;
    }
    case Kind.Map: return writeMap(at, value.map!);
    case Kind.F64s: {
      const doubles = value.f64s!;
      return writeArray(at, doubles.length, changetype<usize>(doubles), doubles.length * 8);
    }
    default: {
      const floats = value.f32s!;
      return writeArray(at, floats.length, changetype<usize>(floats), floats.length * 4);
    }
  }
}

/** Reads from left to right. Once `valid` is false everything reads as empty, so that loops end. */
class Reader {
  valid: bool = true;

  constructor(
    public at: usize,
    public readonly end: usize,
  ) {}

  /** The bytes that are left. */
  private get left(): usize {
    return this.end - this.at;
  }

  private refuse(): void {
    this.valid = false;
    this.at = this.end;
  }

  private byte(): u8 {
    if (this.at < this.end) return load<u8>(this.at++);
    this.refuse();
    return 0;
  }

  /** Steps over `bytes` bytes and gives their place; they are there if the reader is still valid. */
  private take(bytes: u64): usize {
    if (bytes > <u64>this.left) {
      this.refuse();
      return this.end;
    }
    const place = this.at;
    this.at += <usize>bytes;
    return place;
  }

  /** A number of at most `bits` bits, in at most that many sevenths of bytes. */
  private varint(bits: u64): u64 {
    let value: u64 = 0;
    for (let shift: u64 = 0; shift < bits; shift += 7) {
      const byte = <u64>this.byte();
      const rest = bits - shift;
      if (rest < 7 && byte >> rest != 0) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.refuse();
    return 0;
  }

  /** A count of things that take at least `each` bytes; refused if so many cannot be there. */
  private count(each: u64): i32 {
    const count = this.varint(32);
    if (count * each > <u64>this.left) {
      this.refuse();
      return 0;
    }
    return <i32>count;
  }

  private text(): string {
    const length = this.count(1);
    const place = this.take(length);
    if (!utf8.isValid(place, length)) {
      this.refuse();
      return "";
    }
    return utf8.decode(place, length);
  }

  /** `depth`: the lists and maps around it. A map is at least one byte, an entry three. */
  map(depth: i32): Message {
    const map = new Message();
    for (let left = this.count(3); left > 0 && this.valid; left--) {
      const name = this.text();
      map.with(name, this.value(depth));
    }
    return map;
  }

  private value(depth: i32): Value {
    const kind = this.varint(32);
    if (kind == Kind.List || kind == Kind.Map) {
      if (depth == MAX_DEPTH) this.refuse();
      if (kind == Kind.Map) return Value.ofMap(this.map(depth + 1));
      const list: Value[] = [];
      for (let left = this.count(2); left > 0 && this.valid; left--) list.push(this.value(depth + 1));
      return Value.ofList(list);
    }
    if (kind == Kind.Bool) {
      const value = this.byte();
      if (value > 1) this.refuse();
      return Value.ofBool(value != 0);
    }
    if (kind == Kind.I64) {
      const value = this.varint(64);
      return Value.ofI64(<i64>(value >> 1) ^ -(<i64>(value & 1)));
    }
    if (kind == Kind.F64) {
      const place = this.take(8);
      return Value.ofF64(this.valid ? load<f64>(place) : 0);
    }
    if (kind == Kind.Str) return Value.ofText(this.text());
    if (kind == Kind.Bytes) {
      const bytes = new StaticArray<u8>(this.count(1));
      memory.copy(changetype<usize>(bytes), this.take(bytes.length), bytes.length);
      return Value.ofBytes(bytes);
    }
    if (kind == Kind.F64s) {
      const doubles = new StaticArray<f64>(this.count(8));
      memory.copy(changetype<usize>(doubles), this.take(doubles.length * 8), doubles.length * 8);
      return Value.ofF64s(doubles);
    }
    if (kind == Kind.F32s) {
      const floats = new StaticArray<f32>(this.count(4));
      memory.copy(changetype<usize>(floats), this.take(floats.length * 4), floats.length * 4);
      return Value.ofF32s(floats);
    }
    this.refuse();
    return Value.ofBool(false);
  }
}
