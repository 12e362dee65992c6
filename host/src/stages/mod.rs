//! What happens to an update between the client's training and the server's aggregation.
//!
//! Where in the flow: after train, before strategy. On the client: normalize in the given order, then compress; on the
//! server: decompress. Each agent has its own instances. What it never does: know which strategy aggregates.

mod compress;
mod measures;
mod normalize;
mod stage;

use crate::{
    client::{ClientId, ClientStates},
    plugin::Plugin,
    train::Layout,
    wire,
};
use anyhow::Result;
use colla_plugin_sdk::Map;
use compress::Compressor;
use normalize::Normalizer;

pub use compress::capacity;
pub use measures::{ScanPlan, norm2, squared_norm};
pub use stage::{Stage, failure, open};

/// A stage of the run: the plugin and its position among all plugins of the run.
#[derive(Clone)]
pub struct StageSpec {
    pub plugin: Plugin,
    pub position: u8,
}

/// The stages of a run in the order in which they act; what each agent builds its own instances from.
#[derive(Clone, Default)]
pub struct StageSpecs {
    pub normalize: Vec<StageSpec>,
    pub compress: Option<StageSpec>,
}

/// One agent's stages.
pub struct Stages {
    normalize: Vec<Normalizer>,
    compress: Option<Compressor>,
}

impl Stages {
    pub fn new(specs: &StageSpecs, run_seed: u64, layout: &Layout) -> Result<Self> {
        Ok(Stages {
            normalize: specs.normalize.iter().map(|s| Normalizer::new(s, run_seed, layout)).collect::<Result<_>>()?,
            compress: specs.compress.as_ref().map(|s| Compressor::new(s, run_seed, layout)).transpose()?,
        })
    }

    /// Passes on what the plugins broadcast this round, by position.
    pub fn begin_round(&mut self, broadcasts: &[Map]) -> Result<()> {
        for normalizer in &mut self.normalize {
            normalizer.sync(broadcasts)?;
        }
        self.compress.as_mut().map_or(Ok(()), |compressor| compressor.sync(broadcasts))
    }

    /// The normalizers alone: what becomes of the update of the server's own client, which does not travel.
    pub fn normalize(&mut self, update: &mut [f32], round: u64, client: ClientId) -> Result<()> {
        self.normalize.iter_mut().try_for_each(|normalizer| normalizer.apply(update, round, client))
    }

    /// Turns the client's update into what the server receives, in place, and returns the bytes that travelled.
    ///
    /// Errors: a [`crate::plugin::PluginFailure`] when a stage fails or returns a value that is not finite.
    pub fn transfer(&mut self, update: &mut [f32], round: u64, client: ClientId, states: &ClientStates) -> Result<u64> {
        self.normalize(update, round, client)?;
        match &mut self.compress {
            Some(compressor) => compressor.transfer(update, round, client, states),
            None => Ok(wire::plain_bytes(update.len())),
        }
    }
}
