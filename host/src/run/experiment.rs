//! An experiment that is ready to run: configuration, data, model and loaded plugins.
//!
//! Where in the flow: made from a configuration or from the caller's own data and model; the round loop does the rest.
//! What it never does: train, or leave anything open that a second run would need: what it stores repeats it.

use super::Run;
use crate::{
    client,
    config::{self, Config},
    data::{self, Dataset},
    error::{Fault, PluginFailure},
    partition,
    plugin::{self, Origin, Plugin, Role},
    record::Observer,
    strategy::requirements,
    train::{self, Model},
};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::Arc;

/// An experiment that is ready to run. Data and model come from the configuration unless the caller brings their own.
pub struct Experiment {
    pub config: Config,
    pub data: Arc<Dataset>,
    pub model: Arc<dyn Model>,
    /// Loaded plugins in the configuration's order; FedAvg is among them if no other aggregate is.
    pub plugins: Vec<Plugin>,
    /// Where updates beyond `host.update-memory` and client state beyond `host.state-memory` are kept while the run lasts.
    /// Default: the system's folder for temporary files.
    pub scratch: PathBuf,
}

impl Experiment {
    /// Loads data, model and plugins as the configuration says.
    pub fn from_config(config: Config) -> Result<Self> {
        let data = Arc::new(data::load(&config.data)?);
        let model = train::model_from_config(&config.model, &data)?;
        Self::new(config, data, model)
    }

    /// An experiment on the caller's own data and model; `[data]` and `[model]` of the configuration are not looked at.
    /// Errors: `Kind::Config` for settings that are out of range; those of loading plugins.
    pub fn new(mut config: Config, data: Arc<Dataset>, model: Arc<dyn Model>) -> Result<Self> {
        config.resolve();
        config.check()?;
        let plugins = load_plugins(&mut config, &data)?;
        requirements::check(&plugins, &config, model.layout())?;
        // The stored configuration must mean the same files from any folder.
        for path in [&mut config.data.path, &mut config.model.init, &mut config.partition.cache].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(Experiment { config, data, model, plugins, scratch: std::env::temp_dir() })
    }

    /// Runs all rounds.
    /// Errors carry a [`crate::error::Fault`] or a [`crate::plugin::PluginFailure`].
    pub fn run(&self, observer: &mut dyn Observer) -> Result<()> {
        let mut run = Run::new(self)?;
        observer.start(&run.info())?;
        observer.round(&run.before_training()?)?;
        for round in 1..=self.config.federation.num_server_rounds as u64 {
            let record = run.round(round, observer).map_err(|error| in_round(error, round))?;
            observer.round(&record)?;
        }
        observer.finish(&run.into_outcome())
    }
}

/// Names the round, unless whoever failed has named it with its client.
fn in_round(error: anyhow::Error, round: u64) -> anyhow::Error {
    let is_placed = error.downcast_ref::<String>().is_some();
    let is_ours = error.downcast_ref::<PluginFailure>().is_none() && error.downcast_ref::<Fault>().is_none();
    if is_placed || is_ours { error } else { error.context(format!("round {round}")) }
}

/// Loads the configured plugins, with FedAvg as the aggregate if they have none and with what they require of it, and
/// writes them back resolved: with their hashes and every parameter, so that the stored configuration alone repeats the
/// run.
fn load_plugins(config: &mut Config, data: &Dataset) -> Result<Vec<Plugin>> {
    let allow_native = &config.host.allow_native;
    let mut plugins: Vec<Plugin> =
        config.plugins.iter().map(|spec| plugin::load(spec, allow_native)).collect::<Result<_>>()?;
    if !plugins.iter().any(|p| p.manifest().kinds.contains(&Role::Aggregate)) {
        config.plugins.push(config::Plugin::shipped("fedavg"));
        plugins.extend(config.plugins.last().map(|spec| plugin::load(spec, allow_native)).transpose()?);
    }
    let expected_cohort = || {
        let num_clients = partition::num_clients(&config.partition, data)?;
        Ok(client::expected_cohort(&config.federation, num_clients))
    };
    if let Some((position, spec)) = requirements::settle(&plugins, &config.plugins, expected_cohort)? {
        plugins[position] = plugin::load(&spec, allow_native)?;
    }
    config.plugins = plugins.iter().map(resolved).collect::<Result<_>>()?;
    Ok(plugins)
}

fn resolved(plugin: &Plugin) -> Result<config::Plugin> {
    let (name, path) = match plugin.origin() {
        Origin::Shipped { .. } => (Some(plugin.manifest().name.clone()), None),
        Origin::File(path) => (None, Some(std::path::absolute(path)?)),
    };
    let parameters = toml::Table::try_from(plugin.parameters_json())?;
    Ok(config::Plugin { name, path, blake3: Some(plugin.blake3().into()), parameters })
}
