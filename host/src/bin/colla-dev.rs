//! Developer commands: `cargo dev plugins` builds the shipped plugins, `--check` proves that the committed files are
//! what the sources give, `--native` builds the native libraries.
//!
//! The build depends on the sources and the pinned compiler only: flags are fixed here, the environment's are dropped,
//! and paths are remapped, so that the same commit gives the same bytes in every folder.

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use colla::plugin::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";
const SHIPPED: &str = "plugins/shipped";
const SOURCES: &str = "SOURCES.toml";

#[derive(Parser)]
#[command(name = "cargo dev", about = "Developer commands of the CollA repository")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build every plugin to plugins/shipped/<name>.wasm and write SOURCES.toml beside them
    Plugins {
        /// Rebuild from nothing in a temporary folder and fail if a committed file differs
        #[arg(long, conflicts_with = "native")]
        check: bool,
        /// Build native libraries instead and print name, BLAKE3 and path of each, separated by tabs
        #[arg(long)]
        native: bool,
    },
}

fn main() -> ExitCode {
    let Task::Plugins { check, native } = Arguments::parse().command;
    let done = match (check, native) {
        (true, _) => check_shipped(),
        (_, true) => build_native(),
        _ => build_shipped(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `plugins/shipped/SOURCES.toml`: where the committed files come from.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sources {
    /// `rustc -V`.
    rustc: String,
    plugins: BTreeMap<String, Source>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    /// BLAKE3 over everything that goes into the file, see [`source_hash`].
    sources: String,
    wasm: String,
    bytes: usize,
}

fn build_shipped() -> Result<()> {
    let root = root()?;
    let plugins = plugins(&root)?;
    let built = build_wasm(&root, &plugins, &root.join("target/plugins"))?;
    let folder = root.join(SHIPPED);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in &built {
        fs::write(folder.join(format!("{name}.wasm")), bytes)?;
    }
    let sources = describe(&root, &built)?;
    let text = format!("# Written by `cargo dev plugins`; do not edit.\n{}", toml::to_string(&sources)?);
    fs::write(folder.join(SOURCES), text)?;
    for (name, source) in &sources.plugins {
        println!("{name}\t{}\t{} bytes", source.wasm, source.bytes);
    }
    for name in unexpected(&folder, &built)? {
        println!("{SHIPPED}/{name} belongs to no plugin; remove it");
    }
    Ok(())
}

fn check_shipped() -> Result<()> {
    let root = root()?;
    let folder = root.join(SHIPPED);
    let text = fs::read_to_string(folder.join(SOURCES))
        .with_context(|| format!("reading `{SHIPPED}/{SOURCES}`; run `cargo dev plugins`"))?;
    let committed: Sources = toml::from_str(&text).with_context(|| format!("reading `{SHIPPED}/{SOURCES}`"))?;
    let compiler = rustc(&root, &["-V"])?;
    ensure!(
        committed.rustc == compiler,
        "the committed plugins were built by `{}`, this is `{compiler}`; use the compiler that `rust-toolchain.toml` pins, \
         or run `cargo dev plugins` and commit what it writes",
        committed.rustc
    );
    let target = tempfile::Builder::new().prefix("plugins-check-").tempdir_in(root.join("target"))?;
    let built = build_wasm(&root, &plugins(&root)?, target.path())?;
    let mut stale: Vec<String> = unexpected(&folder, &built)?;
    for (name, bytes) in &built {
        let file = format!("{name}.wasm");
        if !fs::read(folder.join(&file)).is_ok_and(|committed| &committed == bytes) {
            stale.push(file);
        }
    }
    if stale.is_empty() && committed != describe(&root, &built)? {
        stale.push(SOURCES.into());
    }
    ensure!(
        stale.is_empty(),
        "{SHIPPED}: not what the sources give: {}; run `cargo dev plugins` and commit what it writes",
        stale.join(", ")
    );
    println!("{} plugins are what their sources give", built.len());
    Ok(())
}

fn build_native() -> Result<()> {
    let root = root()?;
    let plugins = plugins(&root)?;
    let target = root.join("target/plugins");
    cargo_build(&root, &plugins, &target, None)?;
    for name in &plugins {
        let file = format!("{}{}{}", env::consts::DLL_PREFIX, name.replace('-', "_"), env::consts::DLL_SUFFIX);
        let path = target.join(PROFILE).join(file);
        let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        println!("{name}\t{}\t{}", blake3::hash(&bytes), path.display());
    }
    Ok(())
}

/// The folder of the workspace: cargo's, or the nearest one above the current folder.
fn root() -> Result<PathBuf> {
    let start = env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_dir, |folder| Ok(folder.into()))?;
    let root = start.ancestors().find(|folder| folder.join("plugin-sdk/Cargo.toml").is_file());
    root.map(Path::to_path_buf).context("no CollA checkout here or above; run this inside one")
}

/// Names of the Rust plugins, each with a manifest that the host can read.
fn plugins(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(root.join("plugins"))? {
        let folder = entry?.path();
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
        let manifest: Manifest =
            serde_json::from_str(&text).with_context(|| format!("reading `{}`", path.display()))?;
        ensure!(
            folder.file_name().is_some_and(|name| name == manifest.name.as_str()),
            "`{}` names the plugin `{}`; folder and plugin must have one name",
            path.display(),
            manifest.name
        );
        names.insert(manifest.name);
    }
    Ok(names)
}

/// Builds all plugins for WASM and returns the bytes of each.
fn build_wasm(root: &Path, plugins: &BTreeSet<String>, target: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    ensure_target(root)?;
    cargo_build(root, plugins, target, Some(TARGET))?;
    let folder = target.join(TARGET).join(PROFILE);
    let read = |name: &String| {
        let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
        let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
        Ok((name.clone(), bytes))
    };
    plugins.iter().map(read).collect()
}

fn cargo_build(root: &Path, plugins: &BTreeSet<String>, target: &Path, triple: Option<&str>) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--locked", "--profile", PROFILE, "--target-dir"]).arg(target);
    if let Some(triple) = triple {
        command.args(["--target", triple]);
    }
    command.args(plugins.iter().flat_map(|name| ["-p", name]));
    // What a developer has set for other builds must not reach the bytes.
    for (name, _) in env::vars_os() {
        let foreign = ["RUSTFLAGS", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_INCREMENTAL"];
        if name.to_str().is_some_and(|name| foreign.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, triple)?.join("\u{1f}"));
    let status = command.status().context("starting `cargo`")?;
    ensure!(status.success(), "the plugins do not build ({status}); the compiler's messages stand above");
    Ok(())
}

/// The flags that `.cargo/config.toml` gives the target, and every path prefix that could reach a panic message.
fn rustflags(root: &Path, triple: Option<&str>) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    if let Some(triple) = triple {
        let config: toml::Table = toml::from_str(&fs::read_to_string(root.join(".cargo/config.toml"))?)?;
        let of_target = config.get("target").and_then(|targets| targets.get(triple)?.get("rustflags")?.as_array());
        let of_target = of_target.with_context(|| format!("`.cargo/config.toml` has no flags for `{triple}`"))?;
        flags.extend(of_target.iter().filter_map(|flag| flag.as_str().map(str::to_string)));
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let registries = home.map(|home| home.join("registry/src")).and_then(|folder| fs::read_dir(folder).ok());
    for registry in registries.into_iter().flatten().flatten() {
        flags.push(format!("--remap-path-prefix={}=/registry", registry.path().display()));
    }
    // With the component rust-src the compiler finds its own sources and names their place.
    let library = PathBuf::from(rustc(root, &["--print", "sysroot"])?).join("lib/rustlib/src/rust");
    let verbose = rustc(root, &["-vV"])?;
    let commit = verbose.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    flags.push(format!("--remap-path-prefix={}=/rustc/{commit}", library.display()));
    flags.push(format!("--remap-path-prefix={}=/colla", root.display()));
    Ok(flags)
}

/// Adds the WASM target if the compiler lacks it.
fn ensure_target(root: &Path) -> Result<()> {
    let installed =
        || Ok::<_, anyhow::Error>(Path::new(&rustc(root, &["--print", "target-libdir", "--target", TARGET])?).is_dir());
    if installed()? {
        return Ok(());
    }
    eprintln!("adding the target `{TARGET}` with rustup");
    let advice = "the shipped plugins are committed, so this is needed only to build plugins";
    match Command::new("rustup").current_dir(root).args(["target", "add", TARGET]).status() {
        Ok(status) if status.success() && installed()? => Ok(()),
        Ok(status) => bail!("`rustup target add {TARGET}` failed ({status}); it needs network access once; {advice}"),
        Err(error) => bail!(
            "the compiler lacks the target `{TARGET}` and `rustup` cannot be started ({error}); \
             install rustup, or your system's package of the Rust standard library for {TARGET}; {advice}"
        ),
    }
}

fn rustc(root: &Path, arguments: &[&str]) -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(root).args(arguments).output().context("starting `rustc`")?;
    ensure!(
        output.status.success(),
        "`rustc {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_string())
}

fn describe(root: &Path, built: &BTreeMap<String, Vec<u8>>) -> Result<Sources> {
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
    for section in ["workspace", "profile"] {
        let text = workspace.get(section).map(toml::to_string).transpose()?.unwrap_or_default();
        parts.insert(format!("Cargo.toml [{section}]"), text.into_bytes());
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

/// `.wasm` files in the folder that no plugin gave.
fn unexpected(folder: &Path, built: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".wasm").is_some_and(|plugin| !built.contains_key(plugin)) {
            names.push(name);
        }
    }
    Ok(names)
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
