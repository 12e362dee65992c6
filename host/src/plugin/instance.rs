//! One loaded plugin instance, the same for WASM and native.
//!
//! Data never travels as arguments: an instance owns [`Buffer`]s in memory that its plugin can reach (guest memory for
//! WASM, host memory for native), the host fills and reads them in place, and a [`Block`] names ranges of them.
//! So an update that is written straight into a buffer is reduced without another copy.

use crate::error::PluginFailure;
use colla_plugin_sdk::Map;

/// Handle of a buffer of one instance. Using it with another instance is a bug of ours and panics or fails cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(pub(crate) usize);

/// A range of a buffer: `len` elements from byte `start` on. The element type follows from the block's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub buffer: Buffer,
    /// In bytes; a multiple of the element's size.
    pub start: usize,
    /// In elements.
    pub len: usize,
}

/// The arguments of one data-plane call; see [`colla_plugin_sdk::abi::RawBlock`] for the meaning of each field.
#[derive(Clone, Debug, Default)]
pub struct Block<'a> {
    pub offset: u64,
    pub vector: u32,
    pub unit: u32,
    /// Elements in the range. Every `f32` span but those of `states` must be this long.
    pub n: usize,
    /// `f32` each.
    pub rows: &'a [Span],
    /// Number of rows where `rows` is empty but the operation speaks of k clients (WEIGH); else `rows.len()`.
    pub k: usize,
    /// `f64`, one per row.
    pub weights: Option<Span>,
    /// `f64`.
    pub table: Option<Span>,
    /// `f32`.
    pub base: Option<Span>,
    /// `f32` each, written; all of one length, `n` or another.
    pub states: &'a [Span],
    /// `f32`, written.
    pub out: Option<Span>,
    /// `f32` each, written.
    pub rows_out: &'a [Span],
    /// `f64`, written.
    pub mix_out: Option<Span>,
    /// Bytes.
    pub input: Option<Span>,
    /// Bytes, written.
    pub output: Option<Span>,
}

/// What a block call gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The plugin answered SKIP: outputs are untouched.
    pub skipped: bool,
    /// Bytes of `output` that were written; checked against its capacity.
    pub output_len: usize,
}

/// What a plugin may learn through `rand_fill`, and which streams it draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callbacks {
    pub run_seed: u64,
    /// Position of the plugin in the run, 0..256.
    pub position: u8,
    pub round: u64,
    pub client: u64,
}

/// A created plugin. Used by one thread at a time. After a trap every further call fails.
pub trait Instance: Send {
    /// Round and client of the streams that `rand_fill` gives from now on.
    fn set_callbacks(&mut self, callbacks: Callbacks);

    /// A control-plane call. Reply limits: 1 MiB, nesting 16.
    fn call(&mut self, op: u32, message: &Map) -> Result<Map, PluginFailure>;

    /// `bytes` of zeroed memory, aligned to 64. Fails when the plugin's memory limit is reached.
    fn alloc(&mut self, bytes: usize) -> Result<Buffer, PluginFailure>;

    fn bytes(&self, buffer: Buffer) -> &[u8];

    fn bytes_mut(&mut self, buffer: Buffer) -> &mut [u8];

    /// A data-plane call. Does not look at what was written: lengths hold by construction, finiteness is the caller's.
    fn block(&mut self, op: u32, block: &Block<'_>) -> Result<Done, PluginFailure>;

    fn floats(&self, span: Span) -> &[f32] {
        bytemuck::cast_slice(&self.bytes(span.buffer)[span.start..span.start + span.len * 4])
    }

    fn floats_mut(&mut self, span: Span) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.bytes_mut(span.buffer)[span.start..span.start + span.len * 4])
    }

    fn doubles(&self, span: Span) -> &[f64] {
        bytemuck::cast_slice(&self.bytes(span.buffer)[span.start..span.start + span.len * 8])
    }

    fn doubles_mut(&mut self, span: Span) -> &mut [f64] {
        bytemuck::cast_slice_mut(&mut self.bytes_mut(span.buffer)[span.start..span.start + span.len * 8])
    }
}

/// Name of an operation for messages.
pub fn operation_name(op: u32) -> &'static str {
    use colla_plugin_sdk::abi::op::*;
    match op {
        LAYOUT => "LAYOUT",
        SYNC => "SYNC",
        ROUND_BEGIN => "ROUND_BEGIN",
        CLIENT_BEGIN => "CLIENT_BEGIN",
        ROUND_END => "ROUND_END",
        SAVE => "SAVE",
        LOAD => "LOAD",
        SCAN_PLAN => "SCAN_PLAN",
        DENOMINATOR => "DENOMINATOR",
        STEP_BEGIN => "STEP_BEGIN",
        DECIDE_PLAN => "DECIDE_PLAN",
        POST_BEGIN => "POST_BEGIN",
        ATTACK_BEGIN => "ATTACK_BEGIN",
        WEIGH => "WEIGH",
        DECIDE => "DECIDE",
        REDUCE => "REDUCE",
        STEP => "STEP",
        APPLY => "APPLY",
        UNDO => "UNDO",
        SCAN => "SCAN",
        ENCODE => "ENCODE",
        DECODE => "DECODE",
        CLIENT_END => "CLIENT_END",
        GRAD => "GRAD",
        ATTACK => "ATTACK",
        SELECT => "SELECT",
        _ => "an unknown operation",
    }
}
