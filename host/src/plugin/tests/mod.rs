//! Plugins written to misbehave, and what the user reads then.
//!
//! Guests are WAT text: [`Guest::new`] keeps every promise of the ABI, a test replaces the one part it is about.

mod calls;
mod files;
mod forms;
mod load;
mod twins;

use super::*;
use crate::config;
use colla_plugin_sdk::Map;
use std::collections::BTreeMap;

const MANIFEST: &str = r#"{"abi":"1.0","name":"guest","version":"0.1.0","kinds":["aggregate"],"summary":"a test",
    "reduce":["rows"],"params":[{"name":"beta","type":"float","default":0.5,"min":0,"max":1,"doc":"d"}]}"#;

/// [`MANIFEST`] of a plugin that draws random numbers.
fn drawing() -> String {
    MANIFEST.replace(r#""params""#, r#""rng":true,"params""#)
}

/// A module in WAT, whole and well-behaved.
///
/// Its control calls echo their message, its block calls give the sum of the rows in `out` and copy `input` to
/// `output`, its error text is "the guest says no".
#[derive(Clone)]
pub(super) struct Guest {
    manifest: String,
    imports: String,
    memory: String,
    functions: BTreeMap<&'static str, String>,
    more: String,
}

impl Guest {
    pub fn new() -> Self {
        let functions = [
            ("colla_abi_version", "(result i32) (i32.const 65536)"),
            (
                // A bump allocator; null when memory cannot grow.
                "colla_alloc",
                "(param $size i32) (param $align i32) (result i32) (local $at i32) (local $end i32)
                 (local.set $at (i32.and
                   (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                   (i32.sub (i32.const 0) (local.get $align))))
                 (local.set $end (i32.add (local.get $at) (local.get $size)))
                 (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16))) (then
                   (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u
                         (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16))) (i32.const 16)))))
                     (then (return (i32.const 0))))))
                 (global.set $top (local.get $end))
                 (local.get $at)",
            ),
            ("colla_free", "(param i32 i32 i32)"),
            (
                "colla_create",
                "(param i32 i32 i32 i32) (result i32) (i32.store (local.get 3) (i32.const 7)) (i32.const 0)",
            ),
            ("colla_destroy", "(param i32)"),
            (
                "colla_call",
                "(param i32 i32 i32 i32) (result i32)
                 (global.set $reply (local.get 2)) (global.set $reply_len (local.get 3)) (i32.const 0)",
            ),
            (
                "colla_reply",
                "(param i32 i32) (i32.store (local.get 1) (global.get $reply))
                 (i32.store offset=4 (local.get 1) (global.get $reply_len))",
            ),
            (
                "colla_block",
                "(param i32 i32 i32) (result i32) (local $i i32) (local $k i32) (local $sum f32)
                 (if (i32.load offset=52 (local.get 2)) (then (block $done (loop $element
                   (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get 2))))
                   (local.set $sum (f32.const 0)) (local.set $k (i32.const 0))
                   (block $summed (loop $row
                     (br_if $summed (i32.ge_u (local.get $k) (i32.load offset=28 (local.get 2))))
                     (local.set $sum (f32.add (local.get $sum) (f32.load (i32.add
                       (i32.load (i32.add (i32.load offset=32 (local.get 2)) (i32.shl (local.get $k) (i32.const 2))))
                       (i32.shl (local.get $i) (i32.const 2))))))
                     (local.set $k (i32.add (local.get $k) (i32.const 1))) (br $row)))
                   (f32.store (i32.add (i32.load offset=52 (local.get 2)) (i32.shl (local.get $i) (i32.const 2)))
                     (local.get $sum))
                   (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $element)))))
                 (memory.copy (i32.load offset=68 (local.get 2)) (i32.load offset=64 (local.get 2))
                   (i32.load offset=88 (local.get 2)))
                 (i32.store offset=96 (local.get 2) (i32.load offset=88 (local.get 2)))
                 (i32.const 0)",
            ),
            (
                "colla_last_error",
                "(param i32 i32) (i32.store (local.get 1) (i32.const 64))
                 (i32.store offset=4 (local.get 1) (i32.const 17))",
            ),
        ];
        Guest {
            manifest: MANIFEST.into(),
            imports: String::new(),
            memory: r#"(memory (export "memory") 1)"#.into(),
            functions: functions.map(|(name, body)| (name, body.into())).into(),
            more: r#"(data (i32.const 64) "the guest says no")"#.into(),
        }
    }

    /// Replaces an exported function: parameters, results, locals and body.
    fn with(mut self, export: &'static str, body: impl Into<String>) -> Self {
        self.functions.insert(export, body.into());
        self
    }

    fn without(mut self, export: &'static str) -> Self {
        self.functions.remove(export);
        self
    }

    fn memory(mut self, text: &str) -> Self {
        self.memory = text.into();
        self
    }

    fn imports(mut self, text: &str) -> Self {
        self.imports = text.into();
        self
    }

    fn more(mut self, text: &str) -> Self {
        self.more += text;
        self
    }

    fn manifest(mut self, json: &str) -> Self {
        self.manifest = json.into();
        self
    }

    /// A block call with this body; the block's address is local 2.
    pub fn with_block(self, body: &str) -> Self {
        self.with("colla_block", format!("(param i32 i32 i32) (result i32) {body}"))
    }

    fn text(&self) -> String {
        let exports = self.functions.iter().map(|(name, body)| format!("(func ${name} (export \"{name}\") {body})\n"));
        format!(
            "(module {}\n{}\n(global $top (mut i32) (i32.const 1024)) (global $reply (mut i32) (i32.const 0))
             (global $reply_len (mut i32) (i32.const 0))\n{}{})",
            self.imports,
            self.memory,
            exports.collect::<String>(),
            self.more
        )
    }

    pub fn module(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        with_section(self.module(), "colla.manifest", self.manifest.as_bytes())
    }

    fn load(&self) -> anyhow::Result<Plugin> {
        load_bytes(&self.bytes())
    }

    #[track_caller]
    fn start(&self) -> Box<dyn Instance> {
        self.load().unwrap().instantiate(1, 42, 1_000).unwrap()
    }
}

/// Appends a custom section.
fn with_section(mut module: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = leb(name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    module.push(0);
    module.extend(leb(body.len()));
    module.extend(body);
    module
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        bytes.push((n & 127) as u8 | if n > 127 { 128 } else { 0 });
        n >>= 7;
        if n == 0 {
            return bytes;
        }
    }
}

/// Loads a plugin file of these bytes, called `guest.wasm` whatever they are.
fn load_bytes(bytes: &[u8]) -> anyhow::Result<Plugin> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, bytes).unwrap();
    load(&config::Plugin { path: Some(path), ..Default::default() }, &[])
}

/// The file is refused, with these words, and the exit code of a refusal.
#[track_caller]
fn refused(loaded: anyhow::Result<Plugin>, words: &str) {
    let error = loaded.err().unwrap_or_else(|| panic!("loaded, but should be refused: {words}"));
    let message = error.to_string();
    assert!(message.starts_with("loading plugin `") && message.contains(words), "{message}\nlacks: {words}");
    assert_eq!(crate::error::exit_code(&error), 5, "{message}");
}

/// The call fails with these words, and the exit code of a plugin's failure.
#[track_caller]
fn failed<T>(result: Result<T, PluginFailure>, words: &str) {
    let failure = result.err().unwrap_or_else(|| panic!("succeeded, but should fail: {words}"));
    let message = failure.to_string();
    assert!(message.starts_with("plugin `guest`, ") && message.contains(words), "{message}\nlacks: {words}");
    assert_eq!(crate::error::exit_code(&anyhow::Error::from(failure).context("round 3")), 6);
}

fn span(buffer: Buffer, start: usize, len: usize) -> Span {
    Span { buffer, start, len }
}
