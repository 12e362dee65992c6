//! A plugin instance whose memory holds one slot per client for a range of the updates, and REDUCE over them.
//!
//! Where in the flow: [`super::rows`] keeps one for each part of the model and agents write into it;
//! `staged.rs` keeps one for each thread and fills it from the kept updates, range by range.
//! What it never does: look at the values that go in, or let a plugin change what it gave in an earlier call. What comes out
//! must be finite.

use crate::{
    error::{Fault, Kind},
    finite::first_not_finite,
    plugin::{Block, Instance, Plugin, Span},
    stages::{failure, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::op;
use std::ops::Range;

/// Bytes of slots that one instance may hold; leaves room for the plugin's own memory below 2 GiB.
pub const MAX_ARENA_BYTES: usize = 1792 << 20;
/// Bytes of rows that one REDUCE call works on: they stay in the second-level cache.
const CALL_BYTES: usize = 512 << 10;
/// Most elements of one REDUCE call.
const MAX_CALL: usize = 16_384;
/// A range below this length costs more in calls than in work.
const MIN_LEN: usize = 1024;
/// Bytes by which a slot is shifted against the one before, an odd number of cache lines, and bytes after which the shifts
/// begin again. Slots that lie a power of two apart share a few places of each cache, which do not hold a line of all of them: a
/// mean of ten took a quarter longer.
const SHIFT: usize = 9 * 64;
const SHIFTS: usize = 4096;
/// Bytes of a slot from which on that is worth the room.
const SHIFTED: usize = 64 << 10;

/// What every shard of a rule is opened with.
#[derive(Clone)]
pub struct ShardSpec {
    pub plugin: Plugin,
    pub position: u8,
    pub run_seed: u64,
    pub layout: Layout,
}

pub struct Shard {
    /// Elements of the model that the slots hold now, at most as many as they have room for.
    pub range: Range<usize>,
    pub instance: Box<dyn Instance>,
    slots: Vec<Span>,
    weights: Span,
    /// The result of one call, which stays in the cache.
    out: Span,
}

impl Shard {
    /// A shard for the first `len` elements of `cohort` rows.
    pub fn open(spec: &ShardSpec, len: usize, cohort: usize) -> Result<Self> {
        let mut instance = open(&spec.plugin, spec.position, spec.run_seed, call_len(cohort), &spec.layout)?;
        let mut span = |start: usize, len: usize, room: usize| -> Result<Span> {
            Ok(Span { buffer: instance.alloc(4 * len + room)?, start, len })
        };
        let out = span(0, len.min(MAX_CALL), 0)?;
        let slot = |slot| match 4 * len < SHIFTED {
            true => span(0, len, 0),
            false => span(slot * SHIFT % SHIFTS, len, SHIFTS),
        };
        let slots = (0..cohort).map(slot).collect::<Result<_>>()?;
        let weights = Span { buffer: instance.alloc(8 * cohort)?, start: 0, len: cohort };
        Ok(Shard { range: 0..len, instance, slots, weights, out })
    }

    /// The place of the current range in the slot of a client.
    pub fn slot(&mut self, slot: usize) -> &mut [f32] {
        let span = Span { len: self.range.len(), ..self.slots[slot] };
        self.instance.floats_mut(span)
    }

    /// REDUCE over the first `weights.len()` slots. Shapes: `result` as long as the range. What a call gives is copied before
    /// the next one: a plugin cannot change it later.
    /// Errors: a plugin failure, also when a value is not finite.
    pub fn reduce(&mut self, name: &str, weights: &[f64], result: &mut [f32]) -> Result<()> {
        let weight_span = Span { len: weights.len(), ..self.weights };
        self.instance.doubles_mut(weight_span).copy_from_slice(weights);
        let step = call_len(weights.len());
        let mut rows = Vec::with_capacity(weights.len());
        for (call, result) in result.chunks_mut(step).enumerate() {
            let (start, n) = (call * step, result.len());
            rows.clear();
            let cut = |slot: &Span| Span { start: slot.start + 4 * start, len: n, ..*slot };
            rows.extend(self.slots[..weights.len()].iter().map(cut));
            let (offset, out) = (self.range.start + start, Span { len: n, ..self.out });
            // So that a value that the plugin leaves out is named, not taken from the call before.
            self.instance.floats_mut(out).fill(f32::NAN);
            let block = Block {
                offset: offset as u64,
                n,
                rows: &rows,
                k: rows.len(),
                weights: Some(weight_span),
                out: Some(out),
                ..Block::default()
            };
            if self.instance.block(op::REDUCE, &block)?.skipped {
                return Err(failure(name, op::REDUCE, "skipped a range; it must write every value").into());
            }
            result.copy_from_slice(self.instance.floats(out));
            if let Some(at) = first_not_finite(result) {
                let message = format!("value {} is {}; an aggregate must be finite", offset + at, result[at]);
                return Err(failure(name, op::REDUCE, message).into());
            }
        }
        Ok(())
    }
}

/// Elements of a range of `cohort` rows, with room for two more, at most `most`, that fit `bytes` and an instance's 2 GiB.
/// Errors: `Kind::Config` for a cohort so large that not even short ranges do.
pub fn range_len(cohort: usize, most: usize, bytes: usize) -> Result<usize> {
    let fitting = |bytes: usize| bytes / (4 * (cohort + 2));
    if fitting(MAX_ARENA_BYTES) < MIN_LEN {
        return Err(Fault::new(
            Kind::Config,
            format!(
                "a cohort of {cohort} clients — the rows of a range would not fit 2 GiB; use fewer clients per round, or an aggregate that works on sums"
            ),
        ));
    }
    Ok(most.min(fitting(bytes.min(MAX_ARENA_BYTES)).max(MIN_LEN)))
}

/// Elements of one REDUCE call: a multiple of 64, so that calls begin on cache lines.
fn call_len(cohort: usize) -> usize {
    (CALL_BYTES / (4 * (cohort + 1)) / 64 * 64).clamp(256, MAX_CALL)
}
