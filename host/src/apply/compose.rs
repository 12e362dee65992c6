//! Which plugins act on a file of updates, and whether they and the file fit together.
//!
//! Where in the flow: before the first round, from the same requirements as those of a run. How clients were drawn and
//! trained is settled by whoever made the file, so requirements about that do not apply.
//! What it never does: read a file, or change what the user gave.

use super::Updates;
use crate::{
    config,
    error::{Fault, Kind},
    plugin::{self, AttackedPart, Need, Plugin, Role},
    strategy::requirements,
};
use anyhow::Result;

/// Loads the plugins, with FedAvg as the aggregate if they have none and with what they require of it.
///
/// `num_clients`: of the file; all of them are the cohort.
/// Errors: those of [`plugin::load`] and [`requirements::settle`].
pub fn load(mut specs: Vec<config::Plugin>, allow_native: &[String], num_clients: usize) -> Result<Vec<Plugin>> {
    let mut plugins = specs.iter().map(|spec| plugin::load(spec, allow_native)).collect::<Result<Vec<_>>>()?;
    if !plugins.iter().any(|plugin| plugin.manifest().has(Role::Aggregate)) {
        let rule = config::Plugin::shipped("fedavg");
        plugins.push(plugin::load(&rule, &[])?);
        specs.push(rule);
    }
    if let Some((position, spec)) = requirements::settle(&plugins, &specs, || Ok(num_clients as f64))? {
        plugins[position] = plugin::load(&spec, allow_native)?;
    }
    Ok(plugins)
}

/// Whether each plugin has something to do and finds in the file what it needs.
///
/// Errors: `Kind::Config` for plugins that act in training or downwards, and for requirements that do not hold;
/// `Kind::Data` for what the file lacks, and for attackers that nobody makes hostile.
pub(super) fn check(plugins: &[Plugin], updates: &Updates) -> Result<()> {
    plugins.iter().try_for_each(has_work)?;
    requirements::check_offline(plugins, updates.root.is_some())?;
    let needs_loss = |plugin: &&Plugin| plugin.manifest().needs.contains(&Need::LossBefore);
    if let (Some(plugin), None) = (plugins.iter().find(needs_loss), &updates.losses) {
        let message = format!(
            "plugin `{}` — it needs `loss-before`, each client's loss of the received weights, and the file has no `losses`; \
             add this tensor (F64, one value per client)",
            plugin.manifest().name
        );
        return Err(Fault::new(Kind::Data, message));
    }
    let needs_steps = |plugin: &&Plugin| plugin.manifest().needs.contains(&Need::Steps);
    if let (Some(plugin), false) = (plugins.iter().find(needs_steps), updates.has_steps) {
        let message = format!(
            "plugin `{}` — it needs `steps`, each client's number of local steps, and the file has no `steps`; add this \
             tensor (I64, one value per client)",
            plugin.manifest().name
        );
        return Err(Fault::new(Kind::Data, message));
    }
    if updates.attackers.is_some() && !plugins.iter().any(|plugin| plugin.manifest().has(Role::Attack)) {
        let message = "tensor `attackers` — no plugin plays the role attack; add one, or leave the tensor out";
        return Err(Fault::new(Kind::Data, message));
    }
    Ok(())
}

/// A plugin that would have nothing to do is refused, never ignored.
fn has_work(plugin: &Plugin) -> Result<()> {
    let manifest = plugin.manifest();
    if let Some(role) = [Role::Client, Role::Select].into_iter().find(|&role| manifest.has(role)) {
        let (name, role) = (&manifest.name, role.name());
        let message = format!("plugin `{name}` — it plays the role {role}, and nothing is trained here; leave it out");
        return Err(Fault::new(Kind::Config, message));
    }
    if manifest.attacks(AttackedPart::Training) {
        let name = &manifest.name;
        let message = format!(
            "plugin `{name}` — it changes how hostile clients train, and nothing is trained here; leave it out"
        );
        return Err(Fault::new(Kind::Config, message));
    }
    if plugin.direction().is_down() {
        let (name, direction) = (&manifest.name, plugin.direction().name());
        let message = format!(
            "plugin `{name}` — it has `direction = \"{direction}\"`, and nothing goes down to clients here; \
             set it to \"up\", or leave the plugin out"
        );
        return Err(Fault::new(Kind::Config, message));
    }
    Ok(())
}
