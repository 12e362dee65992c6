//! `--set key=value` on the table that was read, before it becomes a [`super::Config`].

use super::{Partition, PartitionKind, keys::ALIASES, resolve::SYNTHETIC};
use crate::error::{Fault, Kind};
use anyhow::Result;
use toml::{Table, Value};

/// Keys of the file that lose their meaning when the command line sets another: of the two sources of data only one
/// may be given, and each kind of partition and of model has keys of its own.
const DISPLACED: [(&str, &str); 2] = [("data.name", "data.path"), ("data.path", "data.name")];

/// Keys that only the data set that is drawn uses.
const SIZES: [&str; 5] = ["data.num-rows", "data.num-test-rows", "data.num-features", "data.num-classes", "data.seed"];

/// Sets each `(key path, value)` in order; a later one wins.
///
/// The value is read as TOML (`0.1`, `true`, `[200, 200]`, `"text"`); what is not TOML is a string. Sections that do
/// not exist yet are created, elements of lists are reached by their index (`plugin.0.mu`).
/// Errors: `Kind::Config` where the path leads through a plain value or past the end of a list.
pub(super) fn apply(table: &mut Table, overrides: &[(String, String)]) -> Result<()> {
    for (key, value) in overrides {
        let displaced = DISPLACED.iter().filter(|(chosen, _)| chosen == key).map(|(_, other)| *other);
        displaced.for_each(|other| drop(remove(table, other)));
        if key == "model.name" && parse(value).as_str() != Some("mlp") {
            drop(remove(table, "model.hidden"));
        }
        if key == "data.path" || key == "data.name" && parse(value).as_str() != Some(SYNTHETIC) {
            SIZES.iter().for_each(|other| drop(remove(table, other)));
        }
        if key == "partition.kind" {
            unused_keys(&parse(value)).into_iter().for_each(|other| drop(remove(table, other)));
        }
    }
    overrides.iter().try_for_each(|(key, value)| set(table, canonical(key), parse(value)))
}

/// The keys of `[partition]` that a kind does not use. None for a word that is no kind: that is told later.
fn unused_keys(kind: &Value) -> Vec<&'static str> {
    let Ok(kind) = kind.clone().try_into::<PartitionKind>() else { return Vec::new() };
    let mut used = Partition { kind, ..Partition::default() };
    used.resolve();
    [
        ("partition.alpha", used.alpha.is_some()),
        ("partition.samples-per-client", kind == PartitionKind::Iid),
        ("partition.sigma", used.sigma.is_some()),
        ("partition.shards-per-client", used.shards_per_client.is_some()),
        ("partition.classes-per-client", used.classes_per_client.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, used)| (!used).then_some(key))
    .collect()
}

/// Renames the keys that were given under their other name.
pub(super) fn rename_aliases(table: &mut Table) -> Result<()> {
    for (alias, name) in ALIASES {
        if let Some(value) = remove(table, alias) {
            if remove(table, name).is_some() {
                return Err(Fault::new(
                    Kind::Config,
                    format!("`{alias}` is another name of `{name}`; give one of them"),
                ));
            }
            set(table, name, value)?;
        }
    }
    Ok(())
}

/// The key itself, whatever name it was called by.
pub(super) fn canonical(key: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name)
}

fn parse(text: &str) -> Value {
    text.trim().parse().unwrap_or_else(|_| Value::String(text.into()))
}

fn remove(table: &mut Table, key: &str) -> Option<Value> {
    let (section, name) = key.split_once('.')?;
    table.get_mut(section)?.as_table_mut()?.remove(name)
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<()> {
    let wrong = |what: String| Fault::new(Kind::Config, format!("`--set {key}={value}`: {what}"));
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong("a key is words joined by single points, such as `train.learning-rate`".into()));
    }
    let (last, sections) = parts.split_last().unwrap_or((&"", &[]));
    let Some((first, deeper)) = sections.split_first() else {
        table.insert(key.into(), value);
        return Ok(());
    };
    let mut here = table.entry(*first).or_insert_with(|| Value::Table(Table::new()));
    let mut walked = first.to_string();
    for part in deeper {
        here = match here {
            Value::Table(inner) => inner.entry(*part).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(list) => element(list, part).map_err(|what| wrong(format!("`{walked}` {what}")))?,
            plain => return Err(wrong(format!("`{walked}` is {plain}, it has nothing below it"))),
        };
        walked = format!("{walked}.{part}");
    }
    match here {
        Value::Table(inner) => drop(inner.insert(last.to_string(), value)),
        Value::Array(list) => match element(list, last) {
            Ok(place) => *place = value,
            Err(what) => return Err(wrong(format!("`{walked}` {what}"))),
        },
        plain => return Err(wrong(format!("`{walked}` is {plain}, it has nothing below it"))),
    }
    Ok(())
}

fn element<'a>(list: &'a mut [Value], index: &str) -> Result<&'a mut Value, String> {
    let len = list.len();
    let at = index.parse::<usize>().ok().and_then(|i| list.get_mut(i));
    at.ok_or_else(|| format!("is a list of {len}, counted from 0; `{index}` is not one of its places"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, key: &str, value: &str, after: &str) {
        let mut table: Table = before.parse().unwrap();
        apply(&mut table, &[(key.into(), value.into())]).unwrap();
        assert_eq!(table, after.parse().unwrap());
    }

    #[test]
    fn a_value_is_read_as_toml_and_else_as_text() {
        check("", "train.learning-rate", "0.05", "[train]\nlearning-rate = 0.05");
        check("seed = 1", "seed", "2", "seed = 2");
        check("", "model.hidden", "[200, 200]", "[model]\nhidden = [200, 200]");
        check("", "partition.kind", "iid", "[partition]\nkind = \"iid\"");
        check("", "data.label", "\"7\"", "[data]\nlabel = \"7\"");
        check("", "data.path", "a b.csv", "[data]\npath = \"a b.csv\"");
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_second_key() {
        check("", "data.label", "1\nseed = 3", "[data]\nlabel = \"1\\nseed = 3\"");
    }

    #[test]
    fn a_list_is_reached_by_index() {
        check("[[plugin]]\nmu = 1", "plugin.0.mu", "2", "[[plugin]]\nmu = 2");
    }

    #[test]
    fn choosing_a_path_drops_the_name_that_the_file_gave() {
        check("[data]\nname = \"optdigits\"", "data.path", "x.csv", "[data]\npath = \"x.csv\"");
    }

    #[test]
    fn choosing_other_data_drops_the_sizes_of_what_is_drawn() {
        let file = "[data]\nname = \"synthetic\"\nnum-rows = 5\nseed = 1";
        check(file, "data.name", "optdigits", "[data]\nname = \"optdigits\"");
        check(file, "data.path", "x.csv", "[data]\npath = \"x.csv\"");
        check(file, "data.name", "synthetic", file);
    }

    #[test]
    fn choosing_a_kind_of_partition_drops_the_keys_that_the_file_gave_for_another() {
        let file = "[partition]\nkind = \"dirichlet\"\nalpha = 0.5\nseed = 1";
        check(file, "partition.kind", "iid", "[partition]\nkind = \"iid\"\nseed = 1");
        let mut table: Table = file.parse().unwrap();
        let overrides = [("partition.alpha", "2.0"), ("partition.kind", "dirichlet-hsu")];
        apply(&mut table, &overrides.map(|(key, value)| (key.into(), value.into()))).unwrap();
        assert_eq!(table["partition"]["alpha"].as_float(), Some(2.0));
    }

    #[test]
    fn choosing_another_model_drops_the_hidden_layers_that_the_file_gave() {
        let file = "[model]\nname = \"mlp\"\nhidden = [64]";
        check(file, "model.name", "cnn", "[model]\nname = \"cnn\"");
        check(file, "model.name", "\"mlp\"", file);
    }

    #[test]
    fn an_alias_overrides_the_key_itself() {
        check("[partition]\nnum-clients = 3", "partition.num-supernodes", "4", "[partition]\nnum-clients = 4");
    }

    #[test]
    fn a_path_through_a_plain_value_is_refused() {
        let mut table: Table = "seed = 1\nplugin = []".parse().unwrap();
        let mut message = |key: &str| apply(&mut table, &[(key.into(), "1".into())]).unwrap_err().to_string();
        assert_eq!(message("seed.x"), "`--set seed.x=1`: `seed` is 1, it has nothing below it");
        assert_eq!(
            message("plugin.0.mu"),
            "`--set plugin.0.mu=1`: `plugin` is a list of 0, counted from 0; `0` is not one of its places"
        );
        assert!(message("train..x").contains("joined by single points"));
    }
}
