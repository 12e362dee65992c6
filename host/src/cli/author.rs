//! `colla-host plugin new` and `plugin build`: a plugin of one's own.

use super::{
    arguments::{BuildArguments, NewArguments},
    print,
};
use crate::{
    plugin::project::{self, Built},
    record::{bytes, count},
};
use anyhow::Result;
use std::env;

pub(super) fn new(arguments: &NewArguments) -> Result<()> {
    let folder = arguments.dir.clone().unwrap_or_else(|| arguments.name.clone().into());
    project::create(&arguments.name, &arguments.kind, &folder)?;
    let (name, folder) = (&arguments.name, folder.display());
    print(&format!(
        "wrote {folder}: the method is src/lib.rs, its name and parameters are manifest.json\n\
         next  colla-host plugin build {folder}\n\
         then  colla-host --plugin {folder}/{name}.wasm\n"
    ))
}

pub(super) fn build(arguments: &BuildArguments) -> Result<()> {
    // The author's own variable, as cargo would take it; the build itself takes none.
    let target = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    // Cargo runs in the project's folder, the variable is meant from here.
    let target = target.map(|folder| env::current_dir().map(|here| here.join(folder))).transpose()?;
    print(&told(&project::build_project(&arguments.dir, target.as_deref())?))
}

fn told(built: &Built) -> String {
    let file = built.file.display();
    let size = format!("{} ({} bytes)", bytes(built.bytes as u64), count(built.bytes as u64));
    let line = |name: &str, value: &str| format!("{name:<8}{value}\n");
    line("built", &file.to_string())
        + &line("size", &size)
        + &line("blake3", &built.blake3)
        + &line("run", &format!("colla-host --plugin {file}"))
}
