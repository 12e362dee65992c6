//! The rows of a round, kept where the aggregate plugin can reach them.
//!
//! The parameter range is cut into shards of at most 2²⁰ elements, whatever the number of threads. Each shard has its own
//! plugin instance, whose memory holds one slot per client: an agent writes its update straight into the slots, and
//! REDUCE runs over them without another copy. Copying at call time instead costs a third of the throughput.
//! Memory: cohort × P × 4 bytes; above `host.update-memory`, and where rows change before they are reduced, see
//! `staged.rs`. What it never does: look at the values.

use super::shard::{MAX_ARENA_BYTES, Shard, ShardSpec, range_len};
use crate::{executor::Executor, plugin::Instance};
use anyhow::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Elements of a shard when the cohort is small enough for the instance's 2 GiB.
const SHARD: usize = 1 << 20;

/// Slots for the updates of one cohort.
pub struct RowStore {
    spec: ShardSpec,
    capacity: usize,
    shards: Vec<Mutex<Shard>>,
    /// Memory of an earlier result: to fill new memory takes a tenth of the time of a mean.
    spare: Vec<f32>,
}

impl RowStore {
    pub fn new(spec: ShardSpec) -> Self {
        RowStore { spec, capacity: 0, shards: Vec::new(), spare: Vec::new() }
    }

    /// Makes room for `cohort` rows. Errors: the cohort does not fit an instance's memory.
    pub fn prepare(&mut self, cohort: usize) -> Result<()> {
        if cohort <= self.capacity {
            return Ok(());
        }
        let shard_len = range_len(cohort, SHARD, MAX_ARENA_BYTES)?;
        self.shards.clear();
        let len = self.spec.layout.len();
        for start in (0..len).step_by(shard_len) {
            let range = start..(start + shard_len).min(len);
            let mut shard = Shard::open(&self.spec, range.len(), cohort)?;
            shard.range = range;
            self.shards.push(Mutex::new(shard));
        }
        self.capacity = cohort;
        Ok(())
    }

    /// Writes the update of the client in `slot`. Called by agents at the same time, each for its own slot.
    pub fn put(&self, slot: usize, update: &[f32]) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let range = shard.range.clone();
            shard.slot(slot).copy_from_slice(&update[range]);
        }
    }

    /// Opens the round at every instance: `open` keys its random streams and passes on the broadcast.
    pub fn open_round(&mut self, open: &dyn Fn(&mut dyn Instance) -> Result<()>) -> Result<()> {
        self.shards.iter().try_for_each(|shard| open(lock(shard).instance.as_mut()))
    }

    /// REDUCE over the first `weights.len()` slots, P values.
    /// Errors: a plugin failure, also when a value is not finite.
    pub fn reduce(&mut self, executor: &Executor, weights: &[f64]) -> Result<Vec<f32>> {
        let name = self.spec.plugin.manifest().name.as_str();
        let mut update = std::mem::take(&mut self.spare);
        update.resize(self.spec.layout.len(), 0.0);
        let mut rest = &mut update[..];
        let mut parts = Vec::with_capacity(self.shards.len());
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            let (part, behind) = rest.split_at_mut(shard.range.len());
            rest = behind;
            parts.push(Mutex::new((part, shard)));
        }
        let mut workers = vec![(); executor.threads().min(parts.len())];
        executor.each(&mut workers, &parts, &mut |_| {}, |_, part| {
            let (part, shard) = &mut *lock(part);
            shard.reduce(name, weights, part)
        })?;
        Ok(update)
    }

    /// Whether it has held rows.
    pub fn is_in_use(&self) -> bool {
        self.capacity > 0
    }

    /// Takes back the memory of a result that nobody needs any more.
    pub fn reuse(&mut self, result: Vec<f32>) {
        self.spare = result;
    }
}

/// A panic while the lock was held stops the run anyway; what was locked then no longer matters.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
