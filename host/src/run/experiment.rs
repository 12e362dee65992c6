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
    strategy::{ledger, requirements},
    train::{self, Model},
};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::Arc;
use std::{panic, thread};

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
    /// Errors: those of the data, of the model, of the settings and of the plugins, the first of them in this order.
    pub fn from_config(mut config: Config) -> Result<Self> {
        let Config { data, plugins: specs, host, .. } = &mut config;
        // Plugins take about as long to compile as data to load, and neither needs the other.
        let (data, plugins) = thread::scope(|scope| {
            let plugins = scope.spawn(|| load_plugins(specs, &host.allow_native));
            let data = data::load(data);
            (data, plugins.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
        });
        let data = Arc::new(data?);
        let model = train::model_from_config(&config.model, &data)?;
        config.resolve();
        config.check()?;
        Self::compose(config, data, model, plugins?)
    }

    /// An experiment on the caller's own data and model; `[data]` and `[model]` of the configuration are not looked at.
    /// Errors: `Kind::Config` for settings that are out of range; those of loading plugins.
    pub fn new(mut config: Config, data: Arc<Dataset>, model: Arc<dyn Model>) -> Result<Self> {
        config.resolve();
        config.check()?;
        let plugins = load_plugins(&mut config.plugins, &config.host.allow_native)?;
        Self::compose(config, data, model, plugins)
    }

    fn compose(
        mut config: Config,
        data: Arc<Dataset>,
        model: Arc<dyn Model>,
        mut plugins: Vec<Plugin>,
    ) -> Result<Self> {
        settle(&mut config, &data, &mut plugins)?;
        requirements::check(&plugins, &config, model.layout())?;
        ledger::settle(&plugins, &mut config)?;
        config.evaluate.resolve(partition::num_clients(&config.partition, &data)?);
        // The stored configuration must mean the same files from any folder.
        let caches = [config.data.cache.path_mut(), config.partition.cache.path_mut()];
        let files = [config.data.path.as_mut(), config.model.init.as_mut()];
        for path in caches.into_iter().chain(files).flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(Experiment { config, data, model, plugins, scratch: std::env::temp_dir() })
    }

    /// Runs all rounds, or those that the privacy budget allows: then what they gave is handed over as at the end, before
    /// the error.
    /// Errors carry a [`crate::error::Fault`] or a [`crate::plugin::PluginFailure`].
    pub fn run(&self, observer: &mut dyn Observer) -> Result<()> {
        let mut run = Run::new(self)?;
        observer.start(&run.info())?;
        observer.round(&run.before_training()?)?;
        for round in 1..=self.config.federation.num_server_rounds as u64 {
            if let Err(spent) = run.check_budget() {
                observer.finish(&run.into_outcome(false))?;
                return Err(spent);
            }
            let record = run.round(round, observer).map_err(|error| in_round(error, round))?;
            observer.round(&record)?;
        }
        observer.finish(&run.into_outcome(true))
    }
}

/// Names the round, unless whoever failed has named it with its client.
fn in_round(error: anyhow::Error, round: u64) -> anyhow::Error {
    let is_placed = error.downcast_ref::<String>().is_some();
    let is_ours = error.downcast_ref::<PluginFailure>().is_none() && error.downcast_ref::<Fault>().is_none();
    if is_placed || is_ours { error } else { error.context(format!("round {round}")) }
}

/// Loads the configured plugins, with FedAvg as the aggregate if they have none.
fn load_plugins(specs: &mut Vec<config::Plugin>, allow_native: &[String]) -> Result<Vec<Plugin>> {
    let mut plugins: Vec<Plugin> = specs.iter().map(|spec| plugin::load(spec, allow_native)).collect::<Result<_>>()?;
    if !plugins.iter().any(|p| p.manifest().kinds.contains(&Role::Aggregate)) {
        let fedavg = config::Plugin::shipped("fedavg");
        plugins.push(plugin::load(&fedavg, allow_native)?);
        specs.push(fedavg);
    }
    Ok(plugins)
}

/// Sets what plugins require of the aggregate, and writes all of them back resolved: with their hashes and every
/// parameter, so that the stored configuration alone repeats the run.
fn settle(config: &mut Config, data: &Dataset, plugins: &mut [Plugin]) -> Result<()> {
    let expected_cohort = || {
        let num_clients = partition::num_clients(&config.partition, data)?;
        Ok(client::expected_cohort(&config.federation, num_clients))
    };
    if let Some((position, spec)) = requirements::settle(plugins, &config.plugins, expected_cohort)? {
        plugins[position] = plugin::load(&spec, &config.host.allow_native)?;
    }
    config.plugins = plugins.iter().map(resolved).collect::<Result<_>>()?;
    Ok(())
}

fn resolved(plugin: &Plugin) -> Result<config::Plugin> {
    let (name, path) = match plugin.origin() {
        Origin::Shipped { .. } => (Some(plugin.manifest().name.clone()), None),
        Origin::File(path) => (None, Some(std::path::absolute(path)?)),
    };
    let parameters = toml::Table::try_from(plugin.parameters_json())?;
    Ok(config::Plugin { name, path, blake3: Some(plugin.blake3().into()), parameters })
}
