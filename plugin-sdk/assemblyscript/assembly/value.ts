/**
 * The control plane's only data type: a map of named values.
 *
 * A reader ignores names that it does not know, and the first entry of a name counts. The wire form is `postcard.ts`.
 */

import { fail } from "./error";

/** Variants in the order of the ABI. */
export enum Kind {
  Bool = 0,
  I64 = 1,
  F64 = 2,
  Str = 3,
  Bytes = 4,
  List = 5,
  Map = 6,
  F64s = 7,
  F32s = 8,
}

/** One value of a message. Which of the fields counts follows from `kind`. */
export class Value {
  /** Of Bool, I64 and F64: the value's bits. */
  bits: u64 = 0;
  text: string = "";
  bytes: StaticArray<u8> | null = null;
  list: Value[] | null = null;
  map: Message | null = null;
  f64s: StaticArray<f64> | null = null;
  f32s: StaticArray<f32> | null = null;

  constructor(readonly kind: Kind) {}

  static ofBool(value: bool): Value {
    const made = new Value(Kind.Bool);
    made.bits = value ? 1 : 0;
    return made;
  }

  static ofI64(value: i64): Value {
    const made = new Value(Kind.I64);
    made.bits = <u64>value;
    return made;
  }

  static ofF64(value: f64): Value {
    const made = new Value(Kind.F64);
    made.bits = reinterpret<u64>(value);
    return made;
  }

  static ofText(value: string): Value {
    const made = new Value(Kind.Str);
    made.text = value;
    return made;
  }

  static ofBytes(value: StaticArray<u8>): Value {
    const made = new Value(Kind.Bytes);
    made.bytes = value;
    return made;
  }

  static ofList(value: Value[]): Value {
    const made = new Value(Kind.List);
    made.list = value;
    return made;
  }

  static ofMap(value: Message): Value {
    const made = new Value(Kind.Map);
    made.map = value;
    return made;
  }

  static ofF64s(value: StaticArray<f64>): Value {
    const made = new Value(Kind.F64s);
    made.f64s = value;
    return made;
  }

  static ofF32s(value: StaticArray<f32>): Value {
    const made = new Value(Kind.F32s);
    made.f32s = value;
    return made;
  }

  /** What it is, for messages. */
  describe(): string {
    switch (this.kind) {
      case Kind.Bool: return "a bool";
      case Kind.I64: return "an int";
      case Kind.F64: return "a float";
      case Kind.Str: return "a string";
      case Kind.Bytes: return "bytes";
      case Kind.List: return "a list";
      case Kind.Map: return "a map";
      default: return "an array";
    }
  }
}

/** Named values in the order in which they were put. */
export class Message {
  readonly names: string[] = [];
  readonly values: Value[] = [];

  get length(): i32 {
    return this.names.length;
  }

  /** Adds an entry and returns the map, so that messages read as one expression. */
  with(name: string, value: Value): Message {
    this.names.push(name);
    this.values.push(value);
    return this;
  }

  withBool(name: string, value: bool): Message {
    return this.with(name, Value.ofBool(value));
  }

  withI64(name: string, value: i64): Message {
    return this.with(name, Value.ofI64(value));
  }

  withF64(name: string, value: f64): Message {
    return this.with(name, Value.ofF64(value));
  }

  withText(name: string, value: string): Message {
    return this.with(name, Value.ofText(value));
  }

  get(name: string): Value | null {
    const at = this.names.indexOf(name);
    return at < 0 ? null : this.values[at];
  }

  has(name: string): bool {
    return this.names.includes(name);
  }

  /** A number; integers convert. Fails with E_ARG, and gives 0, if there is none; so do the getters below. */
  f64(name: string): f64 {
    const value = this.get(name);
    if (value != null && value.kind == Kind.F64) return reinterpret<f64>(value.bits);
    if (value != null && value.kind == Kind.I64) return <f64>(<i64>value.bits);
    unusable(name);
    return 0;
  }

  i64(name: string): i64 {
    const value = this.get(name);
    if (value != null && value.kind == Kind.I64) return <i64>value.bits;
    unusable(name);
    return 0;
  }

  /** An integer of at least 0. */
  u64(name: string): u64 {
    const value = this.get(name);
    if (value != null && value.kind == Kind.I64 && <i64>value.bits >= 0) return value.bits;
    unusable(name);
    return 0;
  }

  u32(name: string): u32 {
    const value = this.u64(name);
    if (value > <u64>u32.MAX_VALUE) unusable(name);
    return <u32>value;
  }

  bool(name: string): bool {
    const value = this.get(name);
    if (value != null && value.kind == Kind.Bool) return value.bits != 0;
    unusable(name);
    return false;
  }

  text(name: string): string {
    const value = this.get(name);
    if (value != null && value.kind == Kind.Str) return value.text;
    unusable(name);
    return "";
  }

  list(name: string): Value[] {
    const value = this.get(name);
    if (value != null && value.kind == Kind.List) return value.list!;
    unusable(name);
    return [];
  }

  /** No elements, without failing, if there are none of this name. */
  f64s(name: string): StaticArray<f64> {
    const value = this.get(name);
    return value != null && value.kind == Kind.F64s ? value.f64s! : [];
  }

  /** `null`, without failing, if there is no map of this name. */
  map(name: string): Message | null {
    const value = this.get(name);
    return value == null ? null : value.map;
  }
}

function unusable(name: string): void {
  fail.argument("the message has no usable `" + name + "`");
}
