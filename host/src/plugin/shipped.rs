//! The plugins that are part of the host, and how a configured plugin is found.
//!
//! Where in the flow: first step of loading: `name` or `path` become bytes.
//! What it never does: search directories. A name is one of the table, a path is exactly that file.

use super::{Origin, PluginFile};
use crate::{
    config,
    error::{Fault, Kind, did_you_mean},
};
use anyhow::Result;
use std::path::Path;

macro_rules! shipped_file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../plugins/shipped/", $name, ".wasm")))
    };
}

/// Name and WASM file of each shipped plugin, in the order in which they are listed to the user.
static SHIPPED: &[(&str, &[u8])] = &[
    shipped_file!("fedavg"),
    shipped_file!("fedprox"),
    shipped_file!("scaffold"),
    shipped_file!("feddyn"),
    shipped_file!("ditto"),
    shipped_file!("fedbn"),
    shipped_file!("fedavgm"),
    shipped_file!("fedadagrad"),
    shipped_file!("fedadam"),
    shipped_file!("fedyogi"),
    shipped_file!("fedexp"),
    shipped_file!("fedavg-rows"),
    shipped_file!("q-fedavg"),
    shipped_file!("fednova"),
    shipped_file!("norm-bound"),
    shipped_file!("trimmed-mean"),
    shipped_file!("median"),
    shipped_file!("meamed"),
    shipped_file!("sign-majority"),
    shipped_file!("geometric-median"),
    shipped_file!("krum"),
    shipped_file!("multi-krum"),
    shipped_file!("bulyan"),
    shipped_file!("mda"),
    shipped_file!("centered-clip"),
    shipped_file!("fltrust"),
    shipped_file!("nnm"),
    shipped_file!("bucketing"),
    shipped_file!("clip"),
    shipped_file!("layer-clip"),
    shipped_file!("adaptive-clip"),
    shipped_file!("center"),
    shipped_file!("standardize"),
    shipped_file!("local-dp"),
    shipped_file!("topk"),
    shipped_file!("randk"),
    shipped_file!("threshold"),
    shipped_file!("qsgd"),
    shipped_file!("quantize"),
    shipped_file!("half"),
    shipped_file!("signsgd"),
    shipped_file!("terngrad"),
    shipped_file!("eden"),
    shipped_file!("powersgd"),
    shipped_file!("count-sketch"),
    shipped_file!("dp-gaussian"),
    shipped_file!("dp-tree"),
    shipped_file!("power-of-choice"),
    shipped_file!("sign-flip"),
    shipped_file!("alie"),
    shipped_file!("ipm"),
    shipped_file!("gaussian"),
    shipped_file!("scale"),
    shipped_file!("label-flip"),
];

/// Names of the shipped plugins.
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// A plugin's bytes and where they came from.
#[derive(Debug)]
pub(super) struct Found {
    pub file: PluginFile,
    pub origin: Origin,
    /// What the user called it, for messages.
    pub label: String,
}

/// Finds the file of a configured plugin.
/// Errors: [`Kind::Config`] if there is no such plugin, [`Kind::PluginRefused`] if the file cannot be one.
pub(super) fn find(spec: &config::Plugin) -> Result<Found> {
    match (&spec.name, &spec.path) {
        (Some(name), None) => match shipped(name) {
            Some(bytes) => from_table(name, bytes, false),
            None => Err(unknown(name)),
        },
        (None, Some(path)) => from_path(path),
        (Some(name), Some(path)) => Err(Fault::new(
            Kind::Config,
            format!("plugin `{name}`: both a name and the path `{}` are given; give one of them", path.display()),
        )),
        (None, None) => Err(Fault::new(Kind::Config, "a plugin has neither `name` nor `path`; give one of them")),
    }
}

fn from_path(path: &Path) -> Result<Found> {
    let label = path.display().to_string();
    if !path.exists() {
        return absent(path, &label);
    }
    let file = PluginFile::read(path).map_err(|e| refused(&label, &e))?;
    Ok(Found { file, origin: Origin::File(path.into()), label })
}

/// `fedprox.wasm` without a directory may mean the shipped plugin; `there/fedprox.wasm` names a place.
fn absent(path: &Path, label: &str) -> Result<Found> {
    let name = label.strip_suffix(".wasm").unwrap_or(label);
    match shipped(name) {
        Some(bytes) => from_table(name, bytes, true),
        None if name == label && path.file_name() == Some(path.as_os_str()) => Err(unknown(name)),
        None if path.file_name() == Some(path.as_os_str()) => Err(no_file(label, name)),
        None => Err(Fault::new(
            Kind::Config,
            format!("plugin file `{label}` does not exist; give the path of a plugin file"),
        )),
    }
}

fn from_table(name: &str, bytes: &'static [u8], asked_for_file: bool) -> Result<Found> {
    let file = PluginFile::from_bytes(bytes.into()).map_err(|e| refused(name, &e))?;
    Ok(Found { file, origin: Origin::Shipped { asked_for_file }, label: name.into() })
}

fn shipped(wanted: &str) -> Option<&'static [u8]> {
    SHIPPED.iter().find(|(name, _)| *name == wanted).map(|(_, bytes)| *bytes)
}

fn unknown(name: &str) -> anyhow::Error {
    let suggestion = did_you_mean(name, shipped_names());
    let separator = if suggestion.is_empty() { ";" } else { "" };
    let available = shipped_names().collect::<Vec<_>>().join(", ");
    Fault::new(Kind::Config, format!("unknown plugin `{name}`{suggestion}{separator} available: {available}"))
}

/// The user asked for a file, and nothing else has that name.
fn no_file(label: &str, name: &str) -> anyhow::Error {
    let suggestion = did_you_mean(name, shipped_names());
    let separator = if suggestion.is_empty() { ";" } else { "" };
    let available = shipped_names().collect::<Vec<_>>().join(", ");
    Fault::new(
        Kind::Config,
        format!(
            "plugin file `{label}` does not exist, and no shipped plugin has that name{suggestion}{separator} \
             available: {available}"
        ),
    )
}

/// What is wrong with a file, in the form of every refusal.
pub(super) fn refused(label: &str, problem: &str) -> anyhow::Error {
    Fault::new(Kind::PluginRefused, format!("loading plugin `{label}`: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Form, load, parse_spec};

    #[test]
    fn every_shipped_plugin_loads_under_its_own_name() {
        for name in shipped_names() {
            let plugin = load(&parse_spec(name).unwrap(), &[]).unwrap();
            assert_eq!((plugin.manifest().name.as_str(), plugin.form()), (name, Form::Wasm));
            assert_eq!(*plugin.origin(), Origin::Shipped { asked_for_file: false });
        }
    }

    #[test]
    fn a_file_name_that_is_no_file_falls_back_to_the_shipped_plugin_and_says_so() {
        let plugin = load(&parse_spec("fedprox.wasm:mu=0.25").unwrap(), &[]).unwrap();
        assert_eq!(*plugin.origin(), Origin::Shipped { asked_for_file: true });
        assert_eq!(plugin.parameters_json()["mu"], 0.25);
        let elsewhere = load(&parse_spec("nowhere/fedprox.wasm").unwrap(), &[]).err().unwrap();
        assert!(elsewhere.to_string().contains("plugin file `nowhere/fedprox.wasm` does not exist"), "{elsewhere}");
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one_and_the_list() {
        let none = "does not exist, and no shipped plugin has that name";
        for (argument, expected) in [
            ("fedporx", "unknown plugin `fedporx`; did you mean `fedprox`? available: fedavg, fedprox".into()),
            ("fedporx.wasm", format!("plugin file `fedporx.wasm` {none}; did you mean `fedprox`? available: fedavg")),
            ("nosuch.wasm", format!("plugin file `nosuch.wasm` {none}; available: fedavg")),
        ] {
            let error = load(&parse_spec(argument).unwrap(), &[]).err().unwrap();
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert_eq!(crate::error::exit_code(&error), 3);
        }
    }
}
