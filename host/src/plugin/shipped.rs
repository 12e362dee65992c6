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

/// Name and WASM file of each shipped plugin, in the order in which they are listed to the user.
static SHIPPED: &[(&str, &[u8])] = &[];

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
        None if path.file_name() == Some(path.as_os_str()) => Err(unknown(name)),
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

/// What is wrong with a file, in the form of every refusal.
pub(super) fn refused(label: &str, problem: &str) -> anyhow::Error {
    Fault::new(Kind::PluginRefused, format!("loading plugin `{label}`: {problem}"))
}
