//! A plugin can never crash, hang or exhaust the host: what it does wrong ends the run with exit code 6 and its name.

use super::support::{Lab, small};
use super::wat::{FILL_NAN, OK, ROWS, manifest, plugin};

/// Runs a small experiment with the plugin, which must end with exit code 6 and a message that names it and `parts`.
#[track_caller]
fn check(module: Vec<u8>, parts: &[&str]) {
    let lab = Lab::new();
    lab.write("hostile.wasm", module);
    let finished = lab.colla(&small(&["--plugin", "hostile.wasm", "--out", "run"]));
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    for part in ["plugin `hostile`"].iter().chain(parts) {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
    assert!(!lab.path().join("run/model.safetensors").exists());
}

#[test]
fn a_plugin_that_traps_is_named() {
    check(plugin(&manifest("aggregate", ROWS), OK, "unreachable"), &["REDUCE"]);
    check(plugin(&manifest("aggregate", ROWS), OK, "(i32.div_u (i32.const 1) (i32.const 0))"), &["REDUCE"]);
    check(plugin(&manifest("aggregate", ROWS), OK, "(i32.load (i32.const -4))"), &["REDUCE"]);
}

#[test]
fn a_plugin_that_loops_for_ever_is_stopped() {
    check(plugin(&manifest("normalize", ""), OK, "(loop $ever (br $ever)) (i32.const 0)"), &["APPLY"]);
}

#[test]
fn a_plugin_that_reports_an_error_is_quoted_by_its_code() {
    check(plugin(&manifest("aggregate", ROWS), OK, "(i32.const -5)"), &["REDUCE"]);
}

#[test]
fn a_plugin_that_allocates_without_end_is_stopped() {
    let greedy = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) (unreachable)";
    check(plugin(&manifest("normalize", ""), OK, greedy), &["APPLY"]);
}

#[test]
fn a_plugin_that_returns_nan_is_named() {
    check(plugin(&manifest("aggregate", ROWS), OK, FILL_NAN), &["REDUCE", "NaN"]);
    check(plugin(&manifest("normalize", ""), OK, FILL_NAN), &["APPLY", "NaN"]);
    check(plugin(&manifest("server-step", ""), OK, FILL_NAN), &["STEP", "NaN"]);
}

#[test]
fn a_sum_rule_that_gives_no_weights_is_named() {
    // WEIGH that writes nothing leaves the host's NaN in place.
    check(plugin(&manifest("aggregate", ""), OK, OK), &["WEIGH"]);
}

#[test]
fn an_encoder_that_claims_more_bytes_than_it_has_is_stopped() {
    // output_len lies at 32 + 10·4 + 6·4 = 96 in guest memory.
    let claim = "(i32.store offset=96 (local.get $block) (i32.const 0x7fffffff)) (i32.const 0)";
    let bound = r#","max_encoded":{"num":4,"den":1,"plus":16}"#;
    check(plugin(&manifest("compress", bound), OK, claim), &["ENCODE"]);
}

#[test]
fn a_plugin_that_skips_what_it_must_write_is_named() {
    check(plugin(&manifest("aggregate", ROWS), OK, "(i32.const 1)"), &["REDUCE", "skipped"]);
    check(plugin(&manifest("server-step", ""), OK, "(i32.const 1)"), &["STEP", "skipped"]);
}

#[test]
fn a_plugin_for_another_abi_is_refused_before_it_runs() {
    let lab = Lab::new();
    let newer = manifest("aggregate", ROWS).replace("\"1.0\"", "\"2.0\"");
    lab.write("newer.wasm", plugin(&newer, OK, OK));
    let finished = lab.colla(&small(&["--plugin", "newer.wasm"]));
    assert_eq!(finished.code, 5, "{}", finished.stderr);
    for part in ["newer.wasm", "2.0", "1.0", "rebuild"] {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
}

#[test]
fn what_a_manifest_asks_for_and_the_host_cannot_give_is_refused_by_name() {
    for (more, part) in [
        (r#","requires":["poisson-cohort"]"#, "requires `poisson-cohort`"),
        (r#","needs":["loss_before"]"#, "needs `loss_before`"),
        (r#","state":[{"name":"c_i","scope":"client"}]"#, "keeps client state `c_i`"),
        (r#","reduce":["gram"]"#, "Gram"),
    ] {
        let lab = Lab::new();
        lab.write("asking.wasm", plugin(&manifest("aggregate", more), OK, OK));
        let finished = lab.colla(&small(&["--plugin", "asking.wasm"]));
        assert_eq!(finished.code, 3, "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
    let lab = Lab::new();
    lab.write("mixer.wasm", plugin(&manifest("mix", ""), OK, OK));
    let finished = lab.colla(&small(&["--plugin", "mixer.wasm"]));
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    assert!(finished.stderr.contains("plays the role mix"), "{}", finished.stderr);
}
