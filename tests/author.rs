//! An author's way: a new project builds, keeps the laws of its role and runs, with the binary alone.

use super::support::{Finished, Lab, has_npm, small};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every kind of project.
const KINDS: [&str; 11] = [
    "client",
    "normalize",
    "compress",
    "aggregate",
    "aggregate-rows",
    "aggregate-gram",
    "mix",
    "attack",
    "post",
    "server-step",
    "select",
];

/// One build folder for all generated projects: their common dependencies are compiled once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors")
}

/// Runs a program in a folder of the lab, or another if it is absolute, as an author would outside this repository.
pub fn in_lab(lab: &Lab, program: &str, folder: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(lab.path().join(folder)).env("CARGO_TARGET_DIR", target());
    // The project's own toolchain file and flags must do; what cargo set for this test must not help or hinder.
    for (name, _) in std::env::vars_os() {
        let word = name.to_string_lossy();
        if word.starts_with("CARGO_") && word != "CARGO_HOME" && word != "CARGO_TARGET_DIR" || word == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    command.env("CARGO_NET_OFFLINE", "true");
    Finished::from(command.output().expect("the program starts"))
}

pub fn colla(lab: &Lab, folder: &str, arguments: &[&str]) -> Finished {
    in_lab(lab, env!("CARGO_BIN_EXE_colla-host"), folder, arguments)
}

/// A new project of a kind, built and tested as its author would.
struct Project {
    kind: &'static str,
    /// The built file, absolute.
    file: PathBuf,
    hash: String,
    /// What its own tests came to.
    tested: Finished,
}

impl Project {
    fn file(&self) -> &str {
        self.file.to_str().expect("a path in UTF-8")
    }
}

/// Makes projects of one language one after the other at one place. What is the same for every kind, the SDK and the packages
/// that its lock file names, goes from each to the next once they were compared: so cargo compiles, and npm installs, it once.
struct Bench<'a> {
    lab: &'a Lab,
    language: &'static str,
    /// The lock file of the project before, less its name.
    locked: Option<String>,
}

impl<'a> Bench<'a> {
    /// Where each project lies while it is built, and the two folders that go on to the next.
    const PLACE: &'static str = "project";
    const KEPT: [&'static str; 2] = ["sdk", "node_modules"];

    fn new(lab: &'a Lab, language: &'static str) -> Self {
        Bench { lab, language, locked: None }
    }

    /// A new project of this kind, built by `plugin build`; `test` runs its tests, given its folder.
    fn project(&mut self, kind: &'static str, test: impl FnOnce(&str) -> Finished) -> Project {
        let place = self.lab.path().join(Self::PLACE);
        let name = format!("my-{kind}");
        let arguments = ["plugin", "new", &name, "--kind", kind, "--lang", self.language, "--dir", Self::PLACE];
        let made = colla(self.lab, ".", &arguments);
        assert_eq!(made.code, 0, "{}", made.stderr);
        self.take_over(&place, &name);
        let built = colla(self.lab, ".", &["plugin", "build", Self::PLACE]);
        assert_eq!(built.code, 0, "{kind}: {}", built.stderr);
        let file = format!("{}/{name}.wasm", Self::PLACE);
        let hash = blake3::hash(&std::fs::read(self.lab.path().join(&file)).expect("the built file")).to_hex();
        for part in [file.as_str(), hash.as_str(), &format!("colla-host --plugin {file}")] {
            assert!(built.stdout.contains(part), "`{part}` is not in\n{}", built.stdout);
        }
        let tested = test(Self::PLACE);
        let file = self.put_away(&place, kind).join(format!("{name}.wasm"));
        Project { kind, file, hash: hash.to_string(), tested }
    }

    /// Exchanges what the new project has in common with the last one for the last one's.
    fn take_over(&mut self, place: &Path, name: &str) {
        let lock = ["Cargo.lock", "package-lock.json"].map(|file| std::fs::read_to_string(place.join(file)));
        let lock = lock.into_iter().find_map(Result::ok).expect("a lock file");
        // In order of the lines, since Cargo.lock has the project where its name stands in the alphabet.
        let mut lines: Vec<&str> = lock.split('\n').filter(|line| !line.contains(&format!("\"{name}\""))).collect();
        lines.sort_unstable();
        let locked = lines.join("\n");
        if let Some(last) = self.locked.replace(locked.clone()) {
            assert_eq!(locked, last, "the lock file of `{name}` and of the project before");
            let kept = |folder: &str| self.lab.path().join(folder);
            assert!(contents(&place.join("sdk")) == contents(&kept("sdk")), "`{name}` has another SDK");
            std::fs::remove_dir_all(place.join("sdk")).expect("its own SDK goes");
            for folder in Self::KEPT.into_iter().filter(|folder| kept(folder).exists()) {
                std::fs::rename(kept(folder), place.join(folder)).expect("the last project's folder comes");
            }
        }
    }

    /// Frees the place for the next project; returns where this one is now.
    fn put_away(&self, place: &Path, kind: &str) -> PathBuf {
        for folder in Self::KEPT.into_iter().filter(|folder| place.join(folder).exists()) {
            std::fs::rename(place.join(folder), self.lab.path().join(folder)).expect("the folder stays for the next");
        }
        let away = self.lab.path().join(format!("{}-{kind}", self.language));
        std::fs::rename(place, &away).expect("the project goes");
        away
    }
}

/// Place and content of every file below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(&next).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file");
                found.insert(path.strip_prefix(folder).expect("below it").to_path_buf(), bytes);
            }
        }
    }
    found
}

/// One project of each kind in Rust.
fn projects() -> &'static [Project] {
    static BUILT: OnceLock<Vec<Project>> = OnceLock::new();
    BUILT.get_or_init(|| {
        // In cargo's folder for tests, and not a scratch one: nothing drops a static.
        let root = target().join("projects");
        let _none_from_an_earlier_run = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).expect("a folder for projects");
        let lab = Lab::within(&root);
        let mut bench = Bench::new(&lab, "rust");
        let test = |folder: &str| in_lab(&lab, "cargo", folder, &["test", "--locked", "--quiet"]);
        let projects = KINDS.map(|kind| bench.project(kind, test)).into();
        std::mem::forget(lab);
        projects
    })
}

/// Settings of a short run with one more plugin.
fn with<'a>(kind: &str, plugin: &'a str) -> Vec<&'a str> {
    let hostile: &[&str] = if kind == "attack" { &["--set", "attack.fraction=0.3"] } else { &[] };
    small(&[&["--plugin", plugin], hostile].concat())
}

#[test]
fn a_new_project_of_each_kind_builds_is_sound_and_runs() {
    let lab = Lab::new();
    for project in projects() {
        let sound = colla(&lab, ".", &["plugin", "check", project.file()]);
        assert_eq!(sound.code, 0, "{}{}", sound.stdout, sound.stderr);
        let pinned = format!("{}:blake3={}", project.file(), project.hash);
        let run = lab.run(project.kind, &with(project.kind, &pinned));
        assert_eq!(run.summary()["rounds"], 3, "{}", project.kind);
    }
}

#[test]
fn the_methods_of_new_projects_pass_their_own_tests() {
    for Project { kind, tested, .. } in projects() {
        assert_eq!(tested.code, 0, "{kind}:\n{}\n{}", tested.stdout, tested.stderr);
        assert!(tested.stdout.contains("test result: ok") && !tested.stderr.contains("warning"), "{}", tested.stderr);
    }
}

#[test]
fn new_projects_in_assemblyscript_build_pass_their_tests_keep_their_laws_and_give_the_bytes_of_those_in_rust() {
    if !has_npm() {
        return;
    }
    let lab = Lab::new();
    let mut bench = Bench::new(&lab, "assemblyscript");
    for twin in projects() {
        let kind = twin.kind;
        let project = bench.project(kind, |folder| {
            if kind == KINDS[0] {
                // What an author types; it builds first.
                let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
                let tested = in_lab(&lab, npm, folder, &["test"]);
                assert_eq!(tested.code, 0, "{}\n{}", tested.stdout, tested.stderr);
            }
            in_lab(&lab, "node", folder, &["--test", "tests/plugin.test.mjs"])
        });
        let tested = &project.tested;
        assert_eq!(tested.code, 0, "{kind}:\n{}\n{}", tested.stdout, tested.stderr);
        assert!(tested.stdout.contains("# fail 0") && !tested.stdout.contains("# pass 0"), "{}", tested.stdout);
        let sound = colla(&lab, ".", &["plugin", "check", project.file()]);
        assert_eq!(sound.code, 0, "{}{}", sound.stdout, sound.stderr);
        let weights = |name: &str, file: &str| lab.weights(&format!("{name}-{kind}"), &with(kind, file));
        assert_eq!(weights("run", project.file()), weights("twin", twin.file()), "{kind}");
    }
}

#[test]
fn a_project_in_assemblyscript_gives_the_same_bytes_in_any_folder_and_says_what_it_misses() {
    if !has_npm() {
        return;
    }
    let lab = Lab::new();
    let build = |folder: &str| {
        let arguments =
            ["plugin", "new", "twin", "--kind", "aggregate-rows", "--lang", "assemblyscript", "--dir", folder];
        assert_eq!(colla(&lab, ".", &arguments).code, 0);
        let built = colla(&lab, folder, &["plugin", "build"]);
        assert_eq!(built.code, 0, "{}", built.stderr);
        std::fs::read(lab.path().join(folder).join("twin.wasm")).expect("the built file")
    };
    assert_eq!(build("here"), build("deeper/down/there"));
    let refused = |code: i32, words: &str| {
        let finished = colla(&lab, ".", &["plugin", "build", "here"]);
        assert_eq!(finished.code, code, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "`{words}` is not in\n{}", finished.stderr);
    };
    let source = std::fs::read_to_string(lab.path().join("here/assembly/index.ts")).expect("the method");
    lab.write("here/assembly/index.ts", "does not compile");
    refused(5, "the plugin does not compile");
    lab.write("here/assembly/index.ts", source);
    lab.write("here/package.json", "{\"name\": \"other\"}");
    refused(3, "`package.json` names the package `other`, `manifest.json` the plugin `twin`; give both one name");
    lab.write("here/Cargo.toml", "");
    refused(3, "it has a `Cargo.toml` and an `asconfig.json`; keep one language to a folder");
}

#[test]
fn without_node_a_project_in_assemblyscript_is_written_and_its_build_says_what_to_install() {
    let lab = Lab::new();
    let made = lab.colla(&["plugin", "new", "rule", "--kind", "client", "--lang", "assemblyscript"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stdout.contains("the method is assembly/index.ts"), "{}", made.stdout);
    let finished = Command::new(env!("CARGO_BIN_EXE_colla-host"))
        .args(["plugin", "build", "rule"])
        .current_dir(lab.path())
        .env("PATH", "")
        .output();
    let finished = Finished::from(finished.expect("the binary starts"));
    assert_eq!(finished.code, 4, "{}", finished.stderr);
    assert!(finished.stderr.contains("Node.js 20 or newer"), "{}", finished.stderr);
    let taken = lab.colla(&["plugin", "new", "binaryen", "--kind", "client", "--lang", "assemblyscript"]);
    assert_eq!(taken.code, 2, "{}", taken.stderr);
    assert!(taken.stderr.contains("every plugin is built from"), "{}", taken.stderr);
}

#[test]
fn the_same_project_gives_the_same_bytes_in_any_folder() {
    let lab = Lab::new();
    let project = &projects()[0];
    let folder = "deeper/down/there";
    let name = format!("my-{}", project.kind);
    assert_eq!(colla(&lab, ".", &["plugin", "new", &name, "--kind", project.kind, "--dir", folder]).code, 0);
    let built = colla(&lab, folder, &["plugin", "build"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let bytes = |path: &Path| std::fs::read(path).expect("the built file");
    assert_eq!(bytes(&project.file), bytes(&lab.path().join(folder).join(format!("{name}.wasm"))));
}

#[test]
fn a_bad_name_an_unknown_kind_and_a_used_folder_are_refused() {
    let lab = Lab::new();
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let finished = lab.colla(&[&["plugin", "new"], arguments].concat());
        assert_eq!(finished.code, code, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "`{words}` is not in\n{}", finished.stderr);
    };
    refused(&["My-Rule", "--kind", "client"], 2, "use 1 to 64 lower-case letters");
    refused(&["serde", "--kind", "client"], 2, "every plugin is built from");
    refused(&["rule", "--kind", "median"], 2, "aggregate-rows");
    refused(&["rule"], 2, "--kind");
    std::fs::create_dir(lab.path().join("rule")).expect("a folder");
    lab.write("rule/notes.txt", "mine");
    refused(&["rule", "--kind", "client"], 8, "the folder `rule` is not empty; name another one with `--dir`");
    assert_eq!(std::fs::read_dir(lab.path().join("rule")).expect("the folder").count(), 1);
}

#[test]
fn what_cannot_be_built_says_why() {
    let lab = Lab::new();
    let refused = |code: i32, words: &str| {
        let finished = colla(&lab, ".", &["plugin", "build", "rule"]);
        assert_eq!(finished.code, code, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "`{words}` is not in\n{}", finished.stderr);
    };
    refused(3, "the folder cannot be read");
    std::fs::create_dir(lab.path().join("rule")).expect("a folder");
    refused(3, "name a folder that `colla-host plugin new` wrote");
    assert_eq!(colla(&lab, ".", &["plugin", "new", "rule", "--kind", "client"]).code, 0);
    let manifest = std::fs::read_to_string(lab.path().join("rule/manifest.json")).expect("the manifest");
    lab.write("rule/manifest.json", manifest.replace("\"rule\"", "\"role\""));
    refused(3, "`Cargo.toml` names the package `rule`, `manifest.json` the plugin `role`; give both one name");
    lab.write("rule/manifest.json", manifest.replace("\"kinds\"", "\"kind\""));
    refused(3, "the manifest is wrong at");
    lab.write("rule/manifest.json", &manifest);
    let config = std::fs::read_to_string(lab.path().join("rule/.cargo/config.toml")).expect("the flags");
    lab.write("rule/.cargo/config.toml", "[target");
    refused(3, "`.cargo/config.toml`: TOML parse error");
    lab.write("rule/.cargo/config.toml", "");
    refused(3, "`.cargo/config.toml`: it has no list `target.wasm32-unknown-unknown.rustflags`");
    lab.write("rule/.cargo/config.toml", config);
    let roles = [
        ("[\"mix\", \"client\"]", "`kinds` in manifest.json names a role that `colla_plugin!` does not"),
        ("[\"mix\"]", "`colla_plugin!` names the role `client`, but `kinds` in manifest.json does not"),
    ];
    for (kinds, words) in roles {
        lab.write("rule/manifest.json", manifest.replace("[\"client\"]", kinds));
        refused(5, words);
    }
    lab.write("rule/manifest.json", &manifest);
    lab.write("rule/src/lib.rs", "does not compile");
    refused(5, "the plugin does not build");
    let finished = Command::new(env!("CARGO_BIN_EXE_colla-host"))
        .args(["plugin", "build", "rule"])
        .current_dir(lab.path())
        .env_remove("RUSTC")
        .env("CARGO", "no-such-cargo")
        .env("PATH", "")
        .output();
    let finished = Finished::from(finished.expect("the binary starts"));
    assert_eq!(finished.code, 4, "{}", finished.stderr);
    assert!(finished.stderr.contains("cannot be started"), "{}", finished.stderr);
}

#[test]
fn the_tutorial_shows_the_code_that_new_projects_get() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a file of this repository");
    let without_space = |text: &str| text.split_whitespace().collect::<String>();
    let tutorial = read("docs/plugins.md");
    let blocks: Vec<&str> = tutorial.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 1);
    let template = read("plugin-sdk/templates/aggregate-rows/lib.rs");
    assert!(without_space(&template).contains(&without_space(blocks[0])), "{}", blocks[0]);
    for kind in KINDS {
        assert!(tutorial.contains(&format!("[`{kind}`](../plugin-sdk/templates/{kind}/lib.rs)")), "{kind}");
    }
}
