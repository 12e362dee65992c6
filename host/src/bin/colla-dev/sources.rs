//! `plugins/shipped/SOURCES.toml`: from which sources, by which compiler, the committed files were made.

use anyhow::{Context, Result};
use colla::plugin::build::rustc;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The whole file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// `rustc -V`.
    pub rustc: String,
    pub plugins: BTreeMap<String, Source>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// BLAKE3 over everything that goes into the file, see [`source_hash`].
    sources: String,
    pub wasm: String,
    pub bytes: usize,
}

pub fn describe(root: &Path, built: &BTreeMap<String, Vec<u8>>) -> Result<Sources> {
    let source = |(name, bytes): (&String, &Vec<u8>)| {
        let sources = source_hash(root, name)?;
        Ok((name.clone(), Source { sources, wasm: blake3::hash(bytes).to_hex().to_string(), bytes: bytes.len() }))
    };
    Ok(Sources { rustc: rustc(root, &["-V"])?, plugins: built.iter().map(source).collect::<Result<_>>()? })
}

/// BLAKE3 over name, length and content of the SDK's and the plugin's files, the build settings, and the locked
/// versions of all dependencies of the plugin.
fn source_hash(root: &Path, name: &str) -> Result<String> {
    let mut parts = BTreeMap::new();
    for folder in ["plugin-sdk/Cargo.toml", "plugin-sdk/src", &format!("plugins/{name}")] {
        read_tree(root, Path::new(folder), &mut parts)?;
    }
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
    let mut hasher = blake3::Hasher::new();
    for (path, content) in parts {
        for part in [path.as_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
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
