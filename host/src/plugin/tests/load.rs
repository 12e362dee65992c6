//! Modules that must not get as far as a run.

use super::*;

#[test]
fn the_well_behaved_guest_loads() {
    let plugin = Guest::new().load().unwrap();
    assert_eq!((plugin.manifest().name.as_str(), plugin.form()), ("guest", Form::Wasm));
    assert_eq!(*plugin.parameters(), Map::new().with("beta", 0.5));
    assert_eq!(plugin.blake3(), blake3::hash(&Guest::new().bytes()).to_hex().as_str());
    assert_eq!((plugin.sha256().len(), plugin.size()), (64, Guest::new().bytes().len()));
    assert!(matches!(plugin.origin(), Origin::File(path) if path.ends_with("guest.wasm")));
}

#[test]
fn a_loaded_plugin_serves_many_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let plugin = Guest::new().load().unwrap();
    shared(&plugin);
    std::thread::scope(|scope| {
        for position in 0..4 {
            let plugin = plugin.clone();
            scope.spawn(move || {
                let mut instance = plugin.instantiate(position, 1, 0).unwrap();
                let message = Map::new().with("position", i64::from(position));
                assert_eq!(instance.call(6, &message).unwrap(), message);
            });
        }
    });
}

#[test]
fn an_endless_start_function_runs_out_of_fuel() {
    let guest = Guest::new().more("(func $spin (loop $again (br $again))) (start $spin)");
    refused(guest.load(), "CREATE: it used more than its 1000000000 units of fuel; it may loop for ever");
}

#[test]
fn create_that_traps_or_fails_is_a_refusal_and_bad_parameters_are_the_users_mistake() {
    let create = |body: &str| Guest::new().with("colla_create", format!("(param i32 i32 i32 i32) (result i32) {body}"));
    refused(create("unreachable").load(), "CREATE: it stopped itself, as after a panic");
    refused(
        create("(i32.const -8)").load(),
        "E_INTERNAL, the plugin broke one of its own invariants: the guest says no",
    );
    refused(create("(i32.const 5)").load(), "it returned the status 5, which ABI 1 does not define");
    let error = create("(i32.const -2)").load().err().unwrap();
    assert!(error.to_string().ends_with("E_CONFIG, the parameters cannot be used: the guest says no"), "{error}");
    assert_eq!(crate::error::exit_code(&error), 3);
}

#[test]
fn memories_and_tables_are_counted_and_bounded() {
    let memory = |text: &str| Guest::new().memory(text).load();
    refused(memory(r#"(memory (export "memory") 40000)"#), "it asked for more than its 64 MiB of memory");
    refused(memory(r#"(memory (export "memory") 1) (memory 1)"#), "it has 2 memories; a plugin has exactly one");
    refused(Guest::new().more("(table 10001 funcref)").load(), "it has 10001 table elements; at most 10000");
    refused(Guest::new().more("(table 1 funcref) (table 1 funcref)").load(), "it has 2 tables");
    refused(
        Guest::new().more("(table 1 externref)").load(),
        "it is no valid module of the WebAssembly that plugins may use",
    );
    let wide = wat::parse_str(r#"(module (memory (export "memory") i64 1))"#).unwrap();
    refused(load_bytes(&with_section(wide, "colla.manifest", MANIFEST.as_bytes())), "64-bit addresses");
    let none = wat::parse_str("(module)").unwrap();
    refused(load_bytes(&with_section(none, "colla.manifest", MANIFEST.as_bytes())), "it has 0 memories");
}

#[test]
fn only_the_two_imports_of_the_abi_are_allowed_and_others_are_named() {
    let import = |text: &str| Guest::new().imports(text).load();
    refused(import(r#"(import "env" "secret" (func))"#), "it imports `env.secret`; it may import only `colla_v1.log`");
    refused(import(r#"(import "colla_v1" "clock" (func))"#), "it imports `colla_v1.clock`");
    refused(
        import(r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#),
        "it imports `wasi_snapshot_preview1.fd_write`; build it for wasm32-unknown-unknown, without WASI",
    );
    refused(import("(import \"e\\1b[2J\" \"x\" (func))"), "it imports `e[2J.x`");
    refused(import(r#"(import "colla_v1" "log" (global i32))"#), "it imports `colla_v1.log`, but not as a function");
    refused(
        import(r#"(import "colla_v1" "log" (func (param i32 i32 i64)))"#),
        "its import `colla_v1.log` has the type (i32, i32, i64), and ABI 1 has (i32, i32, i32); build it with the SDK",
    );
    let both = r#"(import "colla_v1" "log" (func (param i32 i32 i32)))
        (import "colla_v1" "rand_fill" (func (param i32 i32 i64 i32 i32 i32) (result i32)))"#;
    assert!(Guest::new().manifest(&drawing()).imports(both).load().is_ok());
}

#[test]
fn every_export_is_needed_and_has_its_type() {
    for name in Guest::new().functions.keys() {
        refused(Guest::new().without(name).load(), &format!("it does not export `{name}`"));
        let wrong = Guest::new().with(name, "(param f64) (result f64) (local.get 0)");
        refused(wrong.load(), &format!("its export `{name}` has the type (f64) -> f64, and ABI 1 has ("));
        let not_a_function =
            Guest::new().without(name).more(&format!(r#"(global (export "{name}") i32 (i32.const 0))"#));
        refused(not_a_function.load(), &format!("its export `{name}` is not a function"));
    }
    refused(Guest::new().memory("(memory 1)").load(), "it does not export its `memory`");
    let other = Guest::new().memory(r#"(memory 1) (global (export "memory") i32 (i32.const 0))"#);
    refused(other.load(), "its export `memory` is not a memory");
}

#[test]
fn compile_bombs_are_refused_before_they_reach_the_compiler() {
    let many = Guest::new().more(&"(func)".repeat(60_000));
    refused(many.load(), "it has 60009 functions; at most 20000 are allowed");
    let long = Guest::new().more(&format!("(func {})", "(drop (i32.const 1000000))".repeat(60_000)));
    refused(long.load(), "bytes in one function; at most 262144 are allowed");
    let wide = Guest::new().more(&format!("(func (local{}))", " i64".repeat(5_001)));
    refused(wide.load(), "it has 5001 local variables in one function; at most 5000 are allowed");
    let big = with_section(Guest::new().bytes(), "padding", &vec![0; 4 << 20]);
    refused(load_bytes(&big), "bytes or more, a wasm plugin may have 4194304");
}

#[test]
fn webassembly_beyond_the_allowed_features_is_refused() {
    let extra = |text: &str| Guest::new().more(text).load();
    let words = "it is no valid module of the WebAssembly that plugins may use, at byte";
    refused(extra("(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))"), words);
    refused(extra("(func (drop (i32.atomic.load (i32.const 0))))"), words);
    refused(extra("(func $f (return_call $f))"), words);
    refused(extra("(type (struct))"), "");
    refused(extra("(tag)"), words);
    refused(Guest::new().memory(r#"(memory (export "memory") 1 2 shared)"#).load(), words);
    assert!(extra("(func (drop (i32x4.add (v128.const i32x4 0 0 0 0) (v128.const i32x4 1 1 1 1))))").is_ok());
}

#[test]
fn the_abi_of_manifest_and_code_must_be_this_hosts() {
    let abi = |version: &str| Guest::new().manifest(&MANIFEST.replace("1.0\"", &format!("{version}\""))).load();
    refused(abi("2.0"), "it was built for ABI 2.0, this host speaks ABI 1.0; rebuild it with the SDK of this release");
    refused(abi("1.7"), "it was built for ABI 1.7, this host speaks ABI 1.0; use a newer host or rebuild it");
    refused(abi("one"), "its manifest gives the ABI `one`, which is no version like \"1.0\"");
    let code = Guest::new().with("colla_abi_version", "(result i32) (i32.const 131072)");
    refused(code.load(), "CREATE: its code answers ABI 2.0, its manifest says 1.0; rebuild it");
    // A manifest of the future may have fields that this host cannot know; the version must be what is reported.
    let future = Guest::new().manifest(r#"{"abi":"3.1","name":"x","shards":true}"#);
    refused(future.load(), "it was built for ABI 3.1, this host speaks ABI 1.0");
}

#[test]
fn a_pinned_hash_must_be_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pinned.wasm");
    let bytes = Guest::new().bytes();
    std::fs::write(&path, &bytes).unwrap();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let pin =
        |blake3: &str| config::Plugin { path: Some(path.clone()), blake3: Some(blake3.into()), ..Default::default() };
    assert!(load(&pin(&hash.to_uppercase()), &[]).is_ok());
    refused(load(&pin("abc"), &[]), &format!("wants the file with BLAKE3 abc, this one has {hash}"));
}

#[test]
fn what_the_user_asked_for_wrongly_is_a_configuration_error() {
    let check = |spec: config::Plugin, words: &str| {
        let error = load(&spec, &[]).err().unwrap();
        assert!(error.to_string().contains(words), "{error}\nlacks: {words}");
        assert_eq!(crate::error::exit_code(&error), 3);
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    std::fs::write(&path, Guest::new().bytes()).unwrap();
    let with = |toml: &str| config::Plugin {
        path: Some(path.clone()),
        parameters: toml::from_str(toml).unwrap(),
        ..Default::default()
    };
    check(with("beta = 2"), "guest.wasm`: parameter `beta = 2`: it must be at least 0 and at most 1");
    check(with("bata = 0"), "unknown parameter `bata`; did you mean `beta`? it has: beta");
    check(config::Plugin::default(), "a plugin has neither `name` nor `path`; give one of them");
    check(config::Plugin { name: Some("x".into()), ..with("") }, "both a name and the path");
    check(
        config::Plugin { path: Some(folder.path().join("absent.wasm")), ..Default::default() },
        "absent.wasm` does not exist; give the path of a plugin file",
    );
    check(
        config::Plugin { name: Some("nonsense".into()), ..Default::default() },
        "unknown plugin `nonsense`; available: ",
    );
    check(
        config::Plugin { path: Some("nonsense.wasm".into()), ..Default::default() },
        "plugin file `nonsense.wasm` does not exist, and no shipped plugin has that name; available: ",
    );
}
