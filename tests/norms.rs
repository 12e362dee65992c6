//! What a manifest promises of norms holds, in `plugin check` and in every run in which noise rests on it.

use super::conformance::breaks;
use super::support::{Finished, Lab, small};
use super::wat::{FILL_ZERO, OK, answering_plugin, each_element, fill_out, manifest, of, plugin};
use colla_plugin_sdk::{Map, abi::op};

const KEEPS: &str = r#","norm":"keeps""#;
/// A bound that a parameter gives.
const BOUNDS: &str = r#","params":[{"name":"norm","type":"float","default":0.001,"min":0,"doc":"d"}],"norm":"bounds","norm_bound":"norm""#;
/// A bound that is broadcast.
const BROADCASTS: &str = r#","norm":"bounds""#;

/// Multiplies every element of `out`.
fn times(factor: &str) -> String {
    let out = of("out");
    each_element(&format!("(f32.store {out} (f32.mul (f32.load {out}) (f32.const {factor})))")) + OK
}

fn stage(more: &str, block: &str) -> Vec<u8> {
    plugin(&manifest("normalize", more), OK, block)
}

/// A stage that answers every control operation with this bound.
fn telling(bound: f64, block: &str) -> Vec<u8> {
    answering_plugin(&manifest("normalize", BROADCASTS), &Map::new().with("norm_bound", bound), block)
}

#[track_caller]
fn keeps_all(module: Vec<u8>, words: &str) {
    let lab = Lab::new();
    lab.write("right.wasm", module);
    let finished = lab.colla(&["plugin", "check", "right.wasm"]);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains(words), "`{words}` is not in\n{}", finished.stdout);
}

#[test]
fn a_stage_that_lengthens_what_it_says_it_keeps_breaks_norm() {
    breaks(stage(KEEPS, &times("2")), "norm", "4,099 ordinary values: the norm goes from ");
    // 1 + 2⁻²⁰ is more than roundings explain, 1 + 2⁻²² is not.
    breaks(stage(KEEPS, &times("0x1.00001p0")), "norm", "but `norm` is \"keeps\"");
    keeps_all(stage(KEEPS, &times("0x1.000004p0")), "pass  norm        never longer afterwards");
    // A codec that makes ones of everything, zeros too, and believes 8 bytes only.
    let eight = "(i32.ne (i32.load offset=88 (local.get $block)) (i32.const 8))";
    let decode = format!("(if {eight} (then (return (i32.const -1)))) {}", fill_out("(f32.const 1)"));
    let encode = "(i32.store offset=96 (local.get $block) (i32.const 8)) (i32.const 0)";
    let codec = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const {})) (then {decode}) (else {encode}))",
        op::DECODE
    );
    let more = format!(r#"{KEEPS},"max_encoded":{{"num":4,"den":1,"plus":16}}"#);
    breaks(plugin(&manifest("compress", &more), OK, &codec), "norm", "4,099 ordinary values: the norm goes from ");
}

#[test]
fn a_stage_that_keeps_to_no_bound_or_names_none_breaks_norm() {
    breaks(stage(BOUNDS, OK), "norm", "but `norm` is \"bounds\", and the bound is 0.001");
    breaks(telling(0.5, OK), "norm", "but `norm` is \"bounds\", and the bound is 0.5");
    breaks(telling(f64::INFINITY, FILL_ZERO), "norm", "the bound is inf; it must be finite and at least 0");
    let unnamed = "the manifest names no parameter `norm_bound` and ROUND_BEGIN broadcasts no such number";
    breaks(stage(BROADCASTS, FILL_ZERO), "norm", unnamed);
    keeps_all(telling(0.5, FILL_ZERO), "pass  norm        at most 0.5 afterwards");
}

/// A run with these plugins, which ends as it may.
fn run(lab: &Lab, plugins: &[&str]) -> Finished {
    let plugins: Vec<&str> = plugins.iter().flat_map(|&plugin| ["--plugin", plugin]).collect();
    lab.colla(&small(&plugins))
}

#[track_caller]
fn fails(lab: &Lab, plugins: &[&str], code: i32, parts: &[&str]) {
    let finished = run(lab, plugins);
    assert_eq!(finished.code, code, "{plugins:?}: {}", finished.stderr);
    for part in parts {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
}

#[test]
fn an_update_beyond_the_bound_ends_a_run_in_which_noise_rests_on_it_and_names_the_stage() {
    let lab = Lab::new();
    lab.write("liar.wasm", stage(BOUNDS, OK));
    let told = ["round 1, client ", "plugin `hostile`, APPLY: left an update with the Euclidean norm "];
    let bound = "its manifest promises that `norm` is \"bounds\", and its bound is 0.001";
    fails(&lab, &["liar.wasm", "dp-gaussian"], 6, &[told[0], told[1], bound]);
    // A stage behind the bound that does not keep to it.
    lab.write("doubler.wasm", stage(KEEPS, &times("2")));
    let bound = "its manifest promises that `norm` is \"keeps\", and the bound of `clip` is 0.01";
    fails(&lab, &["clip:norm=0.01", "doubler.wasm", "dp-gaussian"], 6, &[told[0], told[1], bound]);
    // Before the bound it may do as it likes, and where nobody relies on a bound, so may all.
    for plugins in [&["doubler.wasm", "clip:norm=0.01", "dp-gaussian"][..], &["liar.wasm"], &["clip", "doubler.wasm"]] {
        let finished = run(&lab, plugins);
        assert_eq!(finished.code, 0, "{plugins:?}: {}", finished.stderr);
    }
}

#[test]
fn the_shipped_stages_keep_to_their_bounds_in_runs() {
    for plugins in [
        &["clip:norm=0.05", "dp-gaussian"][..],
        &["clip:norm=0.05", "center", "topk:ratio=0.5", "dp-tree"],
        &["layer-clip:norm=0.05", "dp-gaussian"],
        &["layer-clip:norm=0.05,bound=tensor", "threshold", "dp-gaussian"],
        &["adaptive-clip", "dp-gaussian"],
    ] {
        let finished = run(&Lab::new(), plugins);
        assert_eq!(finished.code, 0, "{plugins:?}: {}", finished.stderr);
    }
}

#[test]
fn a_stage_that_names_no_bound_is_refused_before_the_first_round_and_named() {
    let lab = Lab::new();
    let parts = ["plugin `hostile`, ROUND_BEGIN: its manifest says that `norm` is \"bounds\" and names no parameter"];
    for module in [stage(BROADCASTS, FILL_ZERO), telling(-1.0, FILL_ZERO), telling(f64::NAN, FILL_ZERO)] {
        lab.write("silent.wasm", module);
        fails(&lab, &["silent.wasm", "dp-gaussian"], 5, &parts);
    }
    lab.write("silent.wasm", telling(0.5, FILL_ZERO));
    assert_eq!(run(&lab, &["silent.wasm", "dp-gaussian"]).code, 0);
}
