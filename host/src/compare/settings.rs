//! What a run's numbers depend on, read off its stored configuration.
//!
//! Where in the flow: below series and labels, which ask where configurations differ.
//! What it never does: count what changes no result, such as threads, memory and caches.

use std::{collections::BTreeMap, path::Path};
use toml::{Table, Value};

/// The seeds of a run, in the order in which runs are sorted by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seeds {
    pub run: Option<i64>,
    pub partition: Option<i64>,
    pub data: Option<i64>,
}

/// The settings beside the seeds.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub seeds: Seeds,
    /// By dotted key, as TOML writes them.
    pub values: BTreeMap<String, String>,
    pub plugins: Vec<Plugin>,
}

/// A plugin by the name of its file, with its hash among the parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plugin {
    pub name: String,
    pub parameters: BTreeMap<String, String>,
}

/// Settings of `[host]` that results depend on; all others are for speed and place.
const DEVICE: &str = "host.device";

impl Settings {
    /// Reads the stored configuration. Errors: why it is no TOML.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut table: Table = text.parse()?;
        let plugins = match table.remove("plugin") {
            Some(Value::Array(plugins)) => plugins.iter().filter_map(Value::as_table).map(Plugin::of).collect(),
            _ => Vec::new(),
        };
        let mut values = BTreeMap::new();
        flatten("", &table, &mut values);
        values.retain(|key, _| {
            let of_host = key.starts_with("host.") && key != DEVICE;
            !of_host && key != "data.cache" && key != "partition.cache"
        });
        let mut seed = |key| values.remove(key).and_then(|seed| seed.parse().ok());
        let seeds = Seeds { run: seed("seed"), partition: seed("partition.seed"), data: seed("data.seed") };
        Ok(Settings { seeds, values, plugins })
    }

    /// Whether the runs differ in nothing but seeds.
    pub fn same_but_seeds(&self, other: &Settings) -> bool {
        self.values == other.values && self.plugins == other.plugins
    }

    /// The value of a key, or `none`.
    pub fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("none", String::as_str)
    }
}

impl Plugin {
    fn of(table: &Table) -> Self {
        let text = |key: &str| table.get(key).and_then(Value::as_str);
        let stem = |path| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = text("name").map(str::to_owned).or_else(|| stem(text("path")?));
        let own = table.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "path"));
        let parameters = own.map(|(key, value)| (key.clone(), plain(value))).collect();
        Plugin { name: name.unwrap_or_else(|| "plugin".into()), parameters }
    }
}

/// Keys in which not all of the settings agree, in order.
pub(super) fn differing_keys(settings: &[&Settings]) -> Vec<String> {
    let mut keys: Vec<&String> = settings.iter().flat_map(|settings| settings.values.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = |key: &&String| settings.iter().any(|one| one.values.get(*key) != settings[0].values.get(*key));
    keys.into_iter().filter(differs).cloned().collect()
}

fn flatten(prefix: &str, table: &Table, values: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, values),
            _ => drop(values.insert(format!("{prefix}{key}"), plain(value))),
        }
    }
}

/// As the command line takes it: text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
