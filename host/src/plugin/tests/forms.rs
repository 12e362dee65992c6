//! The native form, and what both forms must do alike: sums, random numbers, failures.

use super::*;
use colla_plugin_sdk::abi::{op, rand_kind, rand_scope};
use std::process::Command;
use std::sync::OnceLock;

/// The native guest compiled with one `cfg`.
fn native_bytes(cfg: &str) -> Vec<u8> {
    native_bytes_with(cfg, &drawing())
}

fn native_bytes_with(cfg: &str, json: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, library) = (folder.path().join("manifest.json"), folder.path().join("guest.wasm"));
    std::fs::write(&manifest, json).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/host/src/plugin/tests/native_guest.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(compiler)
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "native_guest", "--cfg", cfg, "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .env("NATIVE_GUEST_MANIFEST", &manifest)
        .output()
        .expect("the compiler that built this test");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(&library).unwrap()
}

fn load_native(bytes: &[u8], allow: &[String]) -> anyhow::Result<Plugin> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, bytes).unwrap();
    load(&config::Plugin { path: Some(path), ..Default::default() }, allow)
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn native_plugin() -> &'static Plugin {
    static PLUGIN: OnceLock<Plugin> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let bytes = native_bytes("whole");
        load_native(&bytes, &[hash(&bytes)]).unwrap()
    })
}

/// The WASM guest whose blocks do what the native guest's APPLY does.
fn wasm_drawer() -> Plugin {
    Guest::new()
        .manifest(&drawing())
        .imports(r#"(import "colla_v1" "rand_fill" (func $draw (param i32 i32 i64 i32 i32 i32) (result i32)))"#)
        .with_block(
            "(call $draw (i32.load offset=16 (local.get 2)) (i32.load offset=20 (local.get 2))
               (i64.load offset=8 (local.get 2)) (i32.load offset=28 (local.get 2))
               (i32.load offset=52 (local.get 2)) (i32.load offset=24 (local.get 2)))",
        )
        .load()
        .unwrap()
}

fn draw(instance: &mut dyn Instance, scope: u32, kind: u32, offset: u64, n: usize) -> Result<Vec<u32>, PluginFailure> {
    let out = instance.alloc(4 * n)?;
    let block =
        Block { offset, vector: scope, unit: 9, n, k: kind as usize, out: Some(span(out, 0, n)), ..Block::default() };
    instance.block(op::APPLY, &block)?;
    Ok(instance.floats(span(out, 0, n)).iter().map(|x| x.to_bits()).collect())
}

#[test]
fn native_code_needs_approval_of_its_hash_and_the_message_says_how() {
    let bytes = native_bytes("whole");
    let hash = hash(&bytes);
    let words = format!("if you trust this very file, approve it with `--allow-native={hash}`");
    refused(load_native(&bytes, &[]), &words);
    refused(load_native(&bytes, &[hash.replace(['0', '1'], "2")]), &words);
    let plugin = load_native(&bytes, &["other".into(), hash.to_uppercase()]).unwrap();
    assert_eq!((plugin.form(), plugin.blake3()), (Form::Native, hash.as_str()));
    assert_eq!(plugin.manifest().name, "guest");
}

#[test]
fn libraries_that_are_no_plugins_of_this_abi_are_refused() {
    for (cfg, words) in [
        ("no_symbol", "it has no symbol `colla_plugin_v1`; build it with the SDK"),
        ("refuses", "it refuses this host's ABI; rebuild it"),
        ("old_table", "its table has 16 bytes for ABI 1.0, its manifest says ABI 1.0 (at least 56 bytes)"),
    ] {
        let bytes = native_bytes(cfg);
        refused(load_native(&bytes, &[hash(&bytes)]), words);
        let cut = &bytes[..bytes.len() / 2];
        refused(load_native(cut, &[hash(cut)]), "it is no readable shared library, or truncated");
    }
}

#[test]
fn a_native_instance_keeps_the_same_contract_as_a_sandboxed_one() {
    let plugin = native_plugin();
    let mut instance = plugin.instantiate(0, 1, 10).unwrap();
    let (rows, out) = (instance.alloc(32).unwrap(), instance.alloc(16).unwrap());
    assert!(instance.bytes(rows).as_ptr().addr().is_multiple_of(64));
    instance.floats_mut(span(rows, 0, 8)).copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
    let two = [span(rows, 0, 4), span(rows, 16, 4)];
    let block = Block { n: 4, rows: &two, out: Some(span(out, 0, 4)), ..Block::default() };
    assert_eq!(instance.block(op::REDUCE, &block).unwrap(), Done { skipped: false, output_len: 0 });
    assert_eq!(instance.floats(span(out, 0, 4)), [11.0, 22.0, 33.0, 44.0]);

    let message = Map::new().with("round", 3i64).with("text", "hello");
    assert_eq!(instance.call(op::SAVE, &message).unwrap(), message);
    assert_eq!(instance.call(op::ROUND_END, &message).unwrap(), message);
    failed(instance.call(op::LOAD, &message), "its reply has 1048577 bytes; at most 1048576 are allowed");
    failed(
        instance.call(op::SELECT, &message),
        "E_UNSUPPORTED, the operation is not implemented: the [31mnative guest says no",
    );
    let output = Block { output: Some(span(out, 0, 16)), ..Block::default() };
    failed(instance.block(op::ENCODE, &output), "it claims 17 bytes of output in a buffer of 16");
    let wrong = Block { n: 5, ..block };
    failed(instance.block(op::REDUCE, &wrong), "the host made a wrong block");
    failed(instance.block(op::DECODE, &Block::default()), "E_PANIC, the plugin panicked");
    failed(instance.call(op::SAVE, &message), "stopped at an earlier fault and cannot be used again");
    failed(instance.alloc(usize::MAX / 2).map(|_| ()), "there is no memory for");
}

#[test]
fn both_forms_draw_the_same_numbers_whatever_the_cut() {
    let sandboxed = wasm_drawer();
    let callbacks = Callbacks { run_seed: 1 << 40 | 5, position: 2, round: 3, client: 4 };
    for scope in [rand_scope::RUN, rand_scope::ROUND, rand_scope::CLIENT] {
        for kind in [rand_kind::U32, rand_kind::UNIFORM, rand_kind::NORMAL] {
            let mut guest = sandboxed.instantiate(2, 0, 1_000).unwrap();
            guest.set_callbacks(callbacks);
            let whole = draw(&mut *guest, scope, kind, 0, 101).unwrap();
            let pieces = [(0, 1), (1, 6), (7, 33), (40, 61)];
            let cut = pieces.iter().flat_map(|&(start, n)| draw(&mut *guest, scope, kind, start, n).unwrap());
            assert_eq!(cut.collect::<Vec<_>>(), whole);
            let mut native = native_plugin().instantiate(2, 0, 1_000).unwrap();
            native.set_callbacks(callbacks);
            assert_eq!(draw(&mut *native, scope, kind, 0, 101).unwrap(), whole, "scope {scope}, kind {kind}");
        }
    }
}

#[test]
fn wrong_requests_for_random_numbers_are_the_plugins_failure_in_both_forms() {
    let mut instances = vec![wasm_drawer().instantiate(0, 0, 0).unwrap()];
    instances.push(native_plugin().instantiate(0, 0, 0).unwrap());
    for instance in &mut instances {
        failed(draw(&mut **instance, 3, rand_kind::U32, 0, 4), "E_ARG");
        failed(draw(&mut **instance, 0, 3, 0, 4), "E_ARG");
        failed(draw(&mut **instance, 0, rand_kind::NORMAL, 1 << 33, 4), "E_ARG");
        let nowhere = Block { n: 4, ..Block::default() };
        // Null is an address like any other in a guest; natively it is refused.
        let _ = instance.block(op::APPLY, &nowhere);
        assert_eq!(draw(&mut **instance, 0, rand_kind::U32, 0, 4).unwrap().len(), 4);
    }
    let outside = Guest::new()
        .manifest(&drawing())
        .imports(r#"(import "colla_v1" "rand_fill" (func $draw (param i32 i32 i64 i32 i32 i32) (result i32)))"#)
        .with_block(
            "(call $draw (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const -16) (i32.const 8))",
        );
    failed(outside.start().block(op::APPLY, &Block::default()), "E_ARG");
}

#[test]
fn a_plugin_whose_manifest_denies_draws_gets_none_in_either_form() {
    let import = r#"(import "colla_v1" "rand_fill" (func (param i32 i32 i64 i32 i32 i32) (result i32)))"#;
    refused(
        Guest::new().imports(import).load(),
        "it imports `colla_v1.rand_fill`, but its manifest says `\"rng\": false`; say `\"rng\": true` if it draws",
    );
    let bytes = native_bytes_with("whole", MANIFEST);
    let mut silent = load_native(&bytes, &[hash(&bytes)]).unwrap().instantiate(0, 0, 0).unwrap();
    failed(draw(&mut *silent, rand_scope::RUN, rand_kind::U32, 0, 4), "APPLY: it failed with E_STATE");
}

#[test]
fn drawing_for_ever_costs_fuel() {
    let guest = Guest::new()
        .manifest(&drawing())
        .imports(r#"(import "colla_v1" "rand_fill" (func $draw (param i32 i32 i64 i32 i32 i32) (result i32)))"#)
        .with_block(
            "(loop $again (drop (call $draw (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 2) (i32.const 4096)
               (i32.const 8192))) (br $again)) (i32.const 0)",
        );
    failed(guest.start().block(op::APPLY, &Block::default()), "it used more than its 1002000000 units of fuel");
}
