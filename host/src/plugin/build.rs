//! Building plugins: one cargo call whose flags are all fixed here.
//!
//! Where in the flow: before everything; `plugin build` makes an author's file with it and `cargo dev plugins` the shipped
//! ones. The bytes depend on the sources and the compiler only: the environment's flags are dropped and paths remapped.
//! What it never does: decide where a file goes, or run what it built.

pub mod assemblyscript;

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The target of the WASM form.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// The cargo profile of both forms; a project's or the workspace's `Cargo.toml` defines it. Native libraries are linked
/// without its LTO.
pub const PROFILE: &str = "plugin";

/// Builds all plugins for WASM and returns the bytes of each.
///
/// `root`: the folder of the workspace; `target`: where cargo works. Adds the target with rustup if the compiler lacks it.
/// Errors: [`Kind::Data`] if cargo, rustc or the target is missing, [`Kind::Config`] if `.cargo/config.toml` gives no flags,
/// [`Kind::PluginRefused`] if a plugin does not build.
pub fn build_wasm(root: &Path, plugins: &BTreeSet<String>, target: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    ensure_target(root)?;
    cargo_build(root, plugins, target, Some(TARGET))?;
    let folder = target.join(TARGET).join(PROFILE);
    let read = |name: &String| {
        let path = folder.join(format!("{}.wasm", name.replace('-', "_")));
        let absent = |error| {
            let advice = "a plugin's `Cargo.toml` has `crate-type = [\"cdylib\"]` under `[lib]`";
            Fault::new(Kind::PluginRefused, format!("building plugins: `{}`: {error}; {advice}", path.display()))
        };
        Ok((name.clone(), fs::read(&path).map_err(absent)?))
    };
    plugins.iter().map(read).collect()
}

/// Builds all plugins for a target, or natively. Cargo's messages go to standard error. Errors: as [`build_wasm`].
pub fn cargo_build(root: &Path, plugins: &BTreeSet<String>, target: &Path, triple: Option<&str>) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--locked", "--profile", PROFILE, "--target-dir"]).arg(target);
    match triple {
        Some(triple) => command.args(["--target", triple]),
        // It makes a WASM file small, and would take four fifths of the time that all native libraries need.
        None => command.args(["--config", &format!("profile.{PROFILE}.lto=false")]),
    };
    for name in plugins {
        command.arg("-p").arg(member(name));
    }
    // What a developer has set for other builds must not reach the bytes.
    for (name, _) in env::vars_os() {
        let foreign = ["RUSTFLAGS", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_INCREMENTAL"];
        if name.to_str().is_some_and(|name| foreign.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, triple)?.join("\u{1f}"));
    let status = command.status().map_err(|error| missing("cargo", &error))?;
    let what = if plugins.len() == 1 { "the plugin does" } else { "the plugins do" };
    let failed = || format!("building plugins: {what} not build ({status}); the compiler's messages stand above");
    if status.success() { Ok(()) } else { Err(Fault::new(Kind::PluginRefused, failed())) }
}

/// The member of the workspace with this name. As a pattern: a plain name may as well mean a dependency, such as `half`.
fn member(name: &str) -> String {
    let (first, rest) = name.split_at_checked(1).unwrap_or((name, ""));
    format!("[{first}]{rest}")
}

/// The flags that `.cargo/config.toml` gives the target, and every path prefix that could reach a panic message.
fn rustflags(root: &Path, triple: Option<&str>) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    if let Some(triple) = triple {
        let wrong = |problem: &dyn std::fmt::Display| {
            Fault::new(Kind::Config, format!("building plugins: `.cargo/config.toml`: {problem}"))
        };
        let text = fs::read_to_string(root.join(".cargo/config.toml")).map_err(|error| wrong(&error))?;
        let config: toml::Table = toml::from_str(&text).map_err(|error| wrong(&error))?;
        let of_target = config.get("target").and_then(|targets| targets.get(triple)?.get("rustflags")?.as_array());
        let of_target = of_target.ok_or_else(|| wrong(&format!("it has no list `target.{triple}.rustflags`")))?;
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
    let unavailable = |problem: String| Err(Fault::new(Kind::Data, format!("building plugins: {problem}")));
    match Command::new("rustup").current_dir(root).args(["target", "add", TARGET]).status() {
        Ok(status) if status.success() && installed()? => Ok(()),
        Ok(status) if status.success() => unavailable(format!(
            "rustup has the target `{TARGET}`, but the `rustc` in use is not rustup's and lacks it; unset `RUSTC`, \
             or put rustup's `rustc` first on the path"
        )),
        Ok(status) => {
            unavailable(format!("`rustup target add {TARGET}` failed ({status}); it needs network access once"))
        }
        Err(error) => unavailable(format!(
            "the compiler lacks the target `{TARGET}` and `rustup` cannot be started ({error}); \
             install rustup, or your system's package of the Rust standard library for {TARGET}"
        )),
    }
}

fn missing(program: &str, error: &std::io::Error) -> anyhow::Error {
    let advice = "install Rust with rustup, see https://rustup.rs";
    Fault::new(Kind::Data, format!("building plugins: `{program}` cannot be started ({error}); {advice}"))
}

/// What the compiler of the folder `root` prints. Errors: [`Kind::Data`] if it cannot be started or refuses.
pub fn rustc(root: &Path, arguments: &[&str]) -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(root).args(arguments).output();
    let output = output.map_err(|error| missing("rustc", &error))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let problem = format!("building plugins: `rustc {}` failed: {}", arguments.join(" "), told.trim());
        return Err(Fault::new(Kind::Data, problem));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_string())
}
