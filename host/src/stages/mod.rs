//! What happens to an update between the client's training and the server's aggregation.
//!
//! ```text
//! client   APPLY of normalizer 1, …, n → ENCODE        bytes and side headers travel
//! server   DECODE → UNDO of normalizer n, …, 1         of those that have a header
//! ```
//! Where in the flow: after train, before strategy. Each agent has its own instances. The way down, of the weights before
//! training, is in `downlink.rs`.
//! What it never does: know which strategy aggregates.

mod codec;
mod compress;
mod downlink;
mod feedback;
mod measures;
mod norm_guard;
mod normalize;
mod own_scan;
mod slot_init;
mod slots;
mod stage;

use crate::{
    client::{ClientId, ClientStates},
    plugin::Plugin,
    train::Layout,
    wire,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};
use compress::Compressor;
use norm_guard::NormGuard;
use normalize::Normalizer;
use std::sync::Arc;

pub use codec::{Codec, capacity};
pub use downlink::Downlink;
pub use measures::{Scan, ScanPlan, norm2, squared_norm};
pub use norm_guard::{NormPromise, exceeds, no_bound};
pub use own_scan::OwnScan;
pub use slot_init::SlotInit;
pub use slots::ClientSlots;
pub use stage::{Address, Sender, Stage, failure, open, open_and_listen};

/// A stage of the run: the plugin and its position among all plugins of the run.
#[derive(Clone)]
pub struct StageSpec {
    pub plugin: Plugin,
    pub position: u8,
    /// The weights before round 1, from which client slots may start.
    pub initial_weights: Arc<[f32]>,
}

/// The stages of a run in the order in which they act; what each agent builds its own instances from.
#[derive(Clone, Default)]
pub struct StageSpecs {
    pub normalize: Vec<StageSpec>,
    /// What compresses the updates.
    pub compress: Option<StageSpec>,
    /// What compresses the weights; the server's, not the agents'.
    pub downlink: Option<StageSpec>,
    /// The norm that stages are held to; none where nothing relies on one.
    pub norm: Option<NormPromise>,
}

impl StageSpecs {
    /// What to know of the stages before the run is believed, a line each.
    pub fn notes(&self, run_seed: u64, layout: &Layout) -> Vec<String> {
        self.compress.iter().filter_map(|compress| feedback::note(compress, run_seed, layout)).collect()
    }
}

/// Whose update passes through the stages, and what belongs to it.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    pub round: u64,
    pub client: ClientId,
    /// The weights that the client trained from, P values.
    pub received: &'a [f32],
    pub states: &'a ClientStates,
}

/// One agent's stages.
pub struct Stages {
    normalize: Vec<Normalizer>,
    compress: Option<Compressor>,
    norm: Option<NormGuard>,
}

impl Stages {
    pub fn new(specs: &StageSpecs, run_seed: u64, layout: &Layout) -> Result<Self> {
        let guard = |promise: NormPromise| {
            let mut stages = specs.normalize.iter().chain(&specs.compress);
            let bounding = stages.find(|spec| spec.position == promise.position);
            bounding.map(|spec| NormGuard::new(promise, &spec.plugin.manifest().name))
        };
        Ok(Stages {
            normalize: specs.normalize.iter().map(|s| Normalizer::new(s, run_seed, layout)).collect::<Result<_>>()?,
            compress: specs.compress.as_ref().map(|s| Compressor::new(s, run_seed, layout)).transpose()?,
            norm: specs.norm.and_then(guard),
        })
    }

    /// Passes on what the plugins broadcast this round, by position.
    pub fn begin_round(&mut self, broadcasts: &[Map]) -> Result<()> {
        for normalizer in &mut self.normalize {
            normalizer.sync(broadcasts)?;
        }
        if let Some(guard) = &mut self.norm {
            guard.begin_round(broadcasts)?;
        }
        self.compress.as_mut().map_or(Ok(()), |compressor| compressor.sync(broadcasts))
    }

    /// The normalizers and their undoing alone: what becomes of the update of the server's own client, which does not travel.
    pub fn normalize(&mut self, update: &mut [f32], round: u64) -> Result<()> {
        let of = Address { round, sender: Sender::Server, vector: 0 };
        for normalizer in &mut self.normalize {
            normalizer.apply(update, of)?;
        }
        self.normalize.iter_mut().rev().try_for_each(|normalizer| normalizer.undo(update, of))
    }

    /// Whether there are none, so that an update travels as it is.
    pub fn is_empty(&self) -> bool {
        self.normalize.is_empty() && self.compress.is_none()
    }

    /// Turns the client's update into what the server receives, in place, and returns the bytes that travelled.
    ///
    /// Errors: a [`crate::plugin::PluginFailure`] when a stage fails, returns a value that is not finite, or breaks a promise
    /// about the norm on which another plugin relies.
    pub fn transfer(&mut self, update: &mut [f32], upload: &Upload<'_>) -> Result<u64> {
        let of = Address { round: upload.round, sender: Sender::Client(upload.client), vector: 0 };
        let mut bytes = 0;
        let mut guard = self.norm.as_mut();
        if let Some(guard) = &mut guard {
            guard.begin();
        }
        for normalizer in &mut self.normalize {
            bytes += normalizer.apply(update, of)?;
            if let Some(guard) = &mut guard {
                guard.check(normalizer.stage(), op::APPLY, update)?;
            }
        }
        bytes += match &mut self.compress {
            Some(compressor) => {
                let bytes = compressor.transfer(0, update, upload)?;
                if let Some(guard) = &mut guard {
                    guard.check(compressor.decoder(), op::DECODE, update)?;
                }
                bytes
            }
            None => wire::plain_bytes(update.len()),
        };
        for normalizer in self.normalize.iter_mut().rev() {
            normalizer.undo(update, of)?;
        }
        Ok(bytes)
    }

    /// The same for a vector that the client uploads besides its update, counted from 1: it is encoded and nothing else.
    pub fn transfer_vector(&mut self, vector: u32, values: &mut [f32], upload: &Upload<'_>) -> Result<u64> {
        match &mut self.compress {
            Some(compressor) => compressor.transfer(vector, values, upload),
            None => Ok(wire::plain_bytes(values.len())),
        }
    }

    /// Keeps what stages know of the client whose upload was the last one: once it is accepted, for its next round.
    pub fn keep(&mut self, client: ClientId, states: &ClientStates) -> Result<()> {
        self.compress.as_mut().map_or(Ok(()), |compressor| compressor.keep(client, states))
    }
}
