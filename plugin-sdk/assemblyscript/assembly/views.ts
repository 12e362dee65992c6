/**
 * Ranges of memory that the host lends for the length of one call, as typed views. No view may be kept after the call.
 *
 * An index beyond the end stops the plugin. Loops over many elements take `lanes`, four elements at a time, or the kernels
 * of `math`.
 */

/** `length` 32-bit floats. */
export class Floats {
  constructor(
    public readonly pointer: usize,
    public readonly length: i32,
    /** What owns the memory, if that is the plugin. */
    private readonly owner: StaticArray<f32> | null = null,
  ) {}

  /** A view of an array of the plugin's own. */
  static of(array: StaticArray<f32>): Floats {
    return new Floats(changetype<usize>(array), array.length, array);
  }

  // @ts-ignore: decorator
  @operator("[]")
  get(index: i32): f32 {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    return load<f32>(this.pointer + ((<usize>index) << 2));
  }

  // @ts-ignore: decorator
  @operator("[]=")
  set(index: i32, value: f32): void {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    store<f32>(this.pointer + ((<usize>index) << 2), value);
  }

  /** Elements `index .. index + 4`, with zeros after the last one. */
  // @ts-ignore: decorator
  @inline
  lanes(index: i32): v128 {
    const at = this.pointer + ((<usize>index) << 2);
    return index >= 0 && index <= this.length - 4 ? v128.load(at) : lastLanes(at, index, this.length);
  }

  /** Writes elements `index .. index + 4`, as far as they exist. */
  // @ts-ignore: decorator
  @inline
  setLanes(index: i32, values: v128): void {
    const at = this.pointer + ((<usize>index) << 2);
    if (index >= 0 && index <= this.length - 4) v128.store(at, values);
    else setLastLanes(at, index, this.length, values);
  }

  /** Writes zeros. */
  clear(): void {
    memory.fill(this.pointer, 0, (<usize>this.length) << 2);
  }
}

/** `length` 64-bit floats. */
export class Doubles {
  constructor(
    public readonly pointer: usize,
    public readonly length: i32,
  ) {}

  /** A view of an array that something else keeps for the length of the call. */
  static of(array: StaticArray<f64>): Doubles {
    return new Doubles(changetype<usize>(array), array.length);
  }

  fill(value: f64): void {
    for (let i = 0; i < this.length; i++) store<f64>(this.pointer + ((<usize>i) << 3), value);
  }

  // @ts-ignore: decorator
  @operator("[]")
  get(index: i32): f64 {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    return load<f64>(this.pointer + ((<usize>index) << 3));
  }

  // @ts-ignore: decorator
  @operator("[]=")
  set(index: i32, value: f64): void {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    store<f64>(this.pointer + ((<usize>index) << 3), value);
  }
}

/** `length` bytes. */
export class Bytes {
  constructor(
    public readonly pointer: usize,
    public readonly length: i32,
  ) {}

  // @ts-ignore: decorator
  @operator("[]")
  get(index: i32): u8 {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    return load<u8>(this.pointer + index);
  }

  // @ts-ignore: decorator
  @operator("[]=")
  set(index: i32, value: u8): void {
    if (<u32>index >= <u32>this.length) beyond(index, this.length);
    store<u8>(this.pointer + index, value);
  }
}

/**
 * `count` vectors of `length` floats each. Their views are made once, at the first use: what a call allocates is collected
 * only after it, so `rows[k][i]` in a loop must not allocate.
 */
export class Rows {
  private views: StaticArray<Floats> | null = null;

  constructor(
    /** Of the list of the vectors' pointers. */
    public readonly pointer: usize,
    public readonly count: i32,
    public readonly length: i32,
  ) {}

  // @ts-ignore: decorator
  @operator("[]")
  get(index: i32): Floats {
    if (<u32>index >= <u32>this.count) beyond(index, this.count);
    const views = this.views;
    return views == null ? this.firstUse()[index] : views[index];
  }

  private firstUse(): StaticArray<Floats> {
    const views = new StaticArray<Floats>(this.count);
    for (let row = 0; row < this.count; row++) views[row] = new Floats(this.start(row), this.length);
    this.views = views;
    return views;
  }

  /** Where row `index` begins, unchecked. For kernels. */
  // @ts-ignore: decorator
  @inline
  start(index: i32): usize {
    return load<usize>(this.pointer + ((<usize>index) << 2));
  }

  /** The rows from `first` on. */
  from(first: i32): Rows {
    if (<u32>first > <u32>this.count) beyond(first, this.count);
    return new Rows(this.pointer + ((<usize>first) << 2), this.count - first, this.length);
  }
}

function beyond(index: i32, length: i32): void {
  throw new RangeError("index " + index.toString() + " is beyond the " + length.toString() + " elements");
}

function lastLanes(at: usize, index: i32, length: i32): v128 {
  if (<u32>index > <u32>length) beyond(index, length);
  let lanes = i32x4.splat(0);
  const left = length - index;
  if (left > 0) lanes = v128.load_lane<f32>(at, lanes, 0);
  if (left > 1) lanes = v128.load_lane<f32>(at, lanes, 1, 4);
  if (left > 2) lanes = v128.load_lane<f32>(at, lanes, 2, 8);
  return lanes;
}

function setLastLanes(at: usize, index: i32, length: i32, values: v128): void {
  if (<u32>index > <u32>length) beyond(index, length);
  const left = length - index;
  if (left > 0) v128.store_lane<f32>(at, values, 0);
  if (left > 1) v128.store_lane<f32>(at, values, 1, 4);
  if (left > 2) v128.store_lane<f32>(at, values, 2, 8);
}
