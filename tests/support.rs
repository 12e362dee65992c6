//! Running the binary in a directory of its own, and reading what it left there.

use anyhow::Result;
use colla::record::{Observer, Outcome};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What a run in this process came to.
#[derive(Default)]
pub struct Last(pub Option<Outcome>);

impl Observer for Last {
    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        self.0 = Some(outcome.clone());
        Ok(())
    }
}

/// A scratch directory in which the binary runs; gone at the end of the test.
pub struct Lab {
    dir: tempfile::TempDir,
}

/// A finished run of the binary.
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    pub fn new() -> Self {
        Lab { dir: tempfile::tempdir().expect("a scratch directory") }
    }

    /// A lab in this folder.
    pub fn within(folder: &Path) -> Self {
        Lab { dir: tempfile::tempdir_in(folder).expect("a scratch directory") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file in the scratch directory");
        path
    }

    /// Runs `colla-host` with this directory as its working and cache directory.
    pub fn colla(&self, arguments: &[&str]) -> Finished {
        let output = Command::new(env!("CARGO_BIN_EXE_colla-host"))
            .args(arguments)
            .current_dir(self.path())
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .output()
            .expect("the binary starts");
        Finished::from(output)
    }

    /// Runs an experiment that must succeed and returns its run directory.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[&str]) -> RunDir {
        let finished = self.colla(&[arguments, &["--out", name]].concat());
        assert_eq!(finished.code, 0, "{arguments:?}\n{}", finished.stderr);
        RunDir(self.path().join(name))
    }

    /// The BLAKE3 of the weights after an experiment that must succeed.
    #[track_caller]
    pub fn weights(&self, name: &str, arguments: &[&str]) -> String {
        self.run(name, arguments).summary()["weights_blake3"].as_str().expect("a hash").to_owned()
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub struct RunDir(pub PathBuf);

impl RunDir {
    pub fn summary(&self) -> Value {
        let text = std::fs::read_to_string(self.0.join("summary.json")).expect("summary.json");
        serde_json::from_str(&text).expect("summary.json is JSON")
    }

    pub fn metrics(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.join("metrics.jsonl")).expect("metrics.jsonl");
        text.lines().map(|line| serde_json::from_str(line).expect("a metrics line is JSON")).collect()
    }

    /// All weights of the model, tensor after tensor by name.
    pub fn weights(&self) -> Vec<f32> {
        let bytes = std::fs::read(self.0.join("model.safetensors")).expect("model.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let mut names = tensors.names();
        names.sort_unstable();
        let bytes = names.iter().flat_map(|name| tensors.tensor(name).expect("a tensor").data().to_vec());
        let bytes: Vec<u8> = bytes.collect();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

/// A small experiment: a few seconds' work becomes a few hundredths.
pub const SMALL: &[&str] = &[
    "--quiet",
    "--set",
    "federation.num-server-rounds=3",
    "--set",
    "partition.num-clients=20",
    "--set",
    "federation.fraction-train=0.3",
    "--set",
    "model.hidden=[16]",
    "--set",
    "train.local-epochs=1",
];

/// The same for a model with normalisation layers.
pub const SMALL_NORMED: &[&str] = &[
    "--quiet",
    "--set",
    "federation.num-server-rounds=3",
    "--set",
    "partition.num-clients=20",
    "--set",
    "federation.fraction-train=0.3",
    "--set",
    "model.name=\"cnn-bn\"",
    "--set",
    "train.local-epochs=1",
];

/// [`SMALL`] and more arguments.
pub fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SMALL, more].concat()
}

/// The native form of a shipped plugin, with its hash. All are built once, by the contributor's own command.
pub fn native(name: &str) -> (PathBuf, String) {
    static BUILT: OnceLock<Vec<(String, PathBuf, String)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let output = Command::new(env!("CARGO_BIN_EXE_colla-dev"))
            .args(["plugins", "--native"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("colla-dev starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Name, hash and path, separated by tabs.
        let row = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
            [name, hash, path] => Some((name.to_owned(), PathBuf::from(path), hash.to_owned())),
            _ => None,
        };
        text.lines().filter_map(row).collect()
    });
    let found = built.iter().find(|(built, ..)| built == name).map(|(_, path, hash)| (path.clone(), hash.clone()));
    found.unwrap_or_else(|| panic!("`{name}` is not among {built:?}"))
}

/// Whether npm is there, which builds plugins in AssemblyScript; if not, the reason is printed, and CI must not go on.
pub fn has_npm() -> bool {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "npm is missing, and CI must not skip this test");
        println!("skipped: npm is not there; install Node.js 20 or newer");
    }
    found
}

/// The real data that contributors and CI have beside the checkout; `None`, with the reason printed, for others.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("COLLA_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing, and CI must not skip this test", path.display());
    println!("skipped: {} is not there; set COLLA_SHARED to the folder that holds it", path.display());
    None
}
