//! From TOML text and overrides to a checked [`Config`], and back.

use super::{Config, keys, overrides};
use crate::error::{Fault, Kind, did_you_mean};
use anyhow::{Context, Result};
use serde_path_to_error::Segment;
use std::{fs, io::ErrorKind, path::Path};
use toml::{Table, Value};

impl Config {
    /// Reads `path` (nothing: the defaults), sets the overrides in order, checks every range.
    ///
    /// An override is a dotted key and a TOML value; what is not TOML counts as text (`--set partition.kind=iid`).
    /// Errors: `Kind::Config` naming file, key and value, with the nearest known key or word.
    pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Self> {
        let Some(path) = path else {
            return Self::from_text("", overrides);
        };
        let place = || format!("`{}`", path.display());
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error)).with_context(place)?;
        // With overrides the wrong value may be theirs.
        Self::from_text(&text, overrides).with_context(|| match overrides {
            [] => place(),
            _ => format!("{} with the overrides of the command line", place()),
        })
    }

    /// As [`Config::load`], from text in memory.
    pub fn from_text(text: &str, overrides: &[(String, String)]) -> Result<Self> {
        let mut table: Table = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        overrides::rename_aliases(&mut table)?;
        overrides::apply(&mut table, overrides)?;
        let mut config: Config = serde_path_to_error::deserialize(table.clone()).map_err(|error| {
            let (path, reason) = (error.path().clone(), error.into_inner());
            Fault::new(Kind::Config, explain(&table, &path, reason.message()))
        })?;
        config.resolve();
        config.check()?;
        Ok(config)
    }

    /// The resolved form: every value that is set, defaults included, so that loading it gives this value again.
    ///
    /// Errors: `Kind::Config` if a value has no TOML form (a seed above 2⁶³ − 1, which [`Config::check`] refuses).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Fault::new(Kind::Config, format!("the configuration has no TOML form: {error}")))
    }
}

fn unreadable(error: &std::io::Error) -> anyhow::Error {
    let message = match error.kind() {
        ErrorKind::NotFound => "there is no such file; `colla-host --print-config` prints one to start from".into(),
        ErrorKind::InvalidData => "it is not UTF-8 text; give an experiment as TOML".into(),
        _ => format!("it cannot be read: {error}; give an experiment as TOML"),
    };
    Fault::new(Kind::Config, message)
}

/// A syntax error in one line: position and what the parser says.
fn syntax(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    let reason = error.message().lines().collect::<Vec<_>>().join(", ");
    Fault::new(Kind::Config, format!("line {line}, column {column}: not TOML: {reason}"))
}

/// Turns serde's words into: config `key = value`: what is wrong; what to do.
fn explain(table: &Table, path: &serde_path_to_error::Path, reason: &str) -> String {
    let (mut key, mut value) = locate(table, path);
    if reason.starts_with("unknown field") {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        return format!("unknown key `{key}`{}", keys::advice(section, name));
    }
    if let Some((name, _)) = reason.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        let what = "without which it does nothing; give it, or leave the section out";
        return format!("config `[{key}]`: it lacks `{name}`, {what}");
    }
    // A flattened struct is read from a buffer, and the path ends before the key: look for the one of the wrong type.
    if let Some(Value::Table(plugin)) = value
        && let Some((name, wrong)) = plugin.iter().find(|(name, v)| PLUGIN_TEXTS.contains(&&***name) && !v.is_str())
    {
        key = format!("{key}.{name}");
        value = Some(wrong);
    }
    let shown = value.map_or(String::new(), |value| format!(" = {}", shorten(&value.to_string())));
    format!("config `{key}{shown}`: {}", translate(value, reason))
}

const PLUGIN_TEXTS: [&str; 3] = ["name", "path", "blake3"];

/// The dotted key of a path and the value that the table has there.
fn locate<'a>(table: &'a Table, path: &serde_path_to_error::Path) -> (String, Option<&'a Value>) {
    let mut key = String::new();
    let mut value: Option<&Value> = None;
    for (depth, segment) in path.iter().enumerate() {
        match segment {
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                value = if depth == 0 { table.get(name) } else { value.and_then(|v| v.get(name)) };
                key += if key.is_empty() { "" } else { "." };
                key += name;
            }
            Segment::Seq { index } => {
                value = value.and_then(|v| v.get(*index));
                key += &format!("[{index}]");
            }
            Segment::Unknown => {}
        }
    }
    (key, value)
}

/// "invalid type: string "x", expected f64" becomes "expected a number, found text".
fn translate(value: Option<&Value>, reason: &str) -> String {
    let expected = reason.rsplit_once("expected ").map(|(_, expected)| expected);
    if reason.starts_with("unknown variant") {
        let words: Vec<&str> = reason.split('`').skip(3).step_by(2).collect();
        let given = value.and_then(Value::as_str).unwrap_or_default();
        return format!("not one of {}{}", words.join(", "), did_you_mean(given, words.iter().copied()));
    }
    match (expected, value) {
        (Some(expected), Some(value)) if reason.starts_with("invalid") => {
            format!("expected {}, found {}", words(expected), found(value))
        }
        _ => reason.lines().collect::<Vec<_>>().join(", "),
    }
}

fn words(expected: &str) -> &str {
    match expected {
        "f64" => "a number",
        "u64" | "usize" => "a whole number of at least 0",
        "a boolean" => "true or false",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list",
        section if section.starts_with("struct ") => "a section",
        other => other,
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(number) if *number < 0 => "a negative number",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

/// The value on one line of bearable length.
fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if text.chars().count() > 60 { line + "…" } else { line }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchSize, Plugin};
    use super::*;
    use crate::error::exit_code;

    fn set(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.into(), value.into())]
    }

    #[track_caller]
    fn refuse(text: &str, message: &str) {
        let error = Config::from_text(text, &[]).unwrap_err();
        assert_eq!(format!("{error:#}"), message);
        assert_eq!(exit_code(&error), 3);
    }

    #[test]
    fn no_file_gives_the_default_experiment_with_its_data_set_named() {
        let mut expected = Config::default();
        expected.data.name = Some("optdigits".into());
        expected.partition.alpha = Some(0.1);
        expected.model.hidden = Some(vec![64]);
        expected.evaluate.fraction_evaluate = Some(1.0);
        assert_eq!(Config::load(None, &[]).unwrap(), expected);
    }

    #[test]
    fn the_resolved_form_loads_to_an_equal_value() {
        let text = r#"
            seed = 7
            [data]
            path = "digits.csv"
            client = "writer"
            [partition]
            kind = "shards"
            num-supernodes = 12
            shards-per-client = 3
            cache = "parts"
            [model]
            name = "cnn"
            init = "start.safetensors"
            [train]
            batch-size = "full"
            local-steps = 4
            learning-rate = 1
            [federation]
            sampling = "poisson"
            [evaluate]
            clients = "always"
            [[plugin]]
            name = "fedprox"
            mu = 0.1
            [[plugin]]
            path = "topk.wasm"
            ratio = 0.01
            mode = "exact"
            [host]
            out = "runs/first"
            threads = 2
        "#;
        let config = Config::from_text(text, &[]).unwrap();
        assert_eq!(config.partition.num_clients, 12);
        assert_eq!(config.train.batch_size, BatchSize::Full);
        assert_eq!(config.plugins[1].parameters["mode"].as_str(), Some("exact"));
        for config in [config, Config::load(None, &[]).unwrap()] {
            assert_eq!(Config::from_text(&config.to_toml().unwrap(), &[]).unwrap(), config);
        }
    }

    #[test]
    fn overrides_win_over_the_file() {
        let text = "seed = 1\n[train]\nlearning-rate = 0.5\n[[plugin]]\nname = \"fedprox\"\nmu = 1";
        let config = Config::from_text(text, &[set("train.learning-rate", "0.25"), set("plugin.0.mu", "0.1")].concat());
        let config = config.unwrap();
        assert_eq!((config.seed, config.train.learning_rate), (1, 0.25));
        let mu: Table = "mu = 0.1".parse().unwrap();
        assert_eq!(config.plugins, [Plugin { name: Some("fedprox".into()), parameters: mu, ..Plugin::default() }]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        refuse("[train]\nlearning_rate = 1", "unknown key `train.learning_rate`; did you mean `learning-rate`?");
        refuse("[trian]\nlearning-rate = 1", "unknown key `trian`; did you mean `train`?");
        refuse("learning-rate = 1", "unknown key `learning-rate`; it belongs in `[train]`");
        refuse("[train]\nseed = 1", "unknown key `train.seed`; it belongs at the top of the file, outside `[train]`");
        refuse("[evaluate]\nq = 1", "unknown key `evaluate.q`; known keys here: every, clients, fraction-evaluate");
    }

    #[test]
    fn a_wrong_type_names_key_value_and_what_was_expected() {
        let start = "config `";
        refuse(
            "[train]\nlearning-rate = \"fast\"",
            &format!("{start}train.learning-rate = \"fast\"`: expected a number, found text"),
        );
        refuse(
            "[partition]\nnum-clients = -3",
            &format!(
                "{start}partition.num-clients = -3`: expected a whole number of at least 0, found a negative number"
            ),
        );
        refuse(
            "[partition]\nnum-supernodes = 1.5",
            &format!(
                "{start}partition.num-clients = 1.5`: expected a whole number of at least 0, found a number with a fraction"
            ),
        );
        refuse(
            "[train]\nshuffle = 1",
            &format!("{start}train.shuffle = 1`: expected true or false, found a whole number"),
        );
        refuse(
            "[model]\nhidden = [64, \"x\"]",
            &format!("{start}model.hidden[1] = \"x\"`: expected a whole number of at least 0, found text"),
        );
        refuse("train = 5", &format!("{start}train = 5`: expected a section, found a whole number"));
        refuse("[data]\npath = 5", &format!("{start}data.path = 5`: expected text in quotes, found a whole number"));
        refuse(
            "[[plugin]]\nname = 3",
            &format!("{start}plugin[0].name = 3`: expected text in quotes, found a whole number"),
        );
        refuse(
            "[train]\nbatch-size = 0",
            &format!("{start}train.batch-size = 0`: a batch size is a positive number or \"full\""),
        );
    }

    #[test]
    fn a_section_that_would_do_nothing_is_refused_with_the_key_that_it_lacks() {
        let words = "config `[stragglers]`: it lacks `share`, without which it does nothing; give it, or leave the section \
                     out";
        refuse("[stragglers]\nwork = \"dropped\"", words);
        refuse("[stragglers]", words);
        let alone = Config::from_text("", &set("stragglers.work", "dropped")).unwrap_err();
        assert_eq!(alone.to_string(), words);
        Config::from_text("[stragglers]\nshare = 0\nwork = \"dropped\"", &[]).unwrap();
    }

    #[test]
    fn an_unknown_word_lists_the_words_and_names_the_nearest() {
        refuse(
            "[evaluate]\nclients = \"newer\"",
            "config `evaluate.clients = \"newer\"`: not one of never, last, always; did you mean `never`?",
        );
    }

    #[test]
    fn broken_toml_is_placed_by_line_and_column() {
        let message = Config::from_text("seed = 1\n[train\n", &[]).unwrap_err().to_string();
        assert!(message.starts_with("line 2, column 7: not TOML: "), "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn two_names_of_one_key_are_refused() {
        refuse(
            "[partition]\nnum-clients = 1\nnum-supernodes = 2",
            "`partition.num-supernodes` is another name of `partition.num-clients`; give one of them",
        );
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        let missing = format!("{:#}", Config::load(Some(&path), &[]).unwrap_err());
        assert!(missing.contains("bad.toml`: there is no such file"), "{missing}");
        fs::write(&path, "[train]\nmomentum = 2").unwrap();
        let error = Config::load(Some(&path), &[]).unwrap_err();
        let shown = format!("{error:#}");
        assert!(shown.ends_with("bad.toml`: config `train.momentum = 2`: must be at least 0 and below 1"), "{shown}");
        assert_eq!(exit_code(&error), 3);
        let error = format!("{:#}", Config::load(Some(&path), &set("train.momentum", "3")).unwrap_err());
        assert!(
            error.contains("bad.toml` with the overrides of the command line: config `train.momentum = 3`"),
            "{error}"
        );
    }
}
