//! REDUCE over kept updates: each thread's instance sees one range of all rows after another.
//!
//! Where in the flow: in place of [`super::rows`] where a cohort exceeds `host.update-memory`, and where an attack, a mix
//! or a decision changes rows before they are reduced. Memory: 64 MiB of slots per thread, unless the
//! cohort is so large that short ranges need more.

use super::{
    kept::Kept,
    shard::{Shard, ShardSpec, range_len},
};
use crate::{executor::Executor, plugin::Instance};
use anyhow::Result;
use std::ops::Range;

/// Elements of a range when few rows would allow more: as long as one granule.
const RANGE: usize = 1 << 16;
/// Bytes of slots of one thread.
const STAGE_BYTES: usize = 64 << 20;

pub struct Staged {
    spec: ShardSpec,
    capacity: usize,
    shards: Vec<Shard>,
}

impl Staged {
    pub fn new(spec: ShardSpec) -> Self {
        Staged { spec, capacity: 0, shards: Vec::new() }
    }

    /// REDUCE over the first `weights.len()` rows, P values. `open` keys an instance's random streams and passes
    /// on the broadcast. Errors: a plugin failure, also when a value is not finite; rows that cannot be read.
    pub fn reduce(
        &mut self,
        executor: &Executor,
        kept: &Kept,
        weights: &[f64],
        open: &dyn Fn(&mut dyn Instance) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let ranges = self.prepare(executor, weights.len())?;
        self.shards.iter_mut().try_for_each(|shard| open(shard.instance.as_mut()))?;
        let name = self.spec.plugin.manifest().name.as_str();
        let parts = executor.each(&mut self.shards, &ranges, &mut |_| {}, |shard, range| {
            shard.range = range.clone();
            (0..weights.len()).try_for_each(|row| kept.read(row, range.start, shard.slot(row)))?;
            let mut part = vec![0.0; range.len()];
            shard.reduce(name, weights, &mut part)?;
            Ok(part)
        })?;
        Ok(parts.concat())
    }

    /// Instances with room for `cohort` rows, and the ranges that they see.
    fn prepare(&mut self, executor: &Executor, cohort: usize) -> Result<Vec<Range<usize>>> {
        let len = self.spec.layout.len();
        if cohort > self.capacity {
            self.capacity = cohort;
            self.shards.clear();
        }
        let range_len = range_len(self.capacity, RANGE, STAGE_BYTES)?.min(len);
        let ranges: Vec<_> =
            (0..len).step_by(range_len.max(1)).map(|start| start..(start + range_len).min(len)).collect();
        while self.shards.len() < executor.threads().min(ranges.len()) {
            self.shards.push(Shard::open(&self.spec, range_len, self.capacity)?);
        }
        Ok(ranges)
    }
}
