//! The round loop.

use crate::{config::Config, data::Dataset, record::Observer, train::Model};
use anyhow::Result;
use std::sync::Arc;

/// An experiment that is ready to run. Data and model come from the configuration unless the caller brings their own.
pub struct Experiment {
    pub config: Config,
    pub data: Arc<Dataset>,
    pub model: Arc<dyn Model>,
}

impl Experiment {
    /// Loads data and model as the configuration says.
    pub fn from_config(_config: Config) -> Result<Self> {
        anyhow::bail!("written by the round-loop work")
    }

    /// Runs all rounds. Errors carry a [`crate::error::Fault`] or a [`crate::plugin::PluginFailure`].
    pub fn run(&self, _observer: &mut dyn Observer) -> Result<()> {
        anyhow::bail!("written by the round-loop work")
    }
}
