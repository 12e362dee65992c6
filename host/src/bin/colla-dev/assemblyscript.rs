//! The AssemblyScript plugins: every folder of `plugins/` with `assembly/index.ts`, each built as an author's project is.

use anyhow::{Context, Result};
use colla::plugin::build::assemblyscript::{compile, install};
use std::{collections::BTreeMap, fs, path::Path};

const SDK: &str = "plugin-sdk/assemblyscript";

/// Builds all of them below the empty folder `work` and returns the bytes of each.
pub fn build(root: &Path, work: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let (sdk, project) = (root.join(SDK), root.join(SDK).join("templates/project"));
    copy(&sdk.join("assembly"), &work.join("sdk/assembly"))?;
    copy(&sdk.join("transform.mjs"), &work.join("sdk/transform.mjs"))?;
    copy(&sdk.join("templates/sdk/package.json"), &work.join("sdk/package.json"))?;
    for file in ["package.json", "package-lock.json"] {
        fill(&project.join(file), &work.join(file), "colla-plugins")?;
    }
    install(work)?;
    let mut built = BTreeMap::new();
    for entry in fs::read_dir(root.join("plugins"))? {
        let entry = entry?;
        if !entry.path().join("assembly/index.ts").is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let folder = work.join(&name);
        copy(&entry.path().join("assembly"), &folder.join("assembly"))?;
        copy(&entry.path().join("manifest.json"), &folder.join("manifest.json"))?;
        fill(&project.join("asconfig.json"), &folder.join("asconfig.json"), &name)?;
        let bytes = compile(&folder, work, &name).with_context(|| format!("plugins/{name}"))?;
        built.insert(name, bytes);
    }
    Ok(built)
}

/// Copies a file or a folder; missing parent folders are made.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to).with_context(|| format!("copying `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}

/// Copies a template with the name filled in.
fn fill(from: &Path, to: &Path, name: &str) -> Result<()> {
    let text = fs::read_to_string(from).with_context(|| format!("reading `{}`", from.display()))?;
    fs::write(to, text.replace("{{name}}", name)).with_context(|| format!("writing `{}`", to.display()))
}
