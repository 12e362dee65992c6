/**
 * The numbers of ABI 1 as docs/abi.md has them.
 *
 * What it never does: allocate, call, or decide. The layout of the block is `block.ts`.
 */

/** ABI version that this package speaks, `major << 16 | minor`. */
export const ABI_VERSION: u32 = 1 << 16;

/** Elements in one frame of a vector: the unit of APPLY, ENCODE and DECODE unless the manifest says otherwise. */
export const FRAME: i32 = 65_536;

/** Operation numbers: control below 32, data from 32 on. */
export namespace op {
  export const LAYOUT: u32 = 1;
  export const SYNC: u32 = 2;
  export const ROUND_BEGIN: u32 = 3;
  export const CLIENT_BEGIN: u32 = 4;
  export const ROUND_END: u32 = 5;
  export const SAVE: u32 = 6;
  export const LOAD: u32 = 7;
  export const SCAN_PLAN: u32 = 8;
  export const DENOMINATOR: u32 = 9;
  export const STEP_BEGIN: u32 = 10;
  export const WEIGH: u32 = 32;
  export const REDUCE: u32 = 34;
  export const STEP: u32 = 35;
  export const APPLY: u32 = 36;
  export const ENCODE: u32 = 39;
  export const DECODE: u32 = 40;
}

/** Status codes of create, call and block. Negative values are failures. */
export namespace status {
  export const OK: i32 = 0;
  export const E_ARG: i32 = -1;
  export const E_CONFIG: i32 = -2;
  export const E_UNSUPPORTED: i32 = -3;
  export const E_STATE: i32 = -4;
  export const E_NUMERIC: i32 = -5;
  export const E_CAPACITY: i32 = -6;
  export const E_INTERNAL: i32 = -8;
}

/** Columns of the cohort table that WEIGH reads; later versions append. */
export namespace table {
  export const NUM_EXAMPLES: i32 = 0;
  export const STEPS: i32 = 1;
  export const LR_SUM: i32 = 2;
  export const STALENESS: i32 = 3;
  export const COLUMNS: i32 = 4;
}

/** What `rand_fill` makes of the words of a stream. */
export namespace rand_kind {
  export const U32: u32 = 0;
  export const UNIFORM: u32 = 1;
  export const NORMAL: u32 = 2;
}
