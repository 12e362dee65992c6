//! Building plugins: one cargo call whose flags are all fixed here.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

pub const TARGET: &str = "wasm32-unknown-unknown";
pub const PROFILE: &str = "plugin";

/// Builds all plugins for WASM and returns the bytes of each.
pub fn build_wasm(root: &Path, plugins: &BTreeSet<String>, target: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
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

pub fn cargo_build(root: &Path, plugins: &BTreeSet<String>, target: &Path, triple: Option<&str>) -> Result<()> {
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
        Ok(status) if status.success() => bail!(
            "rustup has the target `{TARGET}`, but the `rustc` in use is not rustup's and lacks it; unset `RUSTC`, \
             or put rustup's `rustc` first on the path; {advice}"
        ),
        Ok(status) => bail!("`rustup target add {TARGET}` failed ({status}); it needs network access once; {advice}"),
        Err(error) => bail!(
            "the compiler lacks the target `{TARGET}` and `rustup` cannot be started ({error}); \
             install rustup, or your system's package of the Rust standard library for {TARGET}; {advice}"
        ),
    }
}

pub fn rustc(root: &Path, arguments: &[&str]) -> Result<String> {
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
