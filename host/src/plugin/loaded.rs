//! A plugin that passed every check and is ready to be instantiated.
//!
//! What is this: the load order of the ABI in one function, [`load`], and its result, [`Plugin`].
//! Where in the flow: called once per configured plugin before the run; strategy and stages then make instances.
//! What it never does: run a plugin whose hash, manifest, parameters, imports or exports are not what they must be.

use super::{Instance, Manifest};
use crate::config;
use anyhow::Result;
use colla_plugin_sdk::Map;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

/// Which of the two forms of the ABI a plugin file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A WebAssembly core module, run in a sandbox.
    Wasm,
    /// A shared library, run inside the host with all its rights.
    Native,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Wasm => "wasm",
            Form::Native => "native",
        })
    }
}

/// Where the bytes of a plugin came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled into the host. `asked_for_file`: the user named `NAME.wasm`, no such file exists, and the shipped
    /// plugin of that name was taken instead, which the caller must say.
    Shipped {
        asked_for_file: bool,
    },
    File(PathBuf),
}

/// A checked plugin with its resolved parameters. Cheap to clone; instances are made per thread.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    manifest: Manifest,
    parameters: Map,
    parameters_json: BTreeMap<String, serde_json::Value>,
    error_feedback: bool,
    blake3: String,
    form: Form,
    origin: Origin,
}

impl Plugin {
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// All parameters of the manifest with their values, as `create` receives them.
    pub fn parameters(&self) -> &Map {
        &self.0.parameters
    }

    /// The same for the records; of a compressor also the host's own `error-feedback`.
    pub fn parameters_json(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.0.parameters_json
    }

    /// Whether the host keeps the residual of this compressor per client. Always false for other roles.
    pub fn error_feedback(&self) -> bool {
        self.0.error_feedback
    }

    /// BLAKE3 of exactly the bytes that run, hex.
    pub fn blake3(&self) -> &str {
        &self.0.blake3
    }

    pub fn form(&self) -> Form {
        self.0.form
    }

    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// A new instance, created with the resolved parameters.
    ///
    /// `position`: of the plugin in the run; with `run_seed` it keys the plugin's random streams.
    /// `payload_elements`: elements of the vectors that this instance will see in all, for its fuel and memory limits.
    /// Errors: [`super::PluginFailure`] if the plugin traps, refuses its parameters or exceeds a limit.
    pub fn instantiate(&self, position: u8, run_seed: u64, payload_elements: usize) -> Result<Box<dyn Instance>> {
        let _ = (position, run_seed, payload_elements);
        anyhow::bail!("the loaders are not written yet")
    }
}

/// Loads a configured plugin: size, hash (equal to `spec.blake3` if given), manifest, ABI, parameters, imports and
/// exports, compilation, and a first create and destroy, in this order.
///
/// Errors: [`crate::error::Kind::Config`] for what the user asked for (unknown plugin or parameter, value out of
/// range), [`crate::error::Kind::PluginRefused`] for what the file is.
pub fn load(spec: &config::Plugin, allow_native: &[String]) -> Result<Plugin> {
    let _ = (spec, allow_native);
    anyhow::bail!("the loaders are not written yet")
}
