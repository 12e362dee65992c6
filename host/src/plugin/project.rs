//! A plugin author's project: a folder that builds by itself, from templates that are compiled in.
//!
//! Where in the flow: before everything; `plugin new` writes a project and `plugin build` makes its `.wasm` file.
//! What it never does: overwrite a file that it did not make, or need a checkout of this repository.

mod assemblyscript;
mod templates;

use super::{Manifest, build, manifest::check_name};
use crate::error::{Fault, Kind, did_you_mean};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use templates::{COMMON, LOCK, SDK, TEMPLATES, Template};

/// Crate names that the compiler keeps for itself, and keywords, which cannot name a crate either.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
    false final fn for gen if impl in let loop macro match mod move mut override priv proc_macro pub ref return self \
    static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";

/// What a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    AssemblyScript,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::Rust, Language::AssemblyScript];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::AssemblyScript => "assemblyscript",
        }
    }

    /// The file that holds the method.
    pub fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            Language::AssemblyScript => "assembly/index.ts",
        }
    }

    fn kinds(self) -> Vec<&'static str> {
        match self {
            Language::Rust => kinds().collect(),
            Language::AssemblyScript => assemblyscript::kinds().collect(),
        }
    }
}

/// The kinds of project that [`create`] can write.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.kind)
}

/// Writes a complete project for a plugin of the given name to `folder`, which must be new or empty.
///
/// Errors: [`Kind::Usage`] for a name that no plugin can have or an unknown kind, [`Kind::Io`] if the folder holds
/// something or cannot be written.
pub fn create(name: &str, kind: &str, language: Language, folder: &Path) -> Result<()> {
    check_project_name(name, language)
        .map_err(|problem| Fault::new(Kind::Usage, format!("new plugin `{name}`: {problem}")))?;
    let files = match language {
        Language::Rust => files(name, kind),
        Language::AssemblyScript => assemblyscript::files(name, kind),
    };
    let files = files.ok_or_else(|| {
        let near = did_you_mean(kind, language.kinds());
        let (list, language) = (language.kinds().join(", "), language.name());
        let problem = format!("there is no kind `{kind}` in the language `{language}`{near}; available: {list}");
        Fault::new(Kind::Usage, format!("new plugin `{name}`: {problem}"))
    })?;
    let unwritten = |problem: String| {
        Fault::new(Kind::Io, format!("new plugin `{name}`: the folder `{}` {problem}", folder.display()))
    };
    let holds_something = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(unwritten(format!("cannot be used: {error}"))),
    };
    if holds_something {
        return Err(unwritten("is not empty; name another one with `--dir`".into()));
    }
    for (place, content) in files {
        let path = folder.join(place);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        written.map_err(|error| unwritten(format!("cannot be written: `{place}`: {error}")))?;
    }
    Ok(())
}

/// A plugin that was built from its project.
#[derive(Clone, Debug)]
pub struct Built {
    pub file: PathBuf,
    pub bytes: usize,
    /// Hex.
    pub blake3: String,
}

/// Builds the project in `folder` for WASM and writes `NAME.wasm` into it. `target`: where cargo works, for a project in
/// Rust; default `folder/target`.
///
/// Errors: [`Kind::Config`] if the folder is no project or its manifest is wrong, [`Kind::Io`] if the file cannot be
/// written, else as [`build::build_wasm`] and [`build::assemblyscript`].
pub fn build_project(folder: &Path, target: Option<&Path>) -> Result<Built> {
    let no_project =
        |problem: String| Fault::new(Kind::Config, format!("building the plugin in `{}`: {problem}", folder.display()));
    let root = folder.canonicalize().map_err(|error| {
        no_project(format!("the folder cannot be read: {error}; name one that `colla-host plugin new` wrote"))
    })?;
    let read = |place: &str| {
        fs::read_to_string(root.join(place)).map_err(|error| {
            let advice = "name a folder that `colla-host plugin new` wrote";
            no_project(format!("`{place}` cannot be read ({error}); {advice}"))
        })
    };
    let language = language_of(&root).map_err(&no_project)?;
    let (place, package) = match language {
        Language::Rust => {
            read(".cargo/config.toml")?;
            ("Cargo.toml", package_name(&read("Cargo.toml")?))
        }
        Language::AssemblyScript => ("package.json", assemblyscript::package_name(&read("package.json")?)),
    };
    let package = package.map_err(&no_project)?;
    // Now, and not after a minute of compiling.
    let manifest =
        Manifest::parse(&read("manifest.json")?).map_err(|problem| no_project(problem.replacen("its ", "the ", 1)))?;
    if package != manifest.name {
        let names = format!("`{place}` names the package `{package}`, `manifest.json` the plugin `{}`", manifest.name);
        return Err(no_project(format!("{names}; give both one name")));
    }
    let bytes = match language {
        Language::Rust => {
            let own = root.join("target");
            let mut built = build::build_wasm(&root, &BTreeSet::from([package.clone()]), target.unwrap_or(&own))?;
            built.remove(&package).unwrap_or_default()
        }
        Language::AssemblyScript => assemblyscript::build(&root, &package)?,
    };
    let file = folder.join(format!("{package}.wasm"));
    fs::write(&file, &bytes).map_err(|e| Fault::new(Kind::Io, format!("writing `{}`: {e}", file.display())))?;
    Ok(Built { file, bytes: bytes.len(), blake3: blake3::hash(&bytes).to_hex().to_string() })
}

/// What the settings of its compiler say. A folder without any is taken for Rust, whose files are then missed by name.
fn language_of(root: &Path) -> Result<Language, String> {
    match (root.join("Cargo.toml").is_file(), root.join("asconfig.json").is_file()) {
        (true, true) => Err("it has a `Cargo.toml` and an `asconfig.json`; keep one language to a folder".into()),
        (false, true) => Ok(Language::AssemblyScript),
        (_, false) => Ok(Language::Rust),
    }
}

fn package_name(cargo_toml: &str) -> Result<String, String> {
    let table: toml::Table = toml::from_str(cargo_toml).map_err(|error| format!("`Cargo.toml` is no TOML: {error}"))?;
    let name = table.get("package").and_then(|package| package.get("name")?.as_str());
    name.map(str::to_owned).ok_or_else(|| "`Cargo.toml` has no `package.name`".into())
}

fn check_project_name(name: &str, language: Language) -> Result<(), String> {
    check_name("name", name)?;
    if language == Language::AssemblyScript {
        return assemblyscript::check_name(name);
    }
    if TAKEN.split_whitespace().any(|taken| taken == name.replace('-', "_")) {
        return Err("the compiler uses this name itself; choose another one".into());
    }
    match lock_entries().any(|entry| entry_name(entry) == name.replace('_', "-") || entry_name(entry) == name) {
        true => Err("a package that every plugin is built from has this name; choose another one".into()),
        false => Ok(()),
    }
}

/// Place and content of every file; `None` for an unknown kind.
fn files(name: &str, kind: &str) -> Option<Vec<(&'static str, String)>> {
    let template: &Template = TEMPLATES.iter().find(|template| template.kind == kind)?;
    let role = template.kind.trim_end_matches("-rows").trim_end_matches("-gram");
    let filled = |text: &str| text.replace("{{name}}", name).replace("{{role}}", role);
    let mut files: Vec<(&str, String)> = COMMON.iter().map(|(place, text)| (*place, filled(text))).collect();
    files.push(("Cargo.lock", lock(name)));
    files.push(("manifest.json", filled(template.manifest)));
    files.push(("src/lib.rs", template.source.into()));
    files.extend(SDK.iter().map(|(place, text)| (*place, (*text).to_owned())));
    Some(files)
}

/// The lock file with the project's own entry, in cargo's order: with `--locked` cargo accepts no other.
fn lock(name: &str) -> String {
    let head = LOCK.split("[[package]]\n").next().unwrap_or_default();
    let mut entries: Vec<String> = LOCK
        .split("[[package]]\n")
        .skip(1)
        .map(|entry| format!("[[package]]\n{}\n", entry.replace("{{name}}", name).trim_end()))
        .collect();
    // Stable, so that versions of one package stay in their order.
    entries.sort_by_key(|entry| entry_name(entry).to_owned());
    format!("{head}{}", entries.join("\n"))
}

fn lock_entries() -> impl Iterator<Item = &'static str> {
    LOCK.split("[[package]]\n").skip(1)
}

fn entry_name(entry: &str) -> &str {
    entry.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    fn table(text: &str) -> toml::Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_embedded_sdk_is_the_whole_sdk_less_its_tests() {
        fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() { walk(&path, found) } else { found.extend([path]) }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-sdk/src");
        let mut found = BTreeSet::new();
        walk(&root, &mut found);
        found.retain(|path| !path.starts_with(root.join("tests")));
        let embedded = SDK.iter().map(|(place, _)| root.join(place.trim_start_matches("sdk/src/"))).collect();
        assert_eq!(found, embedded);
    }

    #[test]
    fn a_project_has_the_versions_features_and_profile_of_this_workspace() {
        let (workspace, sdk) = (table(&repository("Cargo.toml")), table(&repository("plugin-sdk/Cargo.toml")));
        let project = table(COMMON[0].1);
        let standalone = table(COMMON.iter().find(|(place, _)| *place == "sdk/Cargo.toml").unwrap().1);
        assert_eq!(project["profile"]["plugin"], workspace["profile"]["plugin"]);
        assert_eq!(standalone["features"], sdk["features"]);
        for field in ["version", "edition", "rust-version", "license"] {
            assert_eq!(standalone["package"][field], workspace["workspace"]["package"][field], "{field}");
        }
        let dependencies = sdk["dependencies"].as_table().unwrap();
        assert!(dependencies.keys().eq(standalone["dependencies"].as_table().unwrap().keys()));
        for name in dependencies.keys() {
            let (ours, shared) = (&standalone["dependencies"][name], &workspace["workspace"]["dependencies"][name]);
            let version = |spec: &toml::Value| spec.get("version").unwrap_or(spec).clone();
            assert_eq!(version(ours), version(shared), "{name}");
            assert_eq!(ours.get("features"), shared.get("features"), "{name}");
        }
        let toolchain = COMMON.iter().find(|(place, _)| *place == "rust-toolchain.toml").unwrap().1;
        assert_eq!(table(toolchain), table(&repository("rust-toolchain.toml")));
        let flags = |text: &str| table(text)["target"][build::TARGET].clone();
        let config = COMMON.iter().find(|(place, _)| *place == ".cargo/config.toml").unwrap().1;
        assert_eq!(flags(config), flags(&repository(".cargo/config.toml")));
    }

    #[test]
    fn the_lock_file_holds_this_workspaces_versions_and_the_project_in_its_place() {
        let ours = repository("Cargo.lock");
        for entry in lock_entries().filter(|entry| entry.contains("checksum")) {
            let identity = entry.lines().take(4).collect::<Vec<_>>().join("\n");
            assert!(ours.contains(&identity), "not locked here:\n{identity}");
        }
        for name in ["a", "m", "zz"] {
            let lock = lock(name);
            let names: Vec<&str> = lock.split("[[package]]\n").skip(1).map(entry_name).collect();
            assert!(names.contains(&name) && names.is_sorted(), "{names:?}");
            assert_eq!(lock.len() + "{{name}}".len() - name.len(), LOCK.len());
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused_with_the_reason() {
        let refused = |name: &str, words: &str| {
            let error = create(name, "client", Language::Rust, Path::new("never-made")).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(crate::error::exit_code(&error), 2);
        };
        refused("Krum", "use 1 to 64 lower-case letters");
        refused("", "a letter first");
        refused("../krum", "lower-case letters");
        refused("match", "the compiler uses this name itself");
        refused("proc-macro", "the compiler uses this name itself");
        refused("serde_json", "every plugin is built from");
        assert!(!Path::new("never-made").exists());
        let error = create("krum", "agregate", Language::Rust, Path::new("never-made")).unwrap_err();
        assert!(error.to_string().contains("did you mean `aggregate`?"), "{error}");
    }
}
