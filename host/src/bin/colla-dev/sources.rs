//! `plugins/shipped/SOURCES.toml`: from which sources, by which compilers, the committed files were made.

use super::Built;
use anyhow::{Context, Result};
use colla::plugin::build::rustc;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The whole file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// `rustc -V`.
    pub rustc: String,
    /// Version of the AssemblyScript compiler.
    #[serde(default)]
    pub asc: String,
    /// The Rust plugins.
    pub plugins: BTreeMap<String, Source>,
    #[serde(default)]
    pub assemblyscript: BTreeMap<String, Source>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// BLAKE3 over everything that goes into the file, see [`rust_hash`] and [`assemblyscript_hash`].
    sources: String,
    pub wasm: String,
    pub bytes: usize,
}

impl Sources {
    /// Of what was built; the rest stays as in `self`.
    pub fn updated(self, root: &Path, built: &Built) -> Result<Sources> {
        let mut sources = self;
        if let Some(rust) = &built.rust {
            sources.rustc = rustc(root, &["-V"])?;
            sources.plugins = describe(rust, |name| rust_hash(root, name))?;
        }
        if let Some(assemblyscript) = &built.assemblyscript {
            sources.asc = asc(root)?;
            sources.assemblyscript = describe(assemblyscript, |name| assemblyscript_hash(root, name))?;
        }
        Ok(sources)
    }
}

fn describe(
    built: &BTreeMap<String, Vec<u8>>,
    hash: impl Fn(&str) -> Result<String>,
) -> Result<BTreeMap<String, Source>> {
    let source = |(name, bytes): (&String, &Vec<u8>)| {
        let wasm = blake3::hash(bytes).to_hex().to_string();
        Ok((name.clone(), Source { sources: hash(name)?, wasm, bytes: bytes.len() }))
    };
    built.iter().map(source).collect()
}

/// The version of the AssemblyScript compiler that the lock file names.
pub fn asc(root: &Path) -> Result<String> {
    let path = root.join(PROJECT).join("package-lock.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let lock: serde_json::Value = serde_json::from_str(&text)?;
    let version = lock["packages"]["node_modules/assemblyscript"]["version"].as_str();
    version.map(str::to_owned).with_context(|| format!("`{}` locks no `assemblyscript`", path.display()))
}

/// What all AssemblyScript projects share.
const PROJECT: &str = "plugin-sdk/assemblyscript/templates/project";

/// BLAKE3 over the SDK's and the plugin's files, the compiler's settings and the locked packages.
fn assemblyscript_hash(root: &Path, name: &str) -> Result<String> {
    let mut parts = BTreeMap::new();
    let sdk = ["plugin-sdk/assemblyscript/assembly", "plugin-sdk/assemblyscript/transform.mjs"].map(String::from);
    let project = ["asconfig.json", "package.json", "package-lock.json"].map(|file| format!("{PROJECT}/{file}"));
    let plugin = ["assembly", "manifest.json"].map(|part| format!("plugins/{name}/{part}"));
    for path in sdk.into_iter().chain(project).chain(plugin) {
        read_tree(root, Path::new(&path), &mut parts)?;
    }
    Ok(hash(parts))
}

/// BLAKE3 over name, length and content of the SDK's and the plugin's files, the build settings, and the locked
/// versions of all dependencies of the plugin.
fn rust_hash(root: &Path, name: &str) -> Result<String> {
    let mut parts = BTreeMap::new();
    for folder in ["plugin-sdk/Cargo.toml", "plugin-sdk/src", &format!("plugins/{name}")] {
        read_tree(root, Path::new(folder), &mut parts)?;
    }
    // Of the other language.
    parts.retain(|path, _| !path.starts_with(&format!("plugins/{name}/assembly/")));
    for file in [".cargo/config.toml", "rust-toolchain.toml"] {
        read_tree(root, Path::new(file), &mut parts)?;
    }
    let workspace: toml::Table = toml::from_str(&fs::read_to_string(root.join("Cargo.toml"))?)?;
    for (table, section) in
        [("workspace", "package"), ("workspace", "dependencies"), ("profile", "release"), ("profile", "plugin")]
    {
        let settings = workspace.get(table).and_then(|table| table.get(section));
        let text = settings.map(toml::to_string).transpose()?.unwrap_or_default();
        parts.insert(format!("Cargo.toml [{table}.{section}]"), text.into_bytes());
    }
    let lock: Lock = toml::from_str(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    parts.insert("Cargo.lock".into(), lock.closure(name).join("\n").into_bytes());
    Ok(hash(parts))
}

fn hash(parts: BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, content) in parts {
        for part in [path.as_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Adds a file, or all files below a folder, under their paths from the root.
fn read_tree(root: &Path, path: &Path, parts: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let full = root.join(path);
    if !full.is_dir() {
        let content = fs::read(&full).with_context(|| format!("reading `{}`", full.display()))?;
        parts.insert(path.to_string_lossy().replace('\\', "/"), content);
        return Ok(());
    }
    for entry in fs::read_dir(full)? {
        read_tree(root, &path.join(entry?.file_name()), parts)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    /// `name version checksum` of the package and of all that it depends on, sorted.
    fn closure(&self, name: &str) -> Vec<String> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![name];
        while let Some(wanted) = waiting.pop() {
            // A dependency is `name`, or `name version` where several versions are locked.
            let mut words = wanted.split(' ');
            let (name, version) = (words.next(), words.next());
            let is_wanted = |package: &&Locked| {
                Some(package.name.as_str()) == name && version.is_none_or(|version| package.version == version)
            };
            for package in self.package.iter().filter(is_wanted) {
                let line = format!("{} {} {}", package.name, package.version, package.checksum);
                if found.insert((&package.name, &package.version), line).is_none() {
                    waiting.extend(package.dependencies.iter().map(String::as_str));
                }
            }
        }
        found.into_values().collect()
    }
}
