//! The binary interface between host and plugin: numbers and layouts, nothing else.
//!
//! What is this: the one definition of ABI 1; `docs/abi.md` is its prose, `tests/vectors/abi/` its bytes.
//! Where in the flow: host loaders write these structs, the author's macro reads them.
//! What it never does: allocate, call, or decide.
//!
//! Two planes. *Control* (`colla_call`): rare and small, a [`crate::Map`] in, a [`crate::Map`] out.
//! *Data* (`colla_block`): one [`RawBlock`] whose pointers name memory that the plugin can reach
//! (guest memory for WASM, host memory for native plugins), so nothing is copied at call time.

/// ABI version this crate speaks, `major << 16 | minor`.
/// A host loads a plugin whose major equals its own and whose minor is not newer.
pub const ABI_VERSION: u32 = 1 << 16;

/// Name of the custom section (WASM) or link section (native) that carries the JSON manifest.
/// ELF and Mach-O use the dotted and the segment form of [`crate::colla_plugin`].
pub const MANIFEST_SECTION: &str = "colla.manifest";

/// Module of the two functions that a WASM plugin may import.
pub const IMPORT_MODULE: &str = "colla_v1";

/// Elements in one frame of a vector: the unit of SCAN, APPLY, ENCODE and DECODE unless the manifest says otherwise.
pub const FRAME: usize = 65_536;

/// Operation numbers. In messages `round` counts from 1 and `cohort`, `accepted` are numbers of clients. Control operations
/// are below 32, data operations from 32 on. A number is never reused.
pub mod op {
    /// Control. `{len, names, shapes, roles, offsets}` once after create → `{piece_state: List[I64]}` from plugins with a
    /// slot of shape `piece`, else ignored.
    pub const LAYOUT: u32 = 1;
    /// Control. Reply of the control instance to its last control operation, passed on to data-plane instances.
    pub const SYNC: u32 = 2;
    /// Control, every role. `{round, cohort, num_clients, expected_cohort}` → broadcast map (at most 64 KiB) that reaches
    /// CLIENT_BEGIN and, by SYNC, the data-plane instances.
    pub const ROUND_BEGIN: u32 = 3;
    /// Control, role client. `{round, client, num_examples, broadcast}` → `{phases: [..]}`, see [`crate::Plan`].
    pub const CLIENT_BEGIN: u32 = 4;
    /// Control, every role. `{round, cohort, num_examples, train_loss}` → metrics (string → F64 or I64).
    pub const ROUND_END: u32 = 5;
    /// Control. `{}` → small server-side values, at most 1 MiB.
    pub const SAVE: u32 = 6;
    /// Control. What SAVE gave → `{}`.
    pub const LOAD: u32 = 7;
    /// Control, roles normalize, compress, post. `{n, vector}` → `{measures: [Str], k: I64, of: Str, scan: I64}`: what is
    /// measured before APPLY or ENCODE; see [`super::measure`] and SCAN.
    pub const SCAN_PLAN: u32 = 8;
    /// Control, role aggregate over sums. `{weight_sum, accepted, cohort, num_clients, expected_cohort, columns, table,
    /// weights}` → `{denominator: F64}`.
    pub const DENOMINATOR: u32 = 9;
    /// Control, role server-step. `{round, accepted, cohort, num_clients, expected_cohort, weight_sum, denominator,
    /// aggregate_norm2, vector_weight_sums}`, with `needs` also `{columns, table, weights}` → a map that SYNC takes to the
    /// data-plane instances.
    pub const STEP_BEGIN: u32 = 10;
    // 11 was SELECT on the control plane in a draft; it is not used again.
    /// Control, roles mix and aggregate over the Gram matrix. `{rows}` → `{rows_out: I64, extra: [Str]}`; see
    /// [`super::extra_row`].
    pub const DECIDE_PLAN: u32 = 12;
    /// Control, role post. `{round, accepted, cohort, num_clients, expected_cohort, sampling, weight_sum, max_weight,
    /// denominator}`, where known also `{norm_bound, sensitivity}` → a map for SYNC.
    pub const POST_BEGIN: u32 = 13;
    /// Control, role attack with `training` in the manifest's `attacks`. `{round, client, num_examples, num_classes,
    /// broadcast}` of a hostile client → its plan, as of CLIENT_BEGIN.
    pub const ATTACK_BEGIN: u32 = 14;

    /// Data, role aggregate over sums, and role client for its own vectors. `k` clients; `table` is k rows of columns, see
    /// [`super::table`]; `vector`; writes `mix_out[k]`, the weights.
    pub const WEIGH: u32 = 32;
    /// Data, roles mix and aggregate. `k` rows: `table[k·k]` = Gram matrix, `weights[k]` = numbers of examples, 0 for extra
    /// rows; writes `mix_out[rows_out·k]`, the mixing matrix, row by row.
    pub const DECIDE: u32 = 33;
    /// Data, role aggregate over rows. `rows[k][n]`, `weights[k]` → `out[n]`.
    pub const REDUCE: u32 = 34;
    /// Data, role server-step. `base[n]` = weights, `rows[0][n]` = aggregate, `rows[1..]` = raw sums of the plugin's own
    /// vectors, `states[..][n]` → `out[n]` = new weights, `states`.
    pub const STEP: u32 = 35;
    /// Data, roles normalize and post. `out[n]` in place, `table` = measures; a normalizer with `max_header` also writes
    /// `output[..output_len]`, the side header of the piece.
    pub const APPLY: u32 = 36;
    /// Data, role normalize with `max_header`. `out[n]` in place, `input` = side header.
    pub const UNDO: u32 = 37;
    /// Data, roles normalize, compress, post. One frame of a stage's own scan: `rows[0][n]`, `table[s]` = what the frames
    /// before gave, zeros at first → `mix_out[s]`.
    pub const SCAN: u32 = 38;
    /// Data, role compress. `rows[0][n]`, `table` = measures, `states` → `output[..output_len]`, `states`.
    pub const ENCODE: u32 = 39;
    /// Data, role compress. `input` → `out[n]`.
    pub const DECODE: u32 = 40;
    /// Data, role client with client state or vectors. `rows[0][n]` = local weights, `base[n]` = received weights, `table` =
    /// [`super::end_table`], `states` = client slots then broadcast slots → client slots, `rows_out[v][n]` = own vectors.
    pub const CLIENT_END: u32 = 41;
    /// Data, role client. Gradient hook. Reserved.
    pub const GRAD: u32 = 42;
    /// Data, role attack. `rows[k][n]` = updates of the honest clients, `base[n]` = what the attacker would have sent,
    /// `table` = [`super::attack_table`] → `out[n]` = what it sends.
    pub const ATTACK: u32 = 43;
    /// Data, role select. `k` clients, `table` = k rows of [`super::select_table`] → `mix_out`: indices of the chosen
    /// clients, −1 where fewer are chosen.
    pub const SELECT: u32 = 44;
}

/// Status codes of create, call and block. Zero and one are success, negative values are errors.
pub mod status {
    pub const OK: i32 = 0;
    /// The plugin has nothing to do here; outputs are untouched.
    pub const SKIP: i32 = 1;
    /// A block or message is not what the operation requires.
    pub const E_ARG: i32 = -1;
    /// The parameters cannot be used.
    pub const E_CONFIG: i32 = -2;
    /// The operation is not implemented by this plugin.
    pub const E_UNSUPPORTED: i32 = -3;
    /// Called in the wrong order, or state is missing.
    pub const E_STATE: i32 = -4;
    /// A number is not finite or out of its domain.
    pub const E_NUMERIC: i32 = -5;
    /// An output buffer is too small.
    pub const E_CAPACITY: i32 = -6;
    /// The plugin panicked; native only (a WASM plugin traps).
    pub const E_PANIC: i32 = -7;
    /// The plugin broke one of its own invariants.
    pub const E_INTERNAL: i32 = -8;
}

/// Columns of the cohort table that WEIGH reads, in this order; later versions append.
pub mod table {
    pub const NUM_EXAMPLES: usize = 0;
    /// Local steps that the client's plan holds.
    pub const STEPS: usize = 1;
    /// Sum of the learning rates of these steps.
    pub const LR_SUM: usize = 2;
    /// Rounds since the weights that the client trained from; 0 in synchronous rounds.
    pub const STALENESS: usize = 3;
    /// Columns before training.
    pub const COLUMNS: usize = 4;
    /// Mean loss over the examples seen in training.
    pub const TRAIN_LOSS: usize = 4;
    /// Mean loss of the received weights on the client's examples; 0 unless the manifest `needs` `loss-before`.
    pub const LOSS_BEFORE: usize = 5;
    /// Squared Euclidean norm of the update as the server received it; 0 unless the manifest `needs` `update-norm2`.
    pub const UPDATE_NORM2: usize = 6;
    /// Columns after training: in WEIGH of `sum-after`, in DENOMINATOR and in STEP_BEGIN.
    pub const COLUMNS_AFTER: usize = 7;
}

/// Values of `table` in CLIENT_END, in this order; later versions append.
pub mod end_table {
    pub const NUM_EXAMPLES: usize = 0;
    pub const STEPS: usize = 1;
    pub const LR_SUM: usize = 2;
    pub const STALENESS: usize = 3;
    pub const TRAIN_LOSS: usize = 4;
    pub const LEN: usize = 5;
}

/// Values of `table` in ATTACK, in this order; later versions append.
pub mod attack_table {
    /// Clients in the cohort, n.
    pub const COHORT: usize = 0;
    /// Attackers in the cohort, f.
    pub const ATTACKERS: usize = 1;
    /// Position of this attacker among them.
    pub const INDEX: usize = 2;
    pub const LEN: usize = 3;
}

/// Columns of the client table that SELECT reads, in this order; later versions append.
pub mod select_table {
    /// 0 for a client that cannot be chosen.
    pub const NUM_EXAMPLES: usize = 0;
    /// Training loss of the last round in which it took part; 0 if it never did.
    pub const LAST_LOSS: usize = 1;
    /// The last round in which it took part; 0 if it never did.
    pub const LAST_ROUND: usize = 2;
    pub const COLUMNS: usize = 3;
}

/// Rows besides the clients' that DECIDE_PLAN may ask for; they stand behind these, in the order asked.
pub mod extra_row {
    /// Update of the server's own client, trained on root data.
    pub const ROOT: &str = "root";
    /// The aggregate of the round before, zeros in the first.
    pub const PREVIOUS: &str = "previous";
    /// Zeros: with it the Gram matrix gives norms and dot products.
    pub const ZERO: &str = "zero";
}

/// Host measures that SCAN_PLAN may ask for; each puts its values into `table` in the order asked. They are of the whole
/// vector, or of each piece where the plan says `of: "piece"`.
pub mod measure {
    /// One value: the Euclidean norm of the whole vector.
    pub const NORM2: &str = "norm2";
    /// One value: the largest magnitude.
    pub const NORM_INF: &str = "norm_inf";
    /// One value: the sum of the elements.
    pub const SUM: &str = "sum";
    /// Three values: the `k`-th largest magnitude `t` of the whole vector; how many elements of this block with
    /// magnitude exactly `t` are kept (the first ones in index order); how many elements of this block are kept in all.
    pub const KTH_ABS: &str = "kth_abs";
}

/// `scope` of `rand_fill`: which words key the stream besides the run seed and the plugin's position.
pub mod rand_scope {
    pub const RUN: u32 = 0;
    pub const ROUND: u32 = 1;
    /// In DECODE and UNDO this is the sender and the sender's round.
    pub const CLIENT: u32 = 2;
}

/// `kind` of `rand_fill`: what one element is.
pub mod rand_kind {
    /// `u32`, uniform over all values.
    pub const U32: u32 = 0;
    /// `f32` in [0, 1), multiples of 2⁻²⁴.
    pub const UNIFORM: u32 = 1;
    /// `f32`, standard normal.
    pub const NORMAL: u32 = 2;
}

/// A byte range in the plugin's memory. `P` is `u32` for a host that writes guest memory, a pointer otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawSlice<P, N> {
    pub ptr: P,
    pub len: N,
}

/// One data-plane call: a range of a vector and everything that belongs to it.
///
/// All pointers are plugin-reachable and aligned to their element; absent ones are null with a zero count.
/// Append-only: `size` is the number of bytes the writer knows, a reader takes no more than it knows itself.
/// `P` is the pointer type: `u32` in wasm32 memory, `*mut u8` natively.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawBlock<P> {
    /// Bytes of this struct as its writer knows it.
    pub size: u32,
    /// Reserved, zero.
    pub flags: u32,
    /// Index of the range's first element in its vector.
    pub offset: u64,
    /// Which vector: 0 is the update.
    pub vector: u32,
    /// Frame, tensor or shard number of this range.
    pub unit: u32,
    /// Elements in the range.
    pub n: u32,
    /// Rows.
    pub k: u32,
    /// `[*const f32; k]`, each to `n` elements.
    pub rows: P,
    /// `[f64; k]`.
    pub weights: P,
    /// `[f64; table_len]`.
    pub table: P,
    /// `[f32; n]`.
    pub base: P,
    /// `[*mut f32; n_states]`, each to `state_n` elements, or to `n` if that is 0.
    pub states: P,
    /// `[f32; n]`, written.
    pub out: P,
    /// `[*mut f32; n_rows_out]`, each to `n` elements, written.
    pub rows_out: P,
    /// `[f64; mix_len]`, written.
    pub mix_out: P,
    /// `[u8; input_len]`.
    pub input: P,
    /// `[u8; output_cap]`, written up to `output_len`.
    pub output: P,
    pub table_len: u32,
    pub n_states: u32,
    pub n_rows_out: u32,
    pub mix_len: u32,
    pub input_len: u32,
    pub output_cap: u32,
    /// Written by the plugin: bytes of `output` that it used, at most `output_cap`.
    pub output_len: u32,
    /// Elements of each of `states`; 0 means `n`.
    pub state_n: u32,
}

/// What a native plugin may call. Both functions take the `host_ctx` that was given to `create`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostV1 {
    pub size: u32,
    pub abi: u32,
    /// `(host_ctx, level, text, len)`; levels: 0 debug, 1 info, 2 warning, 3 error.
    pub log: unsafe extern "C" fn(*mut u8, u32, *const u8, usize),
    /// `(host_ctx, scope, stream, offset, kind, out, n)` → status. Element `i` of `out` is element `offset + i` of the stream.
    pub rand_fill: unsafe extern "C" fn(*mut u8, u32, u32, u64, u32, *mut u8, usize) -> i32,
}

/// What a native plugin exports under the symbol `colla_plugin_v1`: `extern "C" fn(*const HostV1) -> *const PluginV1`,
/// null when the majors differ. The same functions as the WASM exports, less memory and alloc.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PluginV1 {
    pub size: u32,
    pub abi: u32,
    /// `(config, len, host_ctx, out_ctx)` → status.
    pub create: unsafe extern "C" fn(*const u8, usize, *mut u8, *mut *mut u8) -> i32,
    pub destroy: unsafe extern "C" fn(*mut u8),
    /// `(ctx, op, message, len)` → status; then `reply`.
    pub call: unsafe extern "C" fn(*mut u8, u32, *const u8, usize) -> i32,
    pub reply: unsafe extern "C" fn(*mut u8, *mut RawSlice<*const u8, usize>),
    pub block: unsafe extern "C" fn(*mut u8, u32, *mut RawBlock<*mut u8>) -> i32,
    /// Valid with a null context after a failed create, until the next call on the same thread.
    pub last_error: unsafe extern "C" fn(*mut u8, *mut RawSlice<*const u8, usize>),
}

/// Symbol that a native plugin exports.
pub const NATIVE_SYMBOL: &str = "colla_plugin_v1";

// SAFETY of the claim, not of memory: the descriptor is plain data that nobody writes after link time.
unsafe impl Sync for PluginV1 {}

macro_rules! assert_offsets {
    ($pointer:ty, $word:expr) => {
        const _: () = {
            use core::mem::{offset_of, size_of};
            type B = RawBlock<$pointer>;
            assert!(offset_of!(B, size) == 0 && offset_of!(B, flags) == 4);
            assert!(offset_of!(B, offset) == 8 && offset_of!(B, vector) == 16 && offset_of!(B, unit) == 20);
            assert!(offset_of!(B, n) == 24 && offset_of!(B, k) == 28);
            assert!(offset_of!(B, rows) == 32 && offset_of!(B, weights) == 32 + $word);
            assert!(offset_of!(B, table) == 32 + 2 * $word && offset_of!(B, base) == 32 + 3 * $word);
            assert!(offset_of!(B, states) == 32 + 4 * $word && offset_of!(B, out) == 32 + 5 * $word);
            assert!(offset_of!(B, rows_out) == 32 + 6 * $word && offset_of!(B, mix_out) == 32 + 7 * $word);
            assert!(offset_of!(B, input) == 32 + 8 * $word && offset_of!(B, output) == 32 + 9 * $word);
            assert!(offset_of!(B, table_len) == 32 + 10 * $word && offset_of!(B, n_states) == 36 + 10 * $word);
            assert!(offset_of!(B, n_rows_out) == 40 + 10 * $word && offset_of!(B, mix_len) == 44 + 10 * $word);
            assert!(offset_of!(B, input_len) == 48 + 10 * $word && offset_of!(B, output_cap) == 52 + 10 * $word);
            assert!(offset_of!(B, output_len) == 56 + 10 * $word && offset_of!(B, state_n) == 60 + 10 * $word);
            assert!(size_of::<B>() == 64 + 10 * $word, "no padding at the end either");
        };
    };
}
assert_offsets!(u32, 4);
assert_offsets!(u64, 8);
#[cfg(target_pointer_width = "64")]
assert_offsets!(*mut u8, 8);
#[cfg(target_pointer_width = "32")]
assert_offsets!(*mut u8, 4);
