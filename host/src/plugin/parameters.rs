//! A plugin's parameters: what the user gave, checked against what the manifest declares.
//!
//! Where in the flow: between the configuration and `create`. Both are checked by then: the manifest by itself,
//! the configuration by TOML's types only.
//! What it never does: pass on what the manifest does not declare, or round a value.

use super::{Manifest, Parameter, ParameterType, Role, text};
use crate::error::did_you_mean;
use colla_plugin_sdk::{Map, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The host's own parameter of every compressor: keep what the code lost and add it to the client's next update.
pub(super) const ERROR_FEEDBACK: &str = "error-feedback";

/// All parameters of a plugin with their values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    /// In the manifest's order: F64 for `float`, I64 for `int`, Bool for `bool`, Str for `choice`.
    pub map: Map,
    /// The same by name; of a compressor also [`ERROR_FEEDBACK`].
    pub json: BTreeMap<String, Json>,
    /// Not passed to the plugin. Default false; false for every role but `compress`.
    pub error_feedback: bool,
}

/// Fills in defaults and checks names, types, ranges and choices.
/// Errors: a message that begins with the parameter, ready to stand behind the plugin's name.
pub(super) fn resolve(manifest: &Manifest, given: &toml::Table) -> Result<Resolved, String> {
    let mut given = given.clone();
    let error_feedback = take_error_feedback(manifest, &mut given)?;
    if let Some(unknown) = given.keys().find(|name| manifest.parameter(name).is_none()) {
        return Err(unknown_parameter(manifest, unknown));
    }
    let mut resolved = Resolved { map: Map::new(), json: BTreeMap::new(), error_feedback };
    for parameter in &manifest.parameters {
        let value = match given.get(&parameter.name) {
            Some(value) => accept(parameter, value)?,
            None if parameter.kind == ParameterType::Float => parameter.default.as_f64().into(),
            None => parameter.default.clone(),
        };
        resolved.map = resolved.map.with(&parameter.name, encode(parameter.kind, &value));
        resolved.json.insert(parameter.name.clone(), value);
    }
    if manifest.has(Role::Compress) {
        resolved.json.insert(ERROR_FEEDBACK.into(), error_feedback.into());
    }
    Ok(resolved)
}

fn take_error_feedback(manifest: &Manifest, given: &mut toml::Table) -> Result<bool, String> {
    match given.remove(ERROR_FEEDBACK) {
        None => Ok(false),
        Some(_) if !manifest.has(Role::Compress) => {
            Err(format!("parameter `{ERROR_FEEDBACK}` belongs to compressors, and this plugin is none; leave it out"))
        }
        Some(toml::Value::Boolean(on)) => Ok(on),
        Some(value) => Err(refusal(ERROR_FEEDBACK, &value, "it must be true or false")),
    }
}

fn unknown_parameter(manifest: &Manifest, unknown: &str) -> String {
    let mut known: Vec<&str> = manifest.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    if manifest.has(Role::Compress) {
        known.push(ERROR_FEEDBACK);
    }
    let suggestion = did_you_mean(unknown, known.iter().copied());
    let list = if known.is_empty() { "it has none".into() } else { format!("it has: {}", known.join(", ")) };
    let separator = if suggestion.is_empty() { ";" } else { "" };
    format!("unknown parameter `{}`{suggestion}{separator} {list}", text::line(unknown))
}

fn accept(parameter: &Parameter, given: &toml::Value) -> Result<Json, String> {
    let value = match given {
        toml::Value::Boolean(flag) => Json::from(*flag),
        // A whole number is a fine value for a float parameter, and the record then shows it as one.
        toml::Value::Integer(number) if parameter.kind == ParameterType::Float => Json::from(*number as f64),
        toml::Value::Integer(number) => Json::from(*number),
        // A number that JSON cannot hold (inf, nan) becomes null, which no type accepts.
        toml::Value::Float(number) => Json::from(*number),
        toml::Value::String(word) => Json::from(word.as_str()),
        _ => Json::Null,
    };
    match parameter.refuse(&value) {
        Some(reason) => Err(refusal(&parameter.name, given, &reason)),
        None => Ok(value),
    }
}

fn refusal(name: &str, given: &toml::Value, reason: &str) -> String {
    format!("parameter `{name} = {}`: {reason}", text::line(&given.to_string()))
}

/// The manifest's check and [`accept`] saw to it that the JSON type fits.
fn encode(kind: ParameterType, value: &Json) -> Value {
    match kind {
        ParameterType::Float => Value::F64(value.as_f64().unwrap_or_default()),
        ParameterType::Int => Value::I64(value.as_i64().unwrap_or_default()),
        ParameterType::Bool => Value::Bool(value.as_bool().unwrap_or_default()),
        ParameterType::Choice => Value::Str(value.as_str().unwrap_or_default().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(kind: &str) -> Manifest {
        let codec = if kind == "compress" { r#","max_encoded":{"num":4,"den":1,"plus":0}"# } else { "" };
        Manifest::parse(&format!(
            r#"{{"abi":"1.0","name":"probe","version":"1","kinds":["{kind}"],"summary":"s"{codec},"params":[
                {{"name":"mu","type":"float","default":0.5,"min":0,"exclusive_min":true,"max":1,"doc":"d"}},
                {{"name":"rounds","type":"int","default":3,"min":1,"doc":"d"}},
                {{"name":"nesterov","type":"bool","default":false,"doc":"d"}},
                {{"name":"mode","type":"choice","default":"mean","choices":["mean","sum"],"doc":"d"}}]}}"#
        ))
        .unwrap()
    }

    #[track_caller]
    fn refused(kind: &str, given: &str, message: &str) {
        assert_eq!(resolve(&manifest(kind), &toml::from_str(given).unwrap()).unwrap_err(), message);
    }

    #[test]
    fn defaults_are_filled_in_and_whole_numbers_fit_floats() {
        let given = toml::from_str("mu = 1\nmode = 'sum'").unwrap();
        let resolved = resolve(&manifest("client"), &given).unwrap();
        let expected = Map::new().with("mu", 1.0).with("rounds", 3i64).with("nesterov", false).with("mode", "sum");
        assert_eq!(resolved.map, expected);
        assert_eq!(
            serde_json::to_string(&resolved.json).unwrap(),
            r#"{"mode":"sum","mu":1.0,"nesterov":false,"rounds":3}"#
        );
        assert!(!resolved.error_feedback);
    }

    #[test]
    fn error_feedback_is_the_hosts_and_only_for_compressors() {
        let resolved = resolve(&manifest("compress"), &toml::from_str("error-feedback = true").unwrap()).unwrap();
        assert!(resolved.error_feedback && resolved.map.get(ERROR_FEEDBACK).is_none());
        assert_eq!(resolved.json[ERROR_FEEDBACK], Json::from(true));
        refused("compress", "error-feedback = 1", "parameter `error-feedback = 1`: it must be true or false");
        refused(
            "client",
            "error-feedback = true",
            "parameter `error-feedback` belongs to compressors, and this plugin is none; leave it out",
        );
    }

    #[test]
    fn an_unknown_parameter_gets_a_suggestion_and_the_list() {
        refused(
            "client",
            "nestrov = true",
            "unknown parameter `nestrov`; did you mean `nesterov`? it has: mu, rounds, nesterov, mode",
        );
        refused("client", "zzz = 1", "unknown parameter `zzz`; it has: mu, rounds, nesterov, mode");
    }

    #[test]
    fn types_ranges_and_choices_are_checked_with_both_values_in_the_message() {
        refused("client", "mu = 0", "parameter `mu = 0`: it must be above 0 and at most 1");
        refused("client", "mu = 1.5", "parameter `mu = 1.5`: it must be above 0 and at most 1");
        refused("client", "mu = nan", "parameter `mu = nan`: it must be a number");
        refused("client", "mu = 'x'", "parameter `mu = \"x\"`: it must be a number");
        refused("client", "rounds = 0", "parameter `rounds = 0`: it must be at least 1");
        refused("client", "rounds = 2.0", "parameter `rounds = 2.0`: it must be a whole number");
        refused("client", "nesterov = 1", "parameter `nesterov = 1`: it must be true or false");
        refused("client", "mode = 'max'", "parameter `mode = \"max\"`: it must be one of: mean, sum");
    }
}
