//! `cargo dev miri` and `cargo dev asan`: the tests of unsafe code, run by tools that see more than results.
//!
//! Miri interprets them and objects to any undefined behaviour that it meets; AddressSanitizer runs machine code, all tests of
//! the packages with it, and objects to memory that is out of bounds, freed or leaked.
//!
//! Where in the flow: beside the usual tests, which run the same code at full speed and see only its results. What it
//! never does: install anything; it says what is missing.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

const INSTALL: &str = "rustup toolchain install nightly --profile minimal --component miri --component rust-src";

/// Package and the tests of it that touch unsafe code. Others would only take minutes: Miri is a thousand times slower.
const TESTS: [(&str, &[&str]); 2] = [
    ("colla-plugin-sdk", &["tests::glue", "tests::vectors::filled"]),
    // The host's own files without the rest of the host, which neither Miri nor anybody's patience could compile.
    ("colla-native-loader", &["native::tests"]),
];

/// What AddressSanitizer is built for: Rust has it for few targets.
const SANITIZED: &str = "x86_64-unknown-linux-gnu";

pub fn miri(root: &Path) -> Result<()> {
    installed(root, &["cargo", "miri", "--version"], "Miri is a component of the nightly toolchain")?;
    for (package, filters) in TESTS {
        let mut command = nightly(root, &["cargo", "miri", "test", "--locked", "-p", package, "--lib", "--"]);
        let done = command.args(filters).status()?;
        ensure!(done.success(), "Miri objects to `{package}` ({done}); what it says stands above");
    }
    Ok(())
}

pub fn asan(root: &Path) -> Result<()> {
    let host = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    ensure!(host, "AddressSanitizer runs here on {SANITIZED} alone; this is another system");
    installed(root, &["cargo", "--version"], "AddressSanitizer needs the nightly toolchain")?;
    // In a folder of their own, and for a named target: what the compiler itself loads must not be instrumented.
    let mut command = nightly(root, &["cargo", "test", "--locked", "--lib", "--target-dir", "target/asan"]);
    command.args(["--target", SANITIZED]).env("RUSTFLAGS", "-Zsanitizer=address");
    let done = command.args(TESTS.iter().flat_map(|(package, _)| ["-p", package])).status()?;
    ensure!(done.success(), "a test failed, or AddressSanitizer objects ({done}); what it says stands above");
    Ok(())
}

/// That `probe` runs by the nightly toolchain.
fn installed(root: &Path, probe: &[&str], what: &str) -> Result<()> {
    let found = nightly(root, probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.with_context(|| format!("{what}, for which `rustup` cannot be started; then `{INSTALL}`"))?;
    ensure!(found.success(), "{what} and is not installed; `{INSTALL}`");
    Ok(())
}

/// `rustup run` and not `cargo +nightly`: whoever called us, cargo or a script, pinned its own toolchain.
fn nightly(root: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(root).args(["run", "nightly"]).args(program);
    command
}
