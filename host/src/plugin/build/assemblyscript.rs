//! Building AssemblyScript plugins: `npm ci` once, then one call of the compiler, whose settings stand in `asconfig.json`.
//!
//! Where in the flow: as [`super`], for projects in the other language. The bytes depend on the project's files and the
//! locked packages only: the compiler is itself a program for Node.js that brings its own optimizer.
//! What it never does: run what a package wants to run when it is installed, or what it built.

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::{
    fs,
    io::{self, stderr},
    path::Path,
    process::{Command, Stdio},
};

/// The compiler in a folder of packages.
const COMPILER: &str = "node_modules/assemblyscript/bin/asc.js";
/// On Windows a script, which must be called by its whole name.
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

/// Installs what the lock file of `folder` names, unless that was done before. Messages of npm go to standard error.
///
/// Errors: [`Kind::Data`] if npm cannot be started or fails.
pub fn install(folder: &Path) -> Result<()> {
    if folder.join(COMPILER).is_file() {
        return Ok(());
    }
    eprintln!("fetching the AssemblyScript compiler with `npm ci`");
    let mut npm = Command::new(NPM);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    let status = npm.current_dir(folder).stdout(Stdio::from(stderr())).status();
    match status.map_err(|error| missing(NPM, &error))? {
        status if status.success() && folder.join(COMPILER).is_file() => Ok(()),
        status => Err(Fault::new(
            Kind::Data,
            format!(
                "building plugins: `npm ci` failed in `{}` ({status}); its messages stand above, and it needs network \
                 access once",
                folder.display()
            ),
        )),
    }
}

/// Compiles the project in `folder` to `NAME.wasm` in it and returns the bytes. `packages`: the folder that was given to
/// [`install`], the project's own or one above it. Messages of the compiler go to standard error.
///
/// Errors: [`Kind::Data`] if Node.js cannot be started, [`Kind::PluginRefused`] if the plugin does not compile.
pub fn compile(folder: &Path, packages: &Path, name: &str) -> Result<Vec<u8>> {
    let file = format!("{name}.wasm");
    let mut node = Command::new("node");
    node.arg(packages.join(COMPILER)).args(["assembly/index.ts", "--target", "release", "--outFile", &file]);
    // What a developer has set for other programs must not reach the bytes.
    node.env_remove("NODE_OPTIONS").current_dir(folder).stdout(Stdio::from(stderr()));
    let status = node.status().map_err(|error| missing("node", &error))?;
    if !status.success() {
        let problem = format!("the plugin does not compile ({status}); the compiler's messages stand above");
        return Err(Fault::new(Kind::PluginRefused, format!("building plugins: {problem}")));
    }
    let path = folder.join(file);
    fs::read(&path).map_err(|error| {
        Fault::new(Kind::PluginRefused, format!("building plugins: reading `{}`: {error}", path.display()))
    })
}

fn missing(program: &str, error: &io::Error) -> anyhow::Error {
    let advice = "AssemblyScript plugins are built with Node.js 20 or newer and its npm, see https://nodejs.org";
    Fault::new(Kind::Data, format!("building plugins: `{program}` cannot be started ({error}); {advice}"))
}
