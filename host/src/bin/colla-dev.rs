//! Developer commands: `cargo dev plugins` builds the shipped plugins, `--check` proves that the committed files are
//! what the sources give, `--native` builds the native libraries; plugins in AssemblyScript are built with Node.js, and
//! `--lang rust` leaves them as they are. `cargo dev strategies` writes `docs/strategies.md` from their manifests. `cargo dev
//! miri` and `cargo dev asan` run the unsafe code of plugin calls under Miri and AddressSanitizer. `cargo dev bench` measures
//! the tasks of `docs/performance.md`, `cargo dev curves` how cost grows; `cargo dev instructions` counts those of the hot
//! paths; `cargo dev batches` tells other programs what to train on.
//!
//! The build is the one that authors use (`colla::plugin::build`), so that the same commit gives the same bytes in every
//! folder.

#[path = "colla-dev/assemblyscript.rs"]
mod assemblyscript;
#[path = "colla-dev/batches.rs"]
mod batches;
#[path = "colla-dev/bench/mod.rs"]
mod bench;
#[path = "colla-dev/curves.rs"]
mod curves;
#[path = "colla-dev/instructions.rs"]
mod instructions;
#[path = "colla-dev/sources.rs"]
mod sources;
#[path = "colla-dev/strategies.rs"]
mod strategies;
#[path = "colla-dev/unsafe_code.rs"]
mod unsafe_code;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use colla::plugin::Manifest;
use colla::plugin::build::{PROFILE, build_wasm, cargo_build, rustc};
use sources::{Sources, asc};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

const SHIPPED: &str = "plugins/shipped";
/// Below it, since the host embeds only the Rust plugins.
const ASSEMBLYSCRIPT: &str = "assemblyscript";
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
        /// Only the plugins in this language; those in AssemblyScript need Node.js
        #[arg(long, value_enum, conflicts_with = "native")]
        lang: Option<Language>,
    },
    /// Write docs/strategies.md from the manifests of the shipped plugins
    Strategies {
        /// Fail if the committed page differs instead
        #[arg(long)]
        check: bool,
    },
    /// Measure how a round's cost grows with clients, cohort and rounds, and print the tables
    Curves,
    /// Count the instructions of the hot paths with Callgrind, beside the committed counts
    Instructions {
        /// Fail if a count differs from the committed one by more than 5 %
        #[arg(long, conflicts_with = "bless")]
        check: bool,
        /// Write the counts to the committed file
        #[arg(long)]
        bless: bool,
        /// Do one piece of the work that is counted
        #[arg(long, hide = true, conflicts_with_all = ["check", "bless"])]
        work: Option<String>,
    },
    /// Interpret the unsafe code of the SDK and of the native loader with Miri, which finds undefined behaviour
    Miri,
    /// Run the tests of the SDK and of the native loader under AddressSanitizer
    Asan,
    /// Measure the tasks of examples/tasks, beside other programs where they are there, and print tables
    Bench(Box<bench::Arguments>),
    /// Print cohort, rows and batch order of a round as JSON lines, without training
    Batches(batches::Arguments),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    #[value(name = "assemblyscript")]
    AssemblyScript,
}

/// What was built in each language: the bytes of each plugin by name.
#[derive(Default)]
pub struct Built {
    rust: Option<BTreeMap<String, Vec<u8>>>,
    assemblyscript: Option<BTreeMap<String, Vec<u8>>>,
}

impl Built {
    /// Builds in the languages asked for; cargo works in `target`, AssemblyScript in an empty folder below it.
    fn new(root: &Path, lang: Option<Language>, target: &Path) -> Result<Self> {
        let mut built = Built::default();
        if lang != Some(Language::AssemblyScript) {
            built.rust = Some(build_wasm(root, &plugins(root)?, target)?);
        }
        if lang != Some(Language::Rust) {
            fs::create_dir_all(target)?;
            let work = tempfile::Builder::new().prefix("assemblyscript-").tempdir_in(target)?;
            let advice = "`--lang rust` leaves the plugins in AssemblyScript as they are";
            built.assemblyscript = Some(assemblyscript::build(root, work.path()).context(advice)?);
        }
        Ok(built)
    }

    /// Place below `plugins/shipped` and bytes of every file.
    fn files(&self) -> BTreeMap<String, &[u8]> {
        let rust = self.rust.iter().flatten().map(|(name, bytes)| (format!("{name}.wasm"), &bytes[..]));
        let other = self.assemblyscript.iter().flatten();
        rust.chain(other.map(|(name, bytes)| (format!("{ASSEMBLYSCRIPT}/{name}.wasm"), &bytes[..]))).collect()
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Plugins { check: true, lang, .. } => check_shipped(lang),
        Task::Plugins { native: true, .. } => build_native(),
        Task::Plugins { lang, .. } => build_shipped(lang),
        Task::Strategies { check } => root().and_then(|root| strategies::run(&root, check)),
        Task::Curves => curves::run(),
        Task::Instructions { work: Some(name), .. } => instructions::work(&name),
        Task::Instructions { check, bless, .. } => {
            let mode = match (check, bless) {
                (true, _) => instructions::Mode::Check,
                (_, true) => instructions::Mode::Bless,
                _ => instructions::Mode::Print,
            };
            root().and_then(|root| instructions::run(&root, &mode))
        }
        Task::Miri => root().and_then(|root| unsafe_code::miri(&root)),
        Task::Asan => root().and_then(|root| unsafe_code::asan(&root)),
        Task::Bench(arguments) => root().and_then(|root| bench::run(&root, &arguments)),
        Task::Batches(arguments) => batches::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build_shipped(lang: Option<Language>) -> Result<()> {
    let root = root()?;
    let built = Built::new(&root, lang, &root.join("target/plugins"))?;
    let folder = root.join(SHIPPED);
    fs::create_dir_all(folder.join(ASSEMBLYSCRIPT))?;
    for (place, bytes) in built.files() {
        fs::write(folder.join(place), bytes)?;
    }
    let before = if folder.join(SOURCES).exists() { committed(&folder)? } else { Sources::default() };
    let sources = before.updated(&root, &built)?;
    let text = format!("# Written by `cargo dev plugins`; do not edit.\n{}", toml::to_string(&sources)?);
    fs::write(folder.join(SOURCES), text)?;
    let rust = built.rust.iter().flat_map(|_| &sources.plugins);
    for (name, source) in rust.chain(built.assemblyscript.iter().flat_map(|_| &sources.assemblyscript)) {
        println!("{name}\t{}\t{} bytes", source.wasm, source.bytes);
    }
    for place in unexpected(&folder, &built)? {
        println!("{SHIPPED}/{place} belongs to no plugin; remove it");
    }
    Ok(())
}

fn check_shipped(lang: Option<Language>) -> Result<()> {
    let root = root()?;
    let folder = root.join(SHIPPED);
    let committed = committed(&folder)?;
    let same = |compiler: &str, ours: String, committed: &str, pinned: &str| {
        ensure!(
            committed == ours,
            "the committed plugins were built by `{compiler}{committed}`, this is `{compiler}{ours}`; use the compiler that \
             `{pinned}` pins, or run `cargo dev plugins` and commit what it writes"
        );
        Ok(())
    };
    if lang != Some(Language::AssemblyScript) {
        same("", rustc(&root, &["-V"])?, &committed.rustc, "rust-toolchain.toml")?;
    }
    if lang != Some(Language::Rust) {
        same("asc ", asc(&root)?, &committed.asc, "package-lock.json")?;
    }
    let target = tempfile::Builder::new().prefix("plugins-check-").tempdir_in(root.join("target"))?;
    let built = Built::new(&root, lang, target.path())?;
    let mut stale: Vec<String> = unexpected(&folder, &built)?;
    let files = built.files();
    for (place, bytes) in &files {
        if !fs::read(folder.join(place)).is_ok_and(|committed| &committed == bytes) {
            stale.push(place.clone());
        }
    }
    let text = toml::to_string(&committed)?;
    if text != toml::to_string(&committed.updated(&root, &built)?)? {
        stale.push(SOURCES.into());
    }
    ensure!(
        stale.is_empty(),
        "{SHIPPED}: not what the sources give: {}; run `cargo dev plugins` and commit what it writes",
        stale.join(", ")
    );
    println!("{} plugins are what their sources give", files.len());
    Ok(())
}

/// What `SOURCES.toml` says.
fn committed(folder: &Path) -> Result<Sources> {
    let text = fs::read_to_string(folder.join(SOURCES))
        .with_context(|| format!("reading `{SHIPPED}/{SOURCES}`; run `cargo dev plugins`"))?;
    toml::from_str(&text).with_context(|| format!("reading `{SHIPPED}/{SOURCES}`"))
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

/// `.wasm` files below `plugins/shipped` that no plugin of the languages built gave.
fn unexpected(folder: &Path, built: &Built) -> Result<Vec<String>> {
    let files = built.files();
    let mut places = Vec::new();
    for (below, built) in [("", built.rust.is_some()), (ASSEMBLYSCRIPT, built.assemblyscript.is_some())] {
        for entry in fs::read_dir(folder.join(below)).into_iter().flatten().filter(|_| built) {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let place = if below.is_empty() { name } else { format!("{below}/{name}") };
            if place.ends_with(".wasm") && !files.contains_key(&place) {
                places.push(place);
            }
        }
    }
    Ok(places)
}
