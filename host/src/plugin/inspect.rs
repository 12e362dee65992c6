//! Looking at a plugin file: what it says of itself, without loading or running any of it.
//!
//! Where in the flow: beside loading, for `plugin inspect`, `plugin list` and nothing else.
//! What it never does: compile, so that even a hostile file can be looked at.

use super::{Form, Manifest, Origin, shipped};
use crate::config;
use anyhow::Result;

/// A file and its manifest, checked as text and as structure, not against the code.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub manifest: Manifest,
    pub form: Form,
    /// Hex, as is `sha256`.
    pub blake3: String,
    pub sha256: String,
    pub bytes: usize,
    pub origin: Origin,
    /// Whether the module imports `rand_fill`; `None` for native libraries, whose symbols do not tell.
    pub can_draw: Option<bool>,
}

/// Finds the plugin as [`super::load`] would and reads its manifest.
///
/// Errors: [`crate::error::Kind::Config`] if there is no such plugin, [`crate::error::Kind::PluginRefused`] if the
/// file is none.
pub fn inspect(spec: &config::Plugin) -> Result<Inspected> {
    let found = shipped::find(spec)?;
    let manifest = found.file.manifest().map_err(|problem| shipped::refused(&found.label, &problem))?;
    let (form, bytes, origin) = (found.file.form, found.file.bytes.len(), found.origin);
    let can_draw = found.file.can_draw();
    Ok(Inspected { manifest, form, blake3: found.file.blake3, sha256: found.file.sha256, bytes, origin, can_draw })
}
