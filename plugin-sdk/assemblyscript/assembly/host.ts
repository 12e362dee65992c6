/** The way back to the host: the two imports that the ABI allows. */

/** Levels: 0 debug, 1 info, 2 warning, 3 error. The host reads `len` bytes at `text` during the call. */
@external("colla_v1", "log")
export declare function importLog(level: u32, text: usize, len: usize): void;

/** Writes `n` elements of four bytes to `out`; a negative result is a status code. */
@external("colla_v1", "rand_fill")
export declare function importRandFill(scope: u32, stream: u32, offset: u64, kind: u32, out: usize, n: usize): i32;
