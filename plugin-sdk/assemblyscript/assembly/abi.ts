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
  export const DECIDE_PLAN: u32 = 12;
  export const POST_BEGIN: u32 = 13;
  export const ATTACK_BEGIN: u32 = 14;
  export const WEIGH: u32 = 32;
  export const DECIDE: u32 = 33;
  export const REDUCE: u32 = 34;
  export const STEP: u32 = 35;
  export const APPLY: u32 = 36;
  export const UNDO: u32 = 37;
  export const SCAN: u32 = 38;
  export const ENCODE: u32 = 39;
  export const DECODE: u32 = 40;
  export const CLIENT_END: u32 = 41;
  export const ATTACK: u32 = 43;
  export const SELECT: u32 = 44;
}

/** Status codes of create, call and block. Negative values are failures. */
export namespace status {
  export const OK: i32 = 0;
  export const SKIP: i32 = 1;
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
  /** Columns before training. */
  export const COLUMNS: i32 = 4;
  export const TRAIN_LOSS: i32 = 4;
  export const LOSS_BEFORE: i32 = 5;
  export const UPDATE_NORM2: i32 = 6;
  /** Columns after training. */
  export const COLUMNS_AFTER: i32 = 7;
}

/** Values of `table` in CLIENT_END; later versions append. */
export namespace end_table {
  export const NUM_EXAMPLES: i32 = 0;
  export const STEPS: i32 = 1;
  export const LR_SUM: i32 = 2;
  export const TRAIN_LOSS: i32 = 4;
  export const LEN: i32 = 5;
}

/** Values of `table` in ATTACK; later versions append. */
export namespace attack_table {
  export const COHORT: i32 = 0;
  export const ATTACKERS: i32 = 1;
  export const INDEX: i32 = 2;
  export const LEN: i32 = 3;
}

/** Columns of the client table that SELECT reads; later versions append. */
export namespace select_table {
  export const NUM_EXAMPLES: i32 = 0;
  export const LAST_LOSS: i32 = 1;
  export const LAST_ROUND: i32 = 2;
  export const COLUMNS: i32 = 3;
}

/** What `rand_fill` makes of the words of a stream. */
export namespace rand_kind {
  export const U32: u32 = 0;
  export const UNIFORM: u32 = 1;
  export const NORMAL: u32 = 2;
}
