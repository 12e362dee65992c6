//! Developer commands: `cargo dev plugins` builds the shipped plugins, `--check` proves that the committed files are
//! what the sources give, `--native` builds the native libraries; `cargo dev miri` runs the unsafe code of plugin calls
//! under Miri.
//!
//! The build is the one that authors use (`colla::plugin::build`), so that the same commit gives the same bytes in every
//! folder.

#[path = "colla-dev/miri.rs"]
mod miri;
#[path = "colla-dev/sources.rs"]
mod sources;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use colla::plugin::Manifest;
use colla::plugin::build::{PROFILE, build_wasm, cargo_build, rustc};
use sources::{Sources, describe};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

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
    /// Build every plugin to plugins/shipped/NAME.wasm and write SOURCES.toml beside them
    Plugins {
        /// Rebuild from nothing in a temporary folder and fail if a committed file differs
        #[arg(long, conflicts_with = "native")]
        check: bool,
        /// Build native libraries instead and print name, BLAKE3 and path of each, separated by tabs
        #[arg(long)]
        native: bool,
    },
    /// Interpret the unsafe code of the SDK and of the native loader with Miri, which finds undefined behaviour
    Miri,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Plugins { check: true, .. } => check_shipped(),
        Task::Plugins { native: true, .. } => build_native(),
        Task::Plugins { .. } => build_shipped(),
        Task::Miri => root().and_then(|root| miri::run(&root)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    if committed != describe(&root, &built)? {
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
