//! Plugins in AssemblyScript keep the laws of their roles and give the bits of their Rust twins.

use super::support::{Finished, Lab, has_npm, small};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The built files, by name.
fn built() -> Vec<(String, PathBuf)> {
    let folder = Path::new(ROOT).join("plugins/shipped/assemblyscript");
    let files = std::fs::read_dir(folder).expect("the folder of the built files");
    let mut built: Vec<(String, PathBuf)> = files
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    built.sort();
    built
}

#[test]
fn every_plugin_in_assemblyscript_has_a_built_file_that_keeps_every_law() {
    let lab = Lab::new();
    let folders = std::fs::read_dir(Path::new(ROOT).join("plugins")).expect("the plugins");
    let mut sources: Vec<String> = folders
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().join("assembly/index.ts").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    sources.sort();
    assert!(built().iter().map(|(name, _)| name).eq(&sources), "{:?} for {sources:?}", built());
    for (name, path) in built() {
        let finished = lab.colla(&["plugin", "check", path.to_str().expect("a path in UTF-8")]);
        assert_eq!(finished.code, 0, "{name}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains(&format!("{name} keeps all ")), "{}", finished.stdout);
    }
}

#[test]
fn a_run_with_a_plugin_in_assemblyscript_gives_the_bytes_of_its_rust_twin() {
    let lab = Lab::new();
    let cases = [
        "fedavg",
        "fedavg:weights=uniform,denominator=7",
        "fedavg-rows",
        "fedprox:mu=0.3",
        "clip:norm=0.7",
        "topk:ratio=0.05,error-feedback=true",
        "topk:ratio=1",
        "multi-krum:f=1",
        "multi-krum:f=1,m=2,weights=num-examples,neighbours=n-f-1",
    ];
    for (name, path) in built() {
        let own: Vec<&str> = cases.into_iter().filter(|case| case.split(':').next() == Some(&name)).collect();
        assert!(!own.is_empty(), "no case runs `{name}`");
        for case in own {
            let parameters = &case[name.len()..];
            let file = format!("{}{parameters}", path.display());
            let rust = lab.weights(&format!("rust-{case}"), &small(&["--plugin", case]));
            let assemblyscript = lab.weights(&format!("assemblyscript-{case}"), &small(&["--plugin", &file]));
            assert_eq!(assemblyscript, rust, "{case}");
        }
    }
}

#[test]
fn the_sdk_passes_its_own_tests() {
    if !has_npm() {
        return;
    }
    let npm = |arguments: &[&str]| {
        let folder = Path::new(ROOT).join("plugin-sdk/assemblyscript");
        let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let finished = Command::new(program).args(arguments).current_dir(folder).output().expect("npm starts");
        let finished = Finished::from(finished);
        assert_eq!(finished.code, 0, "npm {arguments:?}:\n{}\n{}", finished.stdout, finished.stderr);
        finished.stdout
    };
    npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    let told = npm(&["test"]);
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"), "{told}");
}

#[test]
fn the_tutorial_shows_the_code_of_fedprox() {
    let read = |path: &str| std::fs::read_to_string(Path::new(ROOT).join(path)).expect("a file of this repository");
    let tutorial = read("docs/plugins.md");
    let blocks: Vec<&str> = tutorial.split("```ts\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 1);
    assert!(read("plugins/fedprox/assembly/index.ts").contains(blocks[0].trim()), "{}", blocks[0]);
}
