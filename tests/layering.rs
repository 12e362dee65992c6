//! The architecture as `docs/architecture.md` states it, read off the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules from the top down; a module may import only from rows below its own.
const LAYERS: &[&[&str]] = &[
    &["main", "cli"],
    &["run"],
    &["evaluate", "check", "apply", "compare"],
    &["schedule"],
    &["strategy"],
    &["stages"],
    &["record"],
    &["train", "plugin", "partition"],
    &["data", "client", "wire"],
    &["config", "executor"],
    &["privacy"],
    &["random", "registers", "prefetch", "finite", "error"],
];

/// A library and the only places that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("burn", &["train/"]),
    ("pulp", &["registers.rs", "strategy/", "train/plan/"]),
    ("rustix", &["strategy/spill.rs"]),
    ("wasmtime", &["plugin/wasm"]),
    ("libloading", &["plugin/native.rs"]),
    ("rayon", &["executor.rs"]),
    ("plotters", &["record/"]),
    ("clap", &["cli"]),
    ("indicatif", &["record/"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a source folder").flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.retain(|path| path.extension().is_some_and(|e| e == "rs") && !path.starts_with(root.join("bin")));
    let relative = |path: &PathBuf| path.strip_prefix(&root).expect("below the root").to_owned();
    found.iter().map(|path| (relative(path), std::fs::read_to_string(path).expect("a source"))).collect()
}

/// Code without comments and without the tests at the end of a file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Top-level modules that `code` names through `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => drop(found.insert(word(after))),
            Some(group) => {
                let mut depth = 0;
                let mut expect = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => expect = true,
                        c if expect && depth == 0 && c.is_alphabetic() => {
                            found.insert(word(&group[at..]));
                            expect = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

#[test]
fn imports_go_down_only() {
    let mut seen = 0;
    for (path, text) in sources() {
        let own = path.iter().next().and_then(|c| c.to_str()).unwrap_or("").trim_end_matches(".rs").to_owned();
        if own == "lib" {
            continue;
        }
        let own_layer = layer(&own).unwrap_or_else(|| panic!("{} has no layer", path.display()));
        for import in imports(&code(&text)) {
            let Some(other) = layer(&import) else { continue };
            seen += 1;
            assert!(import == own || other > own_layer, "{} imports `{import}`, which is not below it", path.display());
        }
    }
    assert!(seen > 50, "the reader of imports finds them: {seen}");
}

#[test]
fn each_library_has_one_home() {
    let mut seen = 0;
    for (path, text) in sources() {
        let code = code(&text);
        for (library, homes) in HOMES {
            if code.contains(&format!("use {library}::")) || code.contains(&format!(" {library}::")) {
                let path = path.to_string_lossy().replace('\\', "/");
                let at_home = homes.iter().any(|home| path.starts_with(home));
                assert!(at_home, "{path} uses `{library}`, whose home is {homes:?}");
                seen += 1;
            }
        }
    }
    assert!(seen >= HOMES.len(), "every library is seen at home: {seen}");
}
