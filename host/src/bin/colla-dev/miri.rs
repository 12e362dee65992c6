//! `cargo dev miri`: the tests whose unsafe code Miri can follow.
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

pub fn run(root: &Path) -> Result<()> {
    let found = nightly(root).args(["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.with_context(|| format!("Miri needs `rustup`, which cannot be started; then `{INSTALL}`"))?;
    ensure!(found.success(), "Miri is a component of the nightly toolchain and not installed; `{INSTALL}`");
    for (package, filters) in TESTS {
        let mut command = nightly(root);
        let done = command.args(["test", "--locked", "-p", package, "--lib", "--"]).args(filters).status()?;
        ensure!(done.success(), "Miri objects to `{package}` ({done}); what it says stands above");
    }
    Ok(())
}

/// `rustup run` and not `cargo +nightly`: whoever called us, cargo or a script, pinned its own toolchain.
fn nightly(root: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(root).args(["run", "nightly", "cargo", "miri"]);
    command
}
