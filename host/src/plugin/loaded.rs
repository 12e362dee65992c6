//! A plugin that passed every check and is ready to be instantiated.
//!
//! What is this: the load order of the ABI in one function, [`load`], and its result, [`Plugin`].
//! Where in the flow: called once per configured plugin before the run; strategy and stages then make instances.
//! What it never does: run a plugin whose hash, manifest, parameters, imports or exports are not what they must be.

use super::{
    Callbacks, Form, Instance, Manifest, PluginFile,
    failure::CreateFailure,
    log::Log,
    native,
    parameters::{self, Direction},
    setup::Setup,
    shipped::{self, Found},
    wasm,
};
use crate::{
    config,
    error::{Fault, Kind},
};
use anyhow::Result;
use colla_plugin_sdk::Map;
use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, sync::Arc};

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
    /// The parameters as `create` receives them.
    config: Vec<u8>,
    parameters_json: BTreeMap<String, serde_json::Value>,
    error_feedback: bool,
    direction: Direction,
    blake3: String,
    sha256: String,
    size: usize,
    form: Form,
    origin: Origin,
    code: Code,
    log: Arc<Log>,
}

enum Code {
    Wasm(Arc<wasm::Compiled>),
    Native(native::Library),
}

impl Plugin {
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// All parameters of the manifest with their values, as `create` receives them.
    pub fn parameters(&self) -> &Map {
        &self.0.parameters
    }

    /// The same for the records; of a compressor also the host's own `error-feedback` and `direction`.
    pub fn parameters_json(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.0.parameters_json
    }

    /// Whether the host keeps the residual of this compressor per client. Always false for other roles.
    pub fn error_feedback(&self) -> bool {
        self.0.error_feedback
    }

    /// Which way the vectors of this compressor travel. Up for other roles, where it means nothing.
    pub fn direction(&self) -> Direction {
        self.0.direction
    }

    /// BLAKE3 of exactly the bytes that run, hex.
    pub fn blake3(&self) -> &str {
        &self.0.blake3
    }

    /// SHA-256 of the same bytes, hex.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> usize {
        self.0.size
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
        let setup = self.setup(position, run_seed, payload_elements);
        let created = match &self.0.code {
            Code::Wasm(compiled) => compiled.instantiate(&setup),
            Code::Native(library) => library.instantiate(&setup),
        };
        created.map_err(|e| e.failure.into())
    }

    /// Creates and destroys one instance.
    fn try_out(&self) -> Result<(), CreateFailure> {
        let setup = self.setup(0, 0, 0);
        match &self.0.code {
            Code::Wasm(compiled) => compiled.try_out(&setup),
            // Dropping a native instance destroys it.
            Code::Native(library) => library.instantiate(&setup).map(drop),
        }
    }

    fn setup(&self, position: u8, run_seed: u64, payload_elements: usize) -> Setup<'_> {
        Setup {
            plugin: &self.0.manifest.name,
            config: &self.0.config,
            callbacks: Callbacks { run_seed, position, round: 0, client: 0 },
            payload_elements,
            rng: self.0.manifest.rng,
            log: &self.0.log,
        }
    }
}

/// Loads a configured plugin: size, hash (equal to `spec.blake3` if given), manifest, ABI, parameters, imports and
/// exports, compilation, and a first create and destroy, in this order.
///
/// `allow_native`: BLAKE3 hashes, hex, of the native files that may be loaded.
/// Errors: [`Kind::Config`] for what the user asked for (unknown plugin or parameter, a value that is not allowed),
/// [`Kind::PluginRefused`] for what the file is.
pub fn load(spec: &config::Plugin, allow_native: &[String]) -> Result<Plugin> {
    let Found { file, origin, label } = shipped::find(spec)?;
    let refused = |problem: String| shipped::refused(&label, &problem);
    check_pin(spec, &file).map_err(refused)?;
    let manifest = file.manifest().map_err(refused)?;
    file.check_draws(&manifest).map_err(refused)?;
    let resolved = parameters::resolve(&manifest, &spec.parameters)
        .map_err(|problem| Fault::new(Kind::Config, format!("plugin `{label}`: {problem}")))?;
    let abi = manifest.abi_version().ok_or_else(|| refused("its ABI version cannot be read".into()))?;
    let code = match file.form {
        Form::Wasm => {
            let compiled = match &file.bytes {
                // Only what is compiled into the host lives as long as the process.
                Cow::Borrowed(bytes) => wasm::Compiled::shipped(bytes, abi),
                Cow::Owned(bytes) => wasm::Compiled::new(bytes, abi).map(Arc::new),
            };
            Code::Wasm(compiled.map_err(refused)?)
        }
        Form::Native => {
            Code::Native(native::Library::open(&file.bytes, &file.blake3, abi, allow_native).map_err(refused)?)
        }
    };
    let plugin = Plugin(Arc::new(Loaded {
        config: resolved.map.encode(),
        parameters: resolved.map,
        parameters_json: resolved.json,
        error_feedback: resolved.error_feedback,
        direction: resolved.direction,
        blake3: file.blake3,
        sha256: file.sha256,
        size: file.bytes.len(),
        form: file.form,
        origin,
        code,
        log: Arc::new(Log::new(&manifest.name)),
        manifest,
    }));
    // What the plugin itself refuses must come to light now, not when the first client reports.
    match plugin.try_out() {
        Ok(()) => Ok(plugin),
        Err(e) if e.bad_parameters => Err(Fault::new(Kind::Config, format!("plugin `{label}`: {}", e.failure.message))),
        Err(e) => Err(refused(format!("{}: {}", e.failure.operation, e.failure.message))),
    }
}

fn check_pin(spec: &config::Plugin, file: &PluginFile) -> Result<(), String> {
    match &spec.blake3 {
        Some(pinned) if !pinned.trim().eq_ignore_ascii_case(&file.blake3) => Err(format!(
            "the configuration wants the file with BLAKE3 {}, this one has {}; use the right file, or change `blake3` \
             if the new one is meant",
            super::text::line(pinned),
            file.blake3
        )),
        _ => Ok(()),
    }
}
