//! A plugin's parameters: what the user gave, checked against what the manifest declares.
//!
//! Where in the flow: between the configuration and `create`. Both are checked by then: the manifest by itself,
//! the configuration by TOML's types only.
//! What it never does: pass on what the manifest does not declare, or round a value.

use super::{Manifest, Parameter, ParameterType, Role, StateScope, text};
use crate::error::{did_you_mean, short};
use colla_plugin_sdk::{Map, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The host's own parameter of every compressor: keep what the code lost and add it to the client's next update.
pub(super) const ERROR_FEEDBACK: &str = "error-feedback";
/// The host's own parameter of every compressor: which way what it compresses travels.
pub(super) const DIRECTION: &str = "direction";

/// Which way a compressor's vectors travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Updates, from the clients to the server.
    #[default]
    Up,
    /// Weights, from the server to the clients.
    Down,
    Both,
}

impl Direction {
    const ALL: [Direction; 3] = [Direction::Up, Direction::Down, Direction::Both];

    /// The word of configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::Both => "both",
        }
    }

    pub fn is_up(self) -> bool {
        self != Direction::Down
    }

    pub fn is_down(self) -> bool {
        self != Direction::Up
    }
}

/// All parameters of a plugin with their values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    /// In the manifest's order: F64 for `float`, I64 for `int`, Bool for `bool`, Str for `choice`.
    pub map: Map,
    /// The same by name; of a compressor also [`ERROR_FEEDBACK`] and [`DIRECTION`].
    pub json: BTreeMap<String, Json>,
    /// Not passed to the plugin. Default false; false for every role but `compress`.
    pub error_feedback: bool,
    /// Not passed to the plugin. Default up; up for every role but `compress`.
    pub direction: Direction,
}

/// Fills in defaults and checks names, types, ranges and choices.
/// Errors: a message that begins with the parameter, ready to stand behind the plugin's name.
pub(super) fn resolve(manifest: &Manifest, given: &toml::Table) -> Result<Resolved, String> {
    let mut given = given.clone();
    let error_feedback = take_error_feedback(manifest, &mut given)?;
    let direction = take_direction(manifest, &mut given)?;
    check_direction(manifest, direction, error_feedback)?;
    if let Some(unknown) = given.keys().find(|name| manifest.parameter(name).is_none()) {
        return Err(unknown_parameter(manifest, unknown));
    }
    let mut resolved = Resolved { map: Map::new(), json: BTreeMap::new(), error_feedback, direction };
    for parameter in &manifest.parameters {
        let value = match given.get(&parameter.name) {
            Some(value) => accept(manifest, parameter, value)?,
            None if parameter.kind == ParameterType::Float => parameter.default.as_f64().into(),
            None => parameter.default.clone(),
        };
        resolved.map = resolved.map.with(&parameter.name, encode(parameter.kind, &value));
        resolved.json.insert(parameter.name.clone(), value);
    }
    if manifest.has(Role::Compress) {
        resolved.json.insert(ERROR_FEEDBACK.into(), error_feedback.into());
        resolved.json.insert(DIRECTION.into(), direction.name().into());
    }
    Ok(resolved)
}

fn take_error_feedback(manifest: &Manifest, given: &mut toml::Table) -> Result<bool, String> {
    match take_of_compressors(manifest, given, ERROR_FEEDBACK)? {
        None => Ok(false),
        Some(toml::Value::Boolean(on)) => Ok(on),
        Some(value) => Err(refusal(ERROR_FEEDBACK, &value, "it must be true or false")),
    }
}

fn take_direction(manifest: &Manifest, given: &mut toml::Table) -> Result<Direction, String> {
    let Some(value) = take_of_compressors(manifest, given, DIRECTION)? else { return Ok(Direction::default()) };
    let named = |direction: &Direction| value.as_str() == Some(direction.name());
    let known = Direction::ALL.into_iter().find(named);
    known.ok_or_else(|| refusal(DIRECTION, &value, "it must be one of: up, down, both"))
}

/// One of the host's own parameters of every compressor, if it is given.
fn take_of_compressors(
    manifest: &Manifest,
    given: &mut toml::Table,
    name: &str,
) -> Result<Option<toml::Value>, String> {
    match given.remove(name) {
        Some(_) if !manifest.has(Role::Compress) => {
            Err(format!("parameter `{name}` belongs to compressors, and this plugin is none; leave it out"))
        }
        value => Ok(value),
    }
}

/// What has no meaning on the way down is refused, not ignored.
fn check_direction(manifest: &Manifest, direction: Direction, error_feedback: bool) -> Result<(), String> {
    let given = format!("parameter `{DIRECTION} = \"{}\"`", direction.name());
    if direction == Direction::Down && error_feedback {
        return Err(format!(
            "{given} with `{ERROR_FEEDBACK} = true`: downwards the server encodes what its copy of the clients' weights \
             lacks, so what one message loses is in the next one already; leave `{ERROR_FEEDBACK}` out"
        ));
    }
    let of_client = manifest.state.iter().find(|slot| slot.scope == StateScope::Client);
    match of_client.filter(|_| direction.is_down() && manifest.has(Role::Compress)) {
        None => Ok(()),
        Some(slot) => Err(format!(
            "{given}: it keeps `{}` of the client that encodes, and downwards the server encodes; use \"up\"",
            slot.name
        )),
    }
}

fn unknown_parameter(manifest: &Manifest, unknown: &str) -> String {
    let mut known: Vec<&str> = manifest.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    if manifest.has(Role::Compress) {
        known.extend([ERROR_FEEDBACK, DIRECTION]);
    }
    let suggestion = did_you_mean(unknown, known.iter().copied());
    let list = if known.is_empty() { "it has none".into() } else { format!("it has: {}", known.join(", ")) };
    let separator = if suggestion.is_empty() { ";" } else { "" };
    format!("unknown parameter `{}`{suggestion}{separator} {list}", text::line(unknown))
}

fn accept(manifest: &Manifest, parameter: &Parameter, given: &toml::Value) -> Result<Json, String> {
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
    match parameter.refuse(&value).or_else(|| refuse_in_training(manifest, parameter, &value)) {
        Some(reason) => Err(refusal(&parameter.name, given, &reason)),
        None => Ok(value),
    }
}

/// Why a client plugin cannot have the number: what it plans with it becomes single precision. There a larger one is
/// infinite, and a smaller one has few digits or is 0, by which some methods divide.
fn refuse_in_training(manifest: &Manifest, parameter: &Parameter, value: &Json) -> Option<String> {
    let concerned = manifest.has(Role::Client) && parameter.kind == ParameterType::Float;
    let value = value.as_f64().filter(|value| concerned && *value != 0.0)?.abs();
    let fits = (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&value);
    let words = "clients train in single precision, whose numbers are 0 and 1.2e-38 to 3.4e38 in magnitude";
    (!fits).then(|| words.to_owned())
}

fn refusal(name: &str, given: &toml::Value, reason: &str) -> String {
    let written = match given {
        toml::Value::Float(number) if short(*number).contains('e') => short(*number),
        other => text::line(&other.to_string()),
    };
    format!("parameter `{name} = {written}`: {reason}")
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
    fn the_direction_is_the_hosts_and_only_for_compressors() {
        let resolve = |given: &str| resolve(&manifest("compress"), &toml::from_str(given).unwrap()).unwrap();
        assert_eq!((resolve("").direction, &resolve("").json[DIRECTION]), (Direction::Up, &Json::from("up")));
        let both = resolve("direction = 'both'\nerror-feedback = true");
        assert!(both.direction.is_up() && both.direction.is_down() && both.map.get(DIRECTION).is_none());
        assert_eq!(both.json[DIRECTION], Json::from("both"));
        let down = resolve("direction = 'down'").direction;
        assert!(down.is_down() && !down.is_up());
        let message = "parameter `direction = \"sideways\"`: it must be one of: up, down, both";
        refused("compress", "direction = 'sideways'", message);
        let message = "parameter `direction` belongs to compressors, and this plugin is none; leave it out";
        refused("client", "direction = 'up'", message);
    }

    #[test]
    fn what_means_nothing_downwards_is_refused_with_the_reason() {
        refused(
            "compress",
            "direction = 'down'\nerror-feedback = true",
            "parameter `direction = \"down\"` with `error-feedback = true`: downwards the server encodes what its copy of \
             the clients' weights lacks, so what one message loses is in the next one already; leave `error-feedback` out",
        );
        let state = r#""state":[{"name":"q","scope":"client"}],"params""#;
        let mut keeping = serde_json::to_string(&manifest("compress")).unwrap();
        keeping = keeping.replace(r#""state":[],"#, "").replace(r#""params""#, state);
        let keeping = Manifest::parse(&keeping).unwrap();
        for direction in ["down", "both"] {
            let given = toml::from_str(&format!("direction = '{direction}'")).unwrap();
            assert_eq!(
                resolve(&keeping, &given).unwrap_err(),
                format!(
                    "parameter `direction = \"{direction}\"`: it keeps `q` of the client that encodes, and downwards the \
                     server encodes; use \"up\""
                )
            );
        }
        assert!(resolve(&keeping, &toml::Table::new()).is_ok());
    }

    #[test]
    fn what_single_precision_cannot_hold_is_refused_where_clients_train_with_it() {
        let words = "clients train in single precision, whose numbers are 0 and 1.2e-38 to 3.4e38 in magnitude";
        let mut unbounded = manifest("client");
        (unbounded.parameters[0].min, unbounded.parameters[0].max) = (None, None);
        for given in ["1e39", "-1e300", "1e-46", "-1e-38"] {
            let table = toml::from_str(&format!("mu = {given}")).unwrap();
            assert_eq!(resolve(&unbounded, &table).unwrap_err(), format!("parameter `mu = {given}`: {words}"));
        }
        for given in ["0", "3.4e38", "-1.2e-38"] {
            resolve(&unbounded, &toml::from_str(&format!("mu = {given}")).unwrap()).unwrap();
        }
        unbounded.kinds = vec![Role::Post];
        resolve(&unbounded, &toml::from_str("mu = 1e39").unwrap()).unwrap();
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
        refused("client", "mu = 1e39", "parameter `mu = 1e39`: it must be above 0 and at most 1");
        refused("client", "mu = nan", "parameter `mu = nan`: it must be a number");
        refused("client", "mu = 'x'", "parameter `mu = \"x\"`: it must be a number");
        refused("client", "rounds = 0", "parameter `rounds = 0`: it must be at least 1");
        refused("client", "rounds = 2.0", "parameter `rounds = 2.0`: it must be a whole number");
        refused("client", "nesterov = 1", "parameter `nesterov = 1`: it must be true or false");
        refused("client", "mode = 'max'", "parameter `mode = \"max\"`: it must be one of: mean, sum");
    }
}
