//! Looking at a plugin file: what it says of itself, and the limits it would run under, without loading or running it.
//!
//! Where in the flow: beside loading, for `plugin inspect`, `plugin list` and the report of `plugin check`.
//! What it never does: compile, so that even a hostile file can be looked at.

use super::{
    Form, Manifest, Origin,
    file::RAND_FILL,
    shipped,
    wasm::limits::{SANDBOX, Sandbox},
};
use crate::config;
use anyhow::Result;
use serde::Serialize;

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
    /// `module.name` of what the module imports; `None` for native libraries, whose symbols do not tell.
    pub imports: Option<Vec<String>>,
    pub limits: Limits,
}

/// What the loader holds a file of this form to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Largest file.
    pub file_bytes: usize,
    /// `None` for native libraries: nothing limits what runs inside the host.
    #[serde(flatten)]
    pub sandbox: Option<Sandbox>,
}

impl Inspected {
    /// Whether the module could draw random numbers; `None` for native libraries.
    pub fn can_draw(&self) -> Option<bool> {
        self.imports.as_ref().map(|imports| imports.iter().any(|name| name == RAND_FILL))
    }
}

/// Finds the plugin as [`super::load`] would and reads its manifest.
///
/// Errors: [`crate::error::Kind::Config`] if there is no such plugin, [`crate::error::Kind::PluginRefused`] if the
/// file is none.
pub fn inspect(spec: &config::Plugin) -> Result<Inspected> {
    let found = shipped::find(spec)?;
    let manifest = found.file.manifest().map_err(|problem| shipped::refused(&found.label, &problem))?;
    let form = found.file.form;
    Ok(Inspected {
        manifest,
        form,
        bytes: found.file.bytes.len(),
        origin: found.origin,
        imports: found.file.imports(),
        limits: Limits { file_bytes: form.max_bytes(), sandbox: (form == Form::Wasm).then_some(SANDBOX) },
        blake3: found.file.blake3,
        sha256: found.file.sha256,
    })
}
