//! What series are called where the user gives no name: by what their configurations do not share.
//!
//! Where in the flow: once, when the series are known. What it never does: give two configurations one label.

use super::settings::{Plugin, Settings, differing_keys};
use crate::{config, plugin};
use std::collections::BTreeMap;

/// The aggregate of a run that names none.
const DEFAULT: &str = "fedavg";
const HASH: &str = "blake3";
/// So many digits tell files apart by eye.
const HASH_DIGITS: usize = 12;

/// A label for each of the configurations: plugins as the command line takes them, unless they are the same in all of
/// several, then every other setting that differs, as `--set` takes it.
pub(super) fn labels(settings: &[&Settings]) -> Vec<String> {
    let keys = differing_keys(settings);
    let same_plugins = settings.iter().all(|one| one.plugins == settings[0].plugins);
    let plugins = plugins(settings);
    let label = |(one, plugins): (&&Settings, String)| {
        let plugins = (!same_plugins || keys.is_empty()).then_some(plugins);
        // A key that one of them lacks says nothing there.
        let given = keys.iter().filter_map(|key| Some(format!("{key}={}", one.values.get(key)?)));
        let parts: Vec<String> = plugins.into_iter().chain(given).collect();
        if parts.is_empty() { "without ".to_owned() + &keys.join(", ") } else { parts.join(", ") }
    };
    settings.iter().zip(plugins).map(label).collect()
}

/// The plugins of each configuration. FedAvg with its defaults is left out beside others; parameters are shown where
/// they are not the default or differ between the configurations, hashes where files of one name differ.
pub(super) fn plugins(settings: &[&Settings]) -> Vec<String> {
    let shown = |one: &&Settings| {
        let alone = one.plugins.len() == 1;
        let shown = one.plugins.iter().filter(|plugin| alone || !is_default_aggregate(plugin));
        let shown: Vec<String> = shown.map(|plugin| text(plugin, settings)).collect();
        if shown.is_empty() { DEFAULT.into() } else { shown.join(", ") }
    };
    settings.iter().map(shown).collect()
}

fn is_default_aggregate(plugin: &Plugin) -> bool {
    let defaults = defaults(plugin);
    let mut own = plugin.parameters.iter().filter(|(key, _)| *key != HASH);
    plugin.name == DEFAULT && !defaults.is_empty() && own.all(|(key, value)| defaults.get(key) == Some(value))
}

fn text(plugin: &Plugin, settings: &[&Settings]) -> String {
    let defaults = defaults(plugin);
    let others = || settings.iter().flat_map(|one| &one.plugins).filter(|other| other.name == plugin.name);
    let shown = |(key, value): (&String, &String)| {
        let differs = others().any(|other| other.parameters.get(key) != Some(value));
        let is_default = key == HASH || defaults.get(key) == Some(value);
        let value = if key == HASH { value.get(..HASH_DIGITS).unwrap_or(value) } else { value };
        (differs || !is_default).then(|| format!("{key}={value}"))
    };
    let parameters: Vec<String> = plugin.parameters.iter().filter_map(shown).collect();
    if parameters.is_empty() { plugin.name.clone() } else { format!("{}:{}", plugin.name, parameters.join(",")) }
}

/// Default of each parameter, as stored configurations write them; nothing for a file that this binary does not have.
fn defaults(plugin: &Plugin) -> BTreeMap<String, String> {
    let Ok(shipped) = plugin::inspect(&config::Plugin::shipped(&plugin.name)) else { return BTreeMap::new() };
    if plugin.parameters.get(HASH) != Some(&shipped.blake3) {
        return BTreeMap::new();
    }
    let parameters = shipped.manifest.parameters.into_iter().map(|parameter| {
        let default = match parameter.default.as_f64().filter(|_| parameter.kind == plugin::ParameterType::Float) {
            Some(number) => toml::Value::Float(number).to_string(),
            None => parameter.default.as_str().map_or_else(|| parameter.default.to_string(), str::to_owned),
        };
        (parameter.name, default)
    });
    // What the host adds for any compressor.
    let host = [("error-feedback".to_owned(), "false".to_owned()), ("direction".to_owned(), "up".to_owned())];
    parameters.chain(host).collect()
}
