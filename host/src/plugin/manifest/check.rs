//! What a manifest must be beyond its JSON types: names, ranges, and declarations that do not contradict each other.
//!
//! Where in the flow: inside [`Manifest::parse`], before anything relies on a field.
//! What it never does: mend. A manifest that lies in one place is not used in any.

use super::{
    InitialWeights, Manifest, Noise, NoiseMechanism, NormEffect, Parameter, ParameterType, Reduce, Requirement, Role,
    StateInit, StateScope, StateShape, StateSlot,
};
use crate::plugin::{
    parameters::{DIRECTION, ERROR_FEEDBACK},
    text,
};
use colla_plugin_sdk::abi::ABI_VERSION;
use std::collections::BTreeSet;

/// Parameter names that the host or the configuration file uses itself.
const RESERVED_NAMES: [&str; 5] = ["name", "path", "blake3", DIRECTION, ERROR_FEEDBACK];
/// More than any known method has, few enough for one table in the terminal.
const MAX_PARAMETERS: usize = 64;
const MAX_STATE_SLOTS: usize = 16;
const MAX_VECTORS: usize = 16;
/// Largest side header of one piece.
const MAX_HEADER: usize = 4096;

impl Manifest {
    /// What `serde` cannot say: names, ranges, and declarations that contradict each other.
    pub(super) fn check(&self) -> Result<(), String> {
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
        self.state.iter().try_for_each(|slot| self.check_slot(slot))?;
        self.check_client_slots()?;
        self.check_vectors()?;
        self.privacy.as_ref().map_or(Ok(()), |noise| self.check_privacy(noise))?;
        self.check_stage()
    }

    fn check_texts(&self) -> Result<(), String> {
        check_name("name", &self.name)?;
        if self.version.is_empty() {
            return Err("`version` is empty".into());
        }
        let singles = [&self.version, &self.summary, &self.license, &self.homepage, &self.paper];
        match singles.into_iter().chain(&self.authors).find(|text| !text::is_plain(text)) {
            Some(text) => Err(format!("the text `{}` has characters that do not print", text::line(text))),
            None => Ok(()),
        }
    }

    fn check_roles(&self) -> Result<(), String> {
        let stages = [Role::Normalize, Role::Compress, Role::Post].into_iter().filter(|&role| self.has(role)).count();
        if stages > 1 {
            return Err("a plugin can be only one of normalize, compress and post: they share operations".into());
        }
        if self.has(Role::Mix) && self.has(Role::Aggregate) {
            return Err("a plugin can be only one of mix and aggregate: they share operations".into());
        }
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
        if !self.attacks.is_empty() && !self.has(Role::Attack) {
            return Err("`attacks` is given, but `kinds` has no \"attack\"".into());
        }
        if self.attacks.iter().collect::<BTreeSet<_>>().len() < self.attacks.len() {
            return Err(format!("`attacks` {:?} names a part twice", self.attacks));
        }
        match (&self.max_encoded, self.has(Role::Compress)) {
            (None, true) => Err("a compressor must give `max_encoded`, the capacity of one encoded piece".into()),
            (Some(_), false) => Err("`max_encoded` is given, but `kinds` has no \"compress\"".into()),
            (Some(max), true) if max.den == 0 => Err("`max_encoded.den` is 0; it divides".into()),
            _ => Ok(()),
        }
    }

    fn check_vectors(&self) -> Result<(), String> {
        if self.vectors.len() > MAX_VECTORS {
            return Err(format!("`vectors` has {} entries; at most {MAX_VECTORS} are allowed", self.vectors.len()));
        }
        unique("vectors", self.vectors.iter().map(|vector| vector.name.as_str()))?;
        self.vectors.iter().try_for_each(|vector| check_name("vectors.name", &vector.name))?;
        let has_both = self.has(Role::Client) && self.has(Role::ServerStep);
        if !self.vectors.is_empty() && !has_both {
            return Err(
                "`vectors` are made by the role client and summed for the role server-step; `kinds` must name both"
                    .into(),
            );
        }
        let is_own = |name: &String| self.state.iter().any(|s| s.name == *name && s.scope == StateScope::Client);
        match &self.personal {
            Some(name) if !is_own(name) || !self.has(Role::Client) => {
                Err(format!("`personal` is `{name}`; it must be a slot of scope client of a plugin of the role client"))
            }
            _ => Ok(()),
        }
    }

    fn check_privacy(&self, noise: &Noise) -> Result<(), String> {
        let role = noise.mechanism.role();
        if !self.has(role) {
            return Err(format!(
                "the mechanism of `privacy` is one of the role {}, which `kinds` does not name",
                role.name()
            ));
        }
        let wanted = [Requirement::NormBound, Requirement::UniformWeights, Requirement::FixedDenominator];
        match wanted.into_iter().find(|requirement| !self.requires.contains(requirement)) {
            // Without them there is no sensitivity for the noise to be measured by.
            Some(missing) if role == Role::Post => {
                return Err(format!("`privacy` is given, but `requires` lacks \"{}\"", missing.name()));
            }
            _ => {}
        }
        let is_tree = noise.mechanism == NoiseMechanism::Tree;
        if noise.restart.is_some() != is_tree || noise.completion.is_some() != is_tree {
            return Err("`privacy` has `restart` and `completion` if and only if its mechanism is \"tree\"".into());
        }
        let named = [
            ("noise", Some(&noise.noise), ParameterType::Float, "a number"),
            ("restart", noise.restart.as_ref(), ParameterType::Int, "a whole number"),
            ("completion", noise.completion.as_ref(), ParameterType::Bool, "true or false"),
        ];
        for (field, name, kind, words) in named {
            let Some(name) = name else { continue };
            if self.parameter(name).is_none_or(|parameter| parameter.kind != kind) {
                return Err(format!("`privacy.{field}` is `{name}`, which is no parameter that holds {words}"));
            }
        }
        Ok(())
    }

    fn check_stage(&self) -> Result<(), String> {
        let has_either = self.has(Role::Aggregate) || self.has(Role::ServerStep);
        if !self.needs.is_empty() && !has_either {
            return Err("`needs` is given, but `kinds` has neither \"aggregate\" nor \"server-step\"".into());
        }
        if self.max_header > MAX_HEADER {
            return Err(format!("`max_header` is {}; at most {MAX_HEADER} bytes are allowed", self.max_header));
        }
        if self.max_header > 0 && !self.has(Role::Normalize) {
            return Err("`max_header` is given, but `kinds` has no \"normalize\"".into());
        }
        let changes_updates = self.has(Role::Normalize) || self.has(Role::Compress);
        if self.norm != NormEffect::Raises && !changes_updates {
            return Err("`norm` is given, but `kinds` has neither \"normalize\" nor \"compress\"".into());
        }
        let Some(name) = &self.norm_bound else { return Ok(()) };
        if self.norm != NormEffect::Bounds {
            return Err("`norm_bound` is given, but `norm` is not \"bounds\"".into());
        }
        match self.parameter(name).map(|parameter| parameter.kind) {
            Some(ParameterType::Float | ParameterType::Int) => Ok(()),
            _ => Err(format!("`norm_bound` is `{name}`, which is no numeric parameter")),
        }
    }

    /// What one role keeps the other must not overwrite, and ENCODE shows all its states in one length.
    fn check_client_slots(&self) -> Result<(), String> {
        let mut of_clients = self.state.iter().filter(|slot| slot.scope == StateScope::Client);
        let Some(first) = of_clients.next() else { return Ok(()) };
        if self.has(Role::Client) && self.has(Role::Compress) {
            let name = &first.name;
            return Err(format!(
                "state `{name}` could belong to client or to compress; a plugin with both roles has none"
            ));
        }
        match of_clients.find(|slot| slot.shape != first.shape) {
            Some(other) if self.has(Role::Compress) => Err(format!(
                "state `{}` has the shape `{}`, state `{}` the shape `{}`; the client slots of a compressor have one shape",
                first.name,
                first.shape.name(),
                other.name,
                other.shape.name()
            )),
            _ => Ok(()),
        }
    }

    fn check_slot(&self, slot: &StateSlot) -> Result<(), String> {
        check_name("state.name", &slot.name)?;
        let (name, client) = (&slot.name, slot.scope == StateScope::Client);
        if slot.broadcast && client {
            return Err(format!("state `{name}` is broadcast, but only slots of scope server can be"));
        }
        if slot.shape == StateShape::Piece && !(client && self.has(Role::Compress)) {
            return Err(format!("state `{name}` has the shape `piece`, which client slots of compressors have"));
        }
        if slot.shape == StateShape::Norm {
            if !(client && self.has(Role::Client)) {
                return Err(format!("state `{name}` has the shape `norm`, which client slots of the role client have"));
            }
            if !self.requires.contains(&Requirement::NormalisationLayers) {
                return Err(format!(
                    "state `{name}` has the shape `norm`; `requires` must name \"normalisation-layers\""
                ));
            }
        }
        if client && !(self.has(Role::Client) || self.has(Role::Compress)) || !client && !self.has(Role::ServerStep) {
            let role = if client { "client or compress" } else { "server-step" };
            return Err(format!("state `{name}` belongs to the role {role}, which `kinds` does not name"));
        }
        match &slot.init {
            StateInit::Value(value) if !(*value as f32).is_finite() => {
                Err(format!("state `{}` starts from {value:e}, which no 32-bit float holds", slot.name))
            }
            StateInit::Parameter(name) => match self.parameter(name).map(|parameter| parameter.kind) {
                Some(ParameterType::Float | ParameterType::Int) => Ok(()),
                _ => Err(format!("state `{}` starts from `{name}`, which is no numeric parameter", slot.name)),
            },
            StateInit::Weights(_) if slot.shape == StateShape::Piece => {
                Err(format!("state `{name}` starts from the weights, which have no piece of its shape"))
            }
            StateInit::Weights(InitialWeights::ReceivedWeights) if !client => {
                Err(format!("state `{name}` starts from received weights, which the server has none of"))
            }
            StateInit::Value(_) | StateInit::Weights(_) => Ok(()),
        }
    }
}

impl Parameter {
    fn check(&self) -> Result<(), String> {
        check_name("params.name", &self.name)?;
        let name = &self.name;
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(format!("parameter `{name}` has a name that the host uses itself"));
        }
        let texts = self.choices.iter().chain([&self.doc]);
        if texts.into_iter().any(|text| !text::is_plain(text)) {
            return Err(format!("the texts of parameter `{name}` have characters that do not print"));
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
pub(super) fn abi(declared: &str) -> Result<(), String> {
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

pub(super) fn parse_abi(text: &str) -> Option<(u16, u16)> {
    let (major, minor) = text.split_once('.')?;
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    Some((plain(major)?, plain(minor)?))
}

/// Names are typed on command lines and printed in tables: lower case, digits, `-` and `_`, beginning with a letter.
pub fn check_name(field: &str, name: &str) -> Result<(), String> {
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
