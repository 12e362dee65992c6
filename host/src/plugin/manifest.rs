//! What a plugin says of itself, read from the file without running a line of it.
//!
//! Where in the flow: `file.rs` cuts the JSON out of the file, [`Manifest::parse`] reads and checks it here, and
//! everything that follows (parameters, roles, state) relies on what was checked.
//! What it never does: believe it. What a manifest promises of behaviour is checked where the plugin answers.

use super::text;
use colla_plugin_sdk::abi::ABI_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Parameter names that the host or the configuration file uses itself.
const RESERVED_NAMES: [&str; 4] = ["name", "path", "blake3", super::parameters::ERROR_FEEDBACK];
/// More than any known method has, few enough for one table in the terminal.
const MAX_PARAMETERS: usize = 64;
const MAX_STATE_SLOTS: usize = 16;

/// The JSON in the `colla.manifest` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `"major.minor"`, e.g. `"1.0"`.
    pub abi: String,
    /// Kebab-case.
    pub name: String,
    pub version: String,
    /// At least one.
    pub kinds: Vec<Role>,
    pub summary: String,
    #[serde(default)]
    pub authors: Vec<String>,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub homepage: String,
    #[serde(default)]
    pub paper: String,
    #[serde(default, rename = "params")]
    pub parameters: Vec<Parameter>,
    /// Role aggregate: what it reduces over. Default: sums with weights known before training.
    #[serde(default)]
    pub reduce: Vec<Reduce>,
    /// Roles normalize, compress, post: the piece that one APPLY, ENCODE or DECODE call sees.
    #[serde(default)]
    pub unit: Unit,
    #[serde(default)]
    pub state: Vec<StateSlot>,
    /// Role compress: capacity of one encoded piece of `n` elements, `n·num/den + plus` bytes.
    #[serde(default)]
    pub max_encoded: Option<MaxEncoded>,
    /// What must hold for the method's analysis; checked before the run.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Scalars that the method needs beyond those that the host always knows.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Whether it draws random numbers.
    #[serde(default)]
    pub rng: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Client,
    Normalize,
    Compress,
    Attack,
    Mix,
    Aggregate,
    Post,
    ServerStep,
    Select,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ParameterType,
    pub default: serde_json::Value,
    /// Smallest allowed number; `exclusive_min` forbids the bound itself.
    #[serde(default)]
    pub min: Option<f64>,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub exclusive_min: bool,
    #[serde(default)]
    pub exclusive_max: bool,
    /// Type `choice`: the allowed words.
    #[serde(default)]
    pub choices: Vec<String>,
    pub doc: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterType {
    Float,
    Int,
    Bool,
    Choice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduce {
    SumBefore,
    SumAfter,
    Gram,
    Rows,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Frames of 65,536 elements.
    #[default]
    Range,
    Tensor,
    Whole,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSlot {
    pub name: String,
    /// `server` or `client`.
    pub scope: StateScope,
    /// First value of every element: a number, or the name of a parameter that gives it.
    #[serde(default)]
    pub init: StateInit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateScope {
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateInit {
    Value(f64),
    Parameter(String),
}

impl Default for StateInit {
    fn default() -> Self {
        StateInit::Value(0.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxEncoded {
    pub num: usize,
    pub den: usize,
    pub plus: usize,
}

impl Manifest {
    /// Reads and checks the JSON text of a manifest section.
    ///
    /// The ABI comes first, since a manifest of another major version may have fields that this host cannot know.
    /// Errors: one sentence that says what is wrong with which field, ready to stand behind the file's name.
    pub fn parse(json: &str) -> Result<Self, String> {
        let loose: serde_json::Value =
            serde_json::from_str(json).map_err(|e| format!("its manifest is not valid JSON: {e}"))?;
        let abi = loose.get("abi").and_then(|abi| abi.as_str());
        check_abi(abi.ok_or("its manifest has no text field `abi`, for example \"1.0\"")?)?;
        let mut reader = serde_json::Deserializer::from_str(json);
        let manifest: Manifest = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            format!(
                "its manifest is wrong at `{}`: {}",
                text::line(&e.path().to_string()),
                text::line(&e.inner().to_string())
            )
        })?;
        manifest.check().map_err(|e| format!("its manifest is wrong: {e}"))?;
        Ok(manifest)
    }

    /// ABI version as `major << 16 | minor`, the form that `colla_abi_version` gives.
    pub fn abi_version(&self) -> Option<u32> {
        parse_abi(&self.abi).map(|(major, minor)| u32::from(major) << 16 | u32::from(minor))
    }

    pub fn has(&self, role: Role) -> bool {
        self.kinds.contains(&role)
    }

    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// What `serde` cannot say: names, ranges, and declarations that contradict each other.
    fn check(&self) -> Result<(), String> {
        self.check_texts()?;
        self.check_roles()?;
        if self.parameters.len() > MAX_PARAMETERS {
            return Err(format!(
                "`params` has {} entries; at most {MAX_PARAMETERS} are allowed",
                self.parameters.len()
            ));
        }
        unique("params", self.parameters.iter().map(|parameter| parameter.name.as_str()))?;
        self.parameters.iter().try_for_each(Parameter::check)?;
        if self.state.len() > MAX_STATE_SLOTS {
            return Err(format!("`state` has {} entries; at most {MAX_STATE_SLOTS} are allowed", self.state.len()));
        }
        unique("state", self.state.iter().map(|slot| slot.name.as_str()))?;
        self.state.iter().try_for_each(|slot| self.check_slot(slot))
    }

    fn check_texts(&self) -> Result<(), String> {
        check_name("name", &self.name)?;
        if self.version.is_empty() {
            return Err("`version` is empty".into());
        }
        let singles = [&self.version, &self.summary, &self.license, &self.homepage, &self.paper];
        let lists = [&self.authors, &self.requires, &self.needs];
        match singles.into_iter().chain(lists.into_iter().flatten()).find(|text| text.chars().any(char::is_control)) {
            Some(text) => Err(format!("the text `{}` has control characters", text::line(text))),
            None => Ok(()),
        }
    }

    fn check_roles(&self) -> Result<(), String> {
        if self.kinds.is_empty() {
            return Err("`kinds` is empty; name at least one role, for example \"aggregate\"".into());
        }
        if self.kinds.iter().collect::<BTreeSet<_>>().len() < self.kinds.len() {
            return Err(format!("`kinds` {:?} names a role twice", self.kinds));
        }
        match self.reduce[..] {
            [] | [_] | [Reduce::Gram, Reduce::Rows] => {}
            _ => {
                return Err(format!("`reduce` {:?} is no known combination; give one, or gram then rows", self.reduce));
            }
        }
        if !self.reduce.is_empty() && !self.has(Role::Aggregate) {
            return Err("`reduce` is given, but `kinds` has no \"aggregate\"".into());
        }
        match (&self.max_encoded, self.has(Role::Compress)) {
            (None, true) => Err("a compressor must give `max_encoded`, the capacity of one encoded piece".into()),
            (Some(_), false) => Err("`max_encoded` is given, but `kinds` has no \"compress\"".into()),
            (Some(max), true) if max.den == 0 => Err("`max_encoded.den` is 0; it divides".into()),
            _ => Ok(()),
        }
    }

    fn check_slot(&self, slot: &StateSlot) -> Result<(), String> {
        check_name("state.name", &slot.name)?;
        match &slot.init {
            StateInit::Value(value) if !(*value as f32).is_finite() => {
                Err(format!("state `{}` starts from {value:e}, which no 32-bit float holds", slot.name))
            }
            StateInit::Parameter(name) => match self.parameter(name).map(|parameter| parameter.kind) {
                Some(ParameterType::Float | ParameterType::Int) => Ok(()),
                _ => Err(format!("state `{}` starts from `{name}`, which is no numeric parameter", slot.name)),
            },
            StateInit::Value(_) => Ok(()),
        }
    }
}

impl Parameter {
    /// Why `value` is not allowed here; the words follow the parameter's name and value.
    pub fn refuse(&self, value: &serde_json::Value) -> Option<String> {
        match self.kind {
            ParameterType::Bool if value.is_boolean() => None,
            ParameterType::Bool => Some("it must be true or false".into()),
            ParameterType::Int if value.is_i64() => self.refuse_number(value.as_f64()?),
            ParameterType::Int => Some("it must be a whole number".into()),
            ParameterType::Float if value.as_f64().is_some_and(f64::is_finite) => self.refuse_number(value.as_f64()?),
            ParameterType::Float => Some("it must be a number".into()),
            ParameterType::Choice => match value.as_str() {
                Some(word) if self.choices.iter().any(|choice| choice == word) => None,
                _ => Some(format!("it must be one of: {}", self.choices.join(", "))),
            },
        }
    }

    /// The allowed values in words, empty if there is no limit: `at least 0 and below 1`.
    pub fn range(&self) -> String {
        let low = self.min.map(|min| format!("{} {min}", if self.exclusive_min { "above" } else { "at least" }));
        let high = self.max.map(|max| format!("{} {max}", if self.exclusive_max { "below" } else { "at most" }));
        low.into_iter().chain(high).collect::<Vec<_>>().join(" and ")
    }

    fn refuse_number(&self, value: f64) -> Option<String> {
        let too_small = self.min.is_some_and(|min| value < min || self.exclusive_min && value == min);
        let too_large = self.max.is_some_and(|max| value > max || self.exclusive_max && value == max);
        (too_small || too_large).then(|| format!("it must be {}", self.range()))
    }

    fn check(&self) -> Result<(), String> {
        check_name("params.name", &self.name)?;
        let name = &self.name;
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(format!("parameter `{name}` has a name that the host uses itself"));
        }
        let texts = self.choices.iter().chain([&self.doc]);
        if texts.into_iter().any(|text| text.chars().any(char::is_control)) {
            return Err(format!("the texts of parameter `{name}` have control characters"));
        }
        let numeric = matches!(self.kind, ParameterType::Float | ParameterType::Int);
        if !numeric && (self.min.is_some() || self.max.is_some()) {
            return Err(format!("parameter `{name}` is no number, but has `min` or `max`"));
        }
        if self.exclusive_min && self.min.is_none() || self.exclusive_max && self.max.is_none() {
            return Err(format!("parameter `{name}` excludes a bound that it does not give"));
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && (min > max || min == max && (self.exclusive_min || self.exclusive_max))
        {
            return Err(format!("parameter `{name}` allows nothing: min {min}, max {max}"));
        }
        if (self.kind == ParameterType::Choice) == self.choices.is_empty() {
            return Err(format!("parameter `{name}`: `choices` belong to the type \"choice\" and only to it"));
        }
        match self.refuse(&self.default) {
            Some(reason) => Err(format!("the default of parameter `{name}` is {}, but {reason}", self.default)),
            None => Ok(()),
        }
    }
}

/// Whether this host speaks the ABI `"major.minor"`: the same major, and no newer minor.
fn check_abi(declared: &str) -> Result<(), String> {
    let (host_major, host_minor) = ((ABI_VERSION >> 16) as u16, ABI_VERSION as u16);
    let Some((major, minor)) = parse_abi(declared) else {
        return Err(format!("its manifest gives the ABI `{}`, which is no version like \"1.0\"", text::line(declared)));
    };
    if major == host_major && minor <= host_minor {
        return Ok(());
    }
    let newer = if major == host_major { "use a newer host or " } else { "" };
    Err(format!(
        "it was built for ABI {major}.{minor}, this host speaks ABI {host_major}.{host_minor}; \
         {newer}rebuild it with the SDK of this release"
    ))
}

fn parse_abi(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    Some((plain(major)?, plain(minor)?))
}

/// Names are typed on command lines and printed in tables: lower case, digits, `-` and `_`, beginning with a letter.
fn check_name(field: &str, name: &str) -> Result<(), String> {
    let fine = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if fine {
        return Ok(());
    }
    Err(format!(
        "`{field}` is `{}`; use 1 to 64 lower-case letters, digits, `-` and `_`, a letter first",
        text::line(name)
    ))
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("`{field}` has two entries named `{}`", text::line(name)));
        }
    }
    Ok(())
}
