//! The rows of a round, kept where the aggregate plugin can reach them.
//!
//! The parameter range is cut into shards of at most 2²⁰ elements, whatever the number of threads. Each shard has its own
//! plugin instance, whose memory holds one slot per client: an agent writes its update straight into the slots, and
//! REDUCE runs over them without another copy. Copying at call time instead costs a third of the throughput.
//! Memory: cohort × P × 4 bytes. What it never does: look at the values.

use crate::{
    error::{Fault, Kind},
    executor::Executor,
    plugin::{Block, Instance, Plugin, Span},
    stages::{failure, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::op;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Elements of a shard when the cohort is small enough for the instance's 2 GiB.
const SHARD: usize = 1 << 20;
/// Bytes of slots that one instance may hold; leaves room for the plugin's own memory below 2 GiB.
const MAX_ARENA_BYTES: usize = 1792 << 20;
/// Bytes of rows that one REDUCE call works on: they stay in the second-level cache.
const CALL_BYTES: usize = 512 << 10;

/// Slots for the updates of one cohort.
pub struct RowStore {
    plugin: Plugin,
    position: u8,
    run_seed: u64,
    layout: Layout,
    capacity: usize,
    shards: Vec<Mutex<Shard>>,
}

struct Shard {
    range: Range<usize>,
    instance: Box<dyn Instance>,
    slots: Vec<Span>,
    weights: Span,
    out: Span,
}

impl RowStore {
    pub fn new(plugin: Plugin, position: u8, run_seed: u64, layout: &Layout) -> Self {
        RowStore { plugin, position, run_seed, layout: layout.clone(), capacity: 0, shards: Vec::new() }
    }

    /// Makes room for `cohort` rows. Errors: the cohort does not fit an instance's memory.
    pub fn prepare(&mut self, cohort: usize) -> Result<()> {
        if cohort <= self.capacity {
            return Ok(());
        }
        let shard_len = SHARD.min(MAX_ARENA_BYTES / (4 * (cohort + 2)));
        if shard_len < 1024 {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "a cohort of {cohort} clients — the rows of a shard would not fit 2 GiB; use fewer clients per round, or an aggregate that works on sums"
                ),
            ));
        }
        self.shards.clear();
        let len = self.layout.len();
        for start in (0..len).step_by(shard_len) {
            let shard = self.open_shard(start..(start + shard_len).min(len), cohort)?;
            self.shards.push(Mutex::new(shard));
        }
        self.capacity = cohort;
        Ok(())
    }

    fn open_shard(&self, range: Range<usize>, cohort: usize) -> Result<Shard> {
        let len = range.len();
        let mut instance = open(&self.plugin, self.position, self.run_seed, call_len(cohort), &self.layout)?;
        let mut span = || -> Result<Span> { Ok(Span { buffer: instance.alloc(4 * len)?, start: 0, len }) };
        let out = span()?;
        let slots = (0..cohort).map(|_| span()).collect::<Result<_>>()?;
        let weights = Span { buffer: instance.alloc(8 * cohort)?, start: 0, len: cohort };
        Ok(Shard { range, instance, slots, weights, out })
    }

    /// Writes the update of the client in `slot`. Called by agents at the same time, each for its own slot.
    pub fn put(&self, slot: usize, update: &[f32]) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let (range, span) = (shard.range.clone(), shard.slots[slot]);
            shard.instance.floats_mut(span).copy_from_slice(&update[range]);
        }
    }

    /// Opens the round at every instance: `open` keys its random streams and passes on the broadcast.
    pub fn open_round(&mut self, open: &dyn Fn(&mut dyn Instance) -> Result<()>) -> Result<()> {
        self.shards.iter().try_for_each(|shard| open(lock(shard).instance.as_mut()))
    }

    /// REDUCE over the first `weights.len()` slots, P values.
    /// Errors: a plugin failure, also when a value is not finite.
    pub fn reduce(&mut self, executor: &Executor, weights: &[f64]) -> Result<Vec<f32>> {
        let name = self.plugin.manifest().name.as_str();
        let mut workers = vec![(); executor.threads().min(self.shards.len())];
        let parts =
            executor.each(&mut workers, &self.shards, &mut |_| {}, |_, shard| lock(shard).reduce(name, weights))?;
        Ok(parts.concat())
    }
}

impl Shard {
    fn reduce(&mut self, name: &str, weights: &[f64]) -> Result<Vec<f32>> {
        let weight_span = Span { len: weights.len(), ..self.weights };
        self.instance.doubles_mut(weight_span).copy_from_slice(weights);
        let step = call_len(weights.len());
        let mut rows = Vec::with_capacity(weights.len());
        for start in (0..self.range.len()).step_by(step) {
            let n = step.min(self.range.len() - start);
            let cut = |span: Span| Span { start: 4 * start, len: n, ..span };
            rows.clear();
            rows.extend(self.slots[..weights.len()].iter().map(|&slot| cut(slot)));
            let block = Block {
                offset: (self.range.start + start) as u64,
                n,
                rows: &rows,
                k: rows.len(),
                weights: Some(weight_span),
                out: Some(cut(self.out)),
                ..Block::default()
            };
            if self.instance.block(op::REDUCE, &block)?.skipped {
                return Err(failure(name, op::REDUCE, "skipped a range; it must write every value").into());
            }
        }
        let out = self.instance.floats(self.out).to_vec();
        match out.iter().position(|x| !x.is_finite()) {
            None => Ok(out),
            Some(i) => {
                let message = format!("value {} is {}; an aggregate must be finite", self.range.start + i, out[i]);
                Err(failure(name, op::REDUCE, message).into())
            }
        }
    }
}

/// Elements of one REDUCE call: a multiple of 64, so that calls begin on cache lines.
fn call_len(cohort: usize) -> usize {
    (CALL_BYTES / (4 * (cohort + 1)) / 64 * 64).clamp(256, 16_384)
}

/// A panic while the lock was held stops the run anyway; what the slots hold then no longer matters.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
