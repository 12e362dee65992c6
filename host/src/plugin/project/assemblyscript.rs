//! A project in AssemblyScript: its files, and how it is built.
//!
//! Where in the flow: below [`super`], which chooses the language.

use super::templates::assemblyscript::{COMMON, SDK, TEMPLATES, Template};
use crate::plugin::build::assemblyscript;
use anyhow::Result;
use std::path::Path;

/// Packages that every project installs, and npm's own folder.
const TAKEN: [&str; 5] = ["assemblyscript", "binaryen", "colla-plugin-sdk", "long", "node_modules"];

pub fn kinds() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.kind)
}

/// Errors: why no package can have this name.
pub fn check_name(name: &str) -> Result<(), String> {
    match TAKEN.contains(&name) {
        true => Err("a package that every plugin is built from has this name; choose another one".into()),
        false => Ok(()),
    }
}

/// Place and content of every file; `None` for an unknown kind.
pub fn files(name: &str, kind: &str) -> Option<Vec<(&'static str, String)>> {
    let template = TEMPLATES.iter().find(|template| template.kind == kind)?;
    let filled = |text: &str| text.replace("{{name}}", name).replace("{{role}}", kind.trim_end_matches("-rows"));
    let Template { manifest, source, test, .. } = template;
    let own = [("manifest.json", *manifest), ("assembly/index.ts", *source), ("tests/plugin.test.mjs", *test)];
    let mut files: Vec<_> = COMMON.iter().chain(&own).map(|(place, text)| (*place, filled(text))).collect();
    files.extend(SDK.iter().map(|(place, text)| (*place, (*text).to_owned())));
    Some(files)
}

/// The name of the package. Errors: what is wrong with `package.json`.
pub fn package_name(package_json: &str) -> Result<String, String> {
    let package: serde_json::Value =
        serde_json::from_str(package_json).map_err(|error| format!("`package.json` is no JSON: {error}"))?;
    let name = package.get("name").and_then(serde_json::Value::as_str);
    name.map(str::to_owned).ok_or_else(|| "`package.json` has no `name`".into())
}

/// The bytes of the built plugin. Errors: as [`assemblyscript::install`] and [`assemblyscript::compile`].
pub fn build(root: &Path, name: &str) -> Result<Vec<u8>> {
    assemblyscript::install(root)?;
    assemblyscript::compile(root, root, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::PathBuf};

    fn sdk() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-sdk/assemblyscript")
    }

    #[test]
    fn the_embedded_sdk_is_the_whole_sdk_less_its_tests() {
        fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.extend([path]) }
            }
        }
        let mut found = BTreeSet::from([sdk().join("transform.mjs")]);
        ["assembly", "testing"].iter().for_each(|folder| walk(&sdk().join(folder), &mut found));
        let embedded = SDK.iter().map(|(place, _)| sdk().join(place.trim_start_matches("sdk/"))).collect();
        assert_eq!(found, embedded);
    }

    #[test]
    fn projects_and_the_sdks_own_tests_have_one_compiler_and_the_lock_files_name_no_registry() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let own = fs::read_to_string(sdk().join("package-lock.json")).unwrap();
        let lock = COMMON.iter().find(|(place, _)| *place == "package-lock.json").unwrap().1;
        for package in ["assemblyscript", "binaryen", "long"] {
            let entry = |text: &str| json(text)["packages"][format!("node_modules/{package}")].clone();
            assert!(entry(lock)["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-")), "{package}");
            assert_eq!(entry(lock), entry(&own), "{package}");
        }
        for text in [lock, &own] {
            for (place, package) in json(text)["packages"].as_object().unwrap() {
                let resolved = package.get("resolved").map(|at| at.as_str().unwrap().to_owned());
                assert!(resolved.is_none_or(|at| at == "sdk"), "{place}");
            }
        }
        let sdk_package = fs::read_to_string(sdk().join("package.json")).unwrap();
        let standalone = COMMON.iter().find(|(place, _)| *place == "sdk/package.json").unwrap().1;
        for field in ["name", "version", "license", "type", "exports"] {
            assert_eq!(json(&sdk_package)[field], json(standalone)[field], "{field}");
        }
    }
}
