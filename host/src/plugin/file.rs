//! A plugin file as bytes: its form, its hashes, and the manifest inside, all without running or loading it.
//!
//! Where in the flow: first step of loading, and all that inspecting a file needs. Size, then hash, then manifest.
//! What it never does: trust the file's name. The form follows from the first bytes.

use super::{Manifest, text};
use colla_plugin_sdk::abi::MANIFEST_SECTION;
use object::{BinaryFormat, Object, ObjectSection};
use serde::Serialize;
use sha2::Digest;
use std::{borrow::Cow, fmt, fs::File, io::Read, path::Path};

/// Largest WASM file. Compiling costs about 1 ms per kB; real plugins have 1–100 kB.
const MAX_WASM_BYTES: usize = 4 << 20;
/// Largest native library; unstripped ones carry their debug information.
const MAX_NATIVE_BYTES: usize = 64 << 20;
/// Largest manifest.
const MAX_MANIFEST_BYTES: usize = 64 << 10;

/// The import through which a module draws random numbers, as [`PluginFile::imports`] names it.
pub(super) const RAND_FILL: &str = "colla_v1.rand_fill";

/// Which of the two forms of the ABI a plugin file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A WebAssembly core module, run in a sandbox.
    Wasm,
    /// A shared library, run inside the host with all its rights.
    Native,
}

impl Form {
    /// Size of the largest file.
    pub fn max_bytes(self) -> usize {
        match self {
            Form::Wasm => MAX_WASM_BYTES,
            Form::Native => MAX_NATIVE_BYTES,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Wasm => "wasm",
            Form::Native => "native",
        })
    }
}

/// The bytes of a plugin and what identifies them.
#[derive(Clone, Debug)]
pub struct PluginFile {
    /// Exactly what was hashed and what will be loaded.
    pub bytes: Cow<'static, [u8]>,
    pub form: Form,
    /// Hex. The identity of a plugin.
    pub blake3: String,
    /// Hex, for tools that know no BLAKE3.
    pub sha256: String,
}

impl PluginFile {
    /// Reads a file. Errors: what is wrong with it, ready to stand behind its name.
    pub fn read(path: &Path) -> Result<Self, String> {
        let io = |e: std::io::Error| format!("it cannot be read: {e}");
        // Before it is opened: opening a pipe waits for somebody to write into it.
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Err("it is a directory; name the plugin file in it".into());
        }
        if !metadata.is_file() {
            return Err("it is a pipe, a socket or a device; name a plugin file".into());
        }
        let file = File::open(path).map_err(io)?;
        // The limit is on what is read, not on what the file system says: the file may grow meanwhile.
        let mut bytes = Vec::new();
        file.take(MAX_NATIVE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        Self::from_bytes(bytes.into())
    }

    /// Takes bytes that are already in memory. Errors as [`PluginFile::read`].
    pub fn from_bytes(bytes: Cow<'static, [u8]>) -> Result<Self, String> {
        let form = form_of(&bytes)?;
        let limit = form.max_bytes();
        if bytes.len() > limit {
            let size = bytes.len();
            return Err(format!("it has {size} bytes or more, a {form} plugin may have {limit}; strip it"));
        }
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let sha256 = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(PluginFile { bytes, form, blake3, sha256 })
    }

    /// Finds, reads and checks the manifest. Errors as [`PluginFile::read`].
    pub fn manifest(&self) -> Result<Manifest, String> {
        let section = match self.form {
            Form::Wasm => wasm_section(&self.bytes)?,
            Form::Native => native_section(&self.bytes)?,
        };
        if section.len() > MAX_MANIFEST_BYTES {
            return Err(format!("its manifest has {} bytes; at most {MAX_MANIFEST_BYTES} are read", section.len()));
        }
        // Linkers pad sections with zeros.
        let used = section.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let json = std::str::from_utf8(&section[..used]).map_err(|e| format!("its manifest is not UTF-8: {e}"))?;
        Manifest::parse(json)
    }
}

impl PluginFile {
    /// What the module imports, as `module.name` in printable characters, allowed or not; `None` for native libraries,
    /// whose symbols do not tell.
    pub(super) fn imports(&self) -> Option<Vec<String>> {
        if self.form == Form::Native {
            return None;
        }
        let mut names = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(&self.bytes).flatten() {
            if let wasmparser::Payload::ImportSection(imports) = payload {
                let each = imports.into_imports().flatten();
                names.extend(each.map(|import| format!("{}.{}", text::line(import.module), text::line(import.name))));
            }
        }
        Some(names)
    }

    /// A module that can draw random numbers must say so. (A native library is watched while it runs.)
    pub(super) fn check_draws(&self, manifest: &Manifest) -> Result<(), String> {
        match self.imports() {
            Some(imports) if !manifest.rng && imports.iter().any(|name| name == RAND_FILL) => Err(format!(
                "it imports `{RAND_FILL}`, but its manifest says `\"rng\": false`; say `\"rng\": true` if it draws random \
                 numbers, or leave the import out"
            )),
            _ => Ok(()),
        }
    }
}

fn form_of(bytes: &[u8]) -> Result<Form, String> {
    match bytes {
        [] => Err("it is empty".into()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Form::Wasm),
        [b'\0', b'a', b's', b'm', _, 0, 1, 0, ..] => {
            Err("it is a WebAssembly component; plugins are core modules, built for wasm32-unknown-unknown".into())
        }
        [b'\0', b'a', b's', b'm', rest @ ..] if rest.len() < 4 => Err("it is a truncated WebAssembly module".into()),
        [b'\0', b'a', b's', b'm', ..] => Err("it is a WebAssembly module of an unknown version".into()),
        [0x7f, b'E', b'L', b'F', ..] | [b'M', b'Z', ..] => Ok(Form::Native),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => Ok(Form::Native),
        [0xca, 0xfe, 0xba, 0xbe, ..] => Err("it holds several architectures; extract the one of this machine".into()),
        _ if looks_like_text(bytes) => {
            let start = text::printable(&bytes[..bytes.len().min(24)], 24);
            Err(format!("it is text (it begins with `{start}`), not a plugin binary; name the built .wasm file"))
        }
        _ => Err("it is neither a WebAssembly module nor a shared library".into()),
    }
}

/// Whether the beginning is UTF-8 without control characters; a character cut off at the end does not count.
fn looks_like_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or_default(),
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
}

fn wasm_section(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut found = None;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let payload =
            payload.map_err(|e| format!("it is truncated or damaged at byte {}: {}", e.offset(), e.message()))?;
        if let wasmparser::Payload::CustomSection(section) = payload
            && section.name() == MANIFEST_SECTION
            && found.replace(section.data()).is_some()
        {
            return Err(format!("it has two `{MANIFEST_SECTION}` sections"));
        }
    }
    found.map(Cow::Borrowed).ok_or_else(no_manifest)
}

/// The section has a name for each binary format, as the SDK's macro gives it.
fn native_section(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let damaged = |e: object::Error| format!("it is no readable shared library, or truncated: {e}");
    let library = object::File::parse(bytes).map_err(damaged)?;
    let name = match library.format() {
        BinaryFormat::MachO => "__colla_manif",
        BinaryFormat::Pe | BinaryFormat::Coff => ".collam",
        _ => ".colla.manifest",
    };
    let section = library.section_by_name(name).ok_or_else(no_manifest)?;
    section.data().map(Cow::Borrowed).map_err(damaged)
}

fn no_manifest() -> String {
    format!(
        "it has no `{MANIFEST_SECTION}` section, so it is no plugin, or one that lost its end; build it with the SDK"
    )
}
