//! A plugin can never crash, hang or exhaust the host: what it does wrong ends the run with exit code 6 and its name.

use super::support::{Lab, native, small};
use super::wat::{
    FILL_NAN, FILL_ZERO, FIRST_ROW_ONLY, GRAM, OK, ROWS, SUM_AFTER, drawing_plugin, fill_mix_out, manifest, only,
    plugin, replying_plugin,
};
use colla_plugin_sdk::{Map, Value, abi::op};

/// Runs a small experiment with the plugin, which must end with exit code 6 and a message that names it and `parts`.
#[track_caller]
fn check(module: Vec<u8>, parts: &[&str]) {
    check_with(module, &[], parts);
}

#[track_caller]
fn check_with(module: Vec<u8>, more: &[&str], parts: &[&str]) {
    let lab = Lab::new();
    lab.write("hostile.wasm", module);
    let finished = lab.colla(&small(&[&["--plugin", "hostile.wasm", "--out", "run"], more].concat()));
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
fn a_plugin_that_leaves_values_unwritten_is_named() {
    check(plugin(&manifest("aggregate", ROWS), OK, OK), &["REDUCE", "value 0 is NaN"]);
    check(plugin(&manifest("server-step", ""), OK, OK), &["STEP", "NaN"]);
}

#[test]
fn a_sum_rule_that_gives_no_weights_is_named() {
    // WEIGH that writes nothing leaves the host's NaN in place.
    check(plugin(&manifest("aggregate", ""), OK, OK), &["WEIGH"]);
}

/// A plugin that decides with `block` after the plan `{rows_out, extra}`.
fn deciding(kind: &str, more: &str, rows_out: i64, extra: &str, block: &str) -> Vec<u8> {
    let extra: Vec<Value> = extra.split_whitespace().map(Value::from).collect();
    let reply = Map::new().with("rows_out", rows_out).with("extra", extra);
    replying_plugin(&manifest(kind, more), &[(op::DECIDE_PLAN, reply)], block)
}

#[test]
fn a_mixing_matrix_of_the_wrong_shape_is_named() {
    // The cohort has 6 of 20 clients.
    check(deciding("aggregate", GRAM, 3, "", OK), &["DECIDE_PLAN", "`rows_out` is 3", "1 row"]);
    for (rows_out, shown) in [(0, "0"), (7, "7"), (i64::MIN, "-9223372036854775808")] {
        check(deciding("mix", "", rows_out, "", OK), &["DECIDE_PLAN", &format!("`rows_out` is {shown} for 6 rows")]);
    }
    check(plugin(&manifest("mix", ""), OK, OK), &["DECIDE_PLAN", "no whole number `rows_out`"]);
}

#[test]
fn coefficients_that_are_missing_or_no_numbers_are_named() {
    // What is not written stays the host's NaN.
    check(deciding("aggregate", GRAM, 1, "", OK), &["DECIDE", "coefficient 0 of result 0 is NaN"]);
    check(
        deciding("mix", "", 2, "", &fill_mix_out("(f64.const inf)")),
        &["DECIDE", "coefficient 0 of result 0 is inf"],
    );
    check(deciding("mix", "", 2, "", &fill_mix_out("(f64.const 1e20)")), &["DECIDE", "below 2^64"]);
    check(deciding("mix", "", 2, "", "(i32.const 1)"), &["DECIDE", "skipped"]);
    // Finite coefficients that lead out of single precision: 6 updates of about 0.1 times 10^19 are fine, 10^19 in two mixes are not.
    let huge = deciding("mix", "", 6, "", &fill_mix_out("(f64.const 1e19)"));
    check_with(huge, &["--plugin", "hostile.wasm", "--plugin", "hostile.wasm"], &["DECIDE", "element"]);
}

#[test]
fn extra_rows_that_the_host_does_not_have_are_named() {
    check(deciding("mix", "", 1, "median", FIRST_ROW_ONLY), &["DECIDE_PLAN", "extra row", "median"]);
    check(deciding("aggregate", GRAM, 1, "root", FIRST_ROW_ONLY), &["DECIDE_PLAN", "`root`", "federation.root-rows"]);
}

#[test]
fn weights_after_training_that_are_no_weights_are_named() {
    check(plugin(&manifest("aggregate", SUM_AFTER), OK, OK), &["WEIGH", "weight 0 of 6 is NaN"]);
    check(plugin(&manifest("aggregate", SUM_AFTER), OK, &fill_mix_out("(f64.const -1)")), &["WEIGH", "-1"]);
}

#[test]
fn an_attack_that_sends_nothing_or_no_numbers_is_named() {
    let hostile = ["--set", "attack.fraction=1"];
    check_with(plugin(&manifest("attack", ""), OK, FILL_NAN), &hostile, &["ATTACK", "value 0 is NaN"]);
    check_with(plugin(&manifest("attack", ""), OK, OK), &hostile, &["ATTACK", "value 0 is NaN"]);
    check_with(plugin(&manifest("attack", ""), OK, "(i32.const 1)"), &hostile, &["ATTACK", "skipped"]);
}

#[test]
fn an_attack_on_training_whose_plan_cannot_be_followed_is_named() {
    let hostile = ["--set", "attack.fraction=1"];
    let attack = |labels: &[i64]| {
        let labels: Vec<Value> = labels.iter().map(|&label| Value::I64(label)).collect();
        let term = Map::new().with("term", "relabel").with("labels", labels);
        let phase = Map::new().with("terms", vec![Value::Map(term)]);
        let plan = Map::new().with("phases", vec![Value::Map(phase)]);
        replying_plugin(&manifest("attack", ",\"attacks\":[\"training\"]"), &[(op::ATTACK_BEGIN, plan)], OK)
    };
    check_with(attack(&[1, 0]), &hostile, &["ATTACK_BEGIN", "names 2 classes; the data have 10"]);
    let beyond = attack(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]);
    check_with(beyond, &hostile, &["ATTACK_BEGIN", "is 10; it must be from 0 to 9"]);
}

#[test]
fn a_post_stage_that_returns_nan_is_named() {
    check(plugin(&manifest("post", ""), OK, FILL_NAN), &["APPLY", "NaN"]);
}

#[test]
fn an_aggregate_whose_second_call_gives_nan_is_named_with_the_place_in_the_model() {
    // 22,510 weights are more than one call is given.
    let later = format!(
        "(if (i64.ne (i64.load offset=8 (local.get $block)) (i64.const 0)) (then (return {FILL_NAN}))) {FILL_ZERO}"
    );
    let model = ["--set", "model.hidden=[300]"];
    check_with(plugin(&manifest("aggregate", ROWS), OK, &later), &model, &["REDUCE", "value 16384 is NaN"]);
}

#[test]
fn an_encoder_that_claims_more_bytes_than_it_has_is_stopped() {
    // output_len lies at 32 + 10·4 + 6·4 = 96 in guest memory.
    let claim = "(i32.store offset=96 (local.get $block) (i32.const 0x7fffffff)) (i32.const 0)";
    let bound = r#","max_encoded":{"num":4,"den":1,"plus":16}"#;
    check(plugin(&manifest("compress", bound), OK, claim), &["ENCODE"]);
}

#[test]
fn a_side_header_longer_than_the_manifest_allows_is_stopped() {
    let claim = only(op::APPLY, "(i32.store offset=96 (local.get $block) (i32.const 9)) (i32.const 0)");
    let module = plugin(&manifest("normalize", r#","max_header":8"#), OK, &claim);
    check(module, &["APPLY", "9 bytes of output in a buffer of 8"]);
}

#[test]
fn an_undoing_that_gives_nan_is_named() {
    let module = plugin(&manifest("normalize", r#","max_header":8"#), OK, &only(op::UNDO, FILL_NAN));
    check(module, &["UNDO", "NaN"]);
}

#[test]
fn a_scan_of_an_absurd_length_or_without_values_is_stopped() {
    let scanning = |values: i64, block: &str| {
        replying_plugin(&manifest("normalize", ""), &[(op::SCAN_PLAN, Map::new().with("scan", values))], block)
    };
    check(scanning(1 << 40, OK), &["SCAN_PLAN", "`scan` is I64(1099511627776)", "from 0 to 4096"]);
    check(scanning(-1, OK), &["SCAN_PLAN", "`scan` is I64(-1)"]);
    // What is not written stays the host's NaN.
    check(scanning(3, OK), &["SCAN", "value 0 after frame 0 is NaN"]);
    check(scanning(3, &only(op::SCAN, "(i32.const 1)")), &["SCAN", "skipped a frame"]);
    check(scanning(2, &only(op::SCAN, &fill_mix_out("(f64.const inf)"))), &["SCAN", "is inf"]);
}

const PIECE_STATE: &str = r#","max_encoded":{"num":4,"den":1,"plus":16},
    "state":[{"name":"q","scope":"client","shape":"piece"}]"#;

#[test]
fn states_of_pieces_that_cannot_be_are_refused() {
    let keeping = |lengths: &[i64]| {
        let lengths: Vec<Value> = lengths.iter().map(|&length| length.into()).collect();
        let reply = Map::new().with("piece_state", lengths);
        replying_plugin(&manifest("compress", PIECE_STATE), &[(op::LAYOUT, reply)], OK)
    };
    // MLP 64-16-10: 1210 weights, one frame.
    check(keeping(&[1, 2]), &["LAYOUT", "`piece_state` has 2 lengths for 1 pieces"]);
    check(keeping(&[-1]), &["LAYOUT", "holds I64(-1) for piece 0"]);
    check(keeping(&[4 * 1210 + 1]), &["LAYOUT", "at most 4840"]);
    check(keeping(&[i64::MAX]), &["LAYOUT", "at most 4840"]);
    check(plugin(&manifest("compress", PIECE_STATE), OK, OK), &["LAYOUT", "answered no list `piece_state`"]);
}

#[test]
fn a_client_state_that_is_no_longer_finite_is_named() {
    let spoil = only(
        op::ENCODE,
        "(f32.store (i32.load (i32.load offset=48 (local.get $block))) (f32.const nan)) (i32.const 0)",
    );
    let reply = Map::new().with("piece_state", vec![Value::I64(3)]);
    check(
        replying_plugin(&manifest("compress", PIECE_STATE), &[(op::LAYOUT, reply)], &spoil),
        &["ENCODE", "client state 0 of piece 0 holds NaN"],
    );
}

#[test]
fn a_choice_of_clients_that_do_not_exist_or_of_nobody_is_named() {
    let choosing = |value: &str| plugin(&manifest("select", ""), OK, &fill_mix_out(value));
    check(choosing("(f64.const 20)"), &["SELECT", "place 0 is 20; clients have the numbers 0 to 19"]);
    check(choosing("(f64.const 0.5)"), &["SELECT", "place 0 is 0.5"]);
    check(choosing("(f64.const 3)"), &["SELECT", "chose client 3 twice"]);
    check(choosing("(f64.const -1)"), &["SELECT", "chose nobody of 20 clients"]);
    check(plugin(&manifest("select", ""), OK, OK), &["SELECT", "place 0 is NaN"]);
    check(plugin(&manifest("select", ""), OK, "(i32.const 1)"), &["SELECT", "skipped the choice"]);
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

/// `qsgd` draws; its manifest is made to deny it by as many other bytes.
#[test]
fn a_plugin_that_denies_its_draws_is_refused_or_gets_none() {
    let lab = Lab::new();
    let denying = |bytes: &[u8]| {
        let (yes, no) = (br#""rng": true"#, br#""rng":false"#);
        let mut bytes = bytes.to_vec();
        let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(yes)).collect();
        assert!(!places.is_empty(), "the manifest says so");
        places.iter().for_each(|&at| bytes[at..at + no.len()].copy_from_slice(no));
        bytes
    };
    lab.write("denies.wasm", denying(include_bytes!("../plugins/shipped/qsgd.wasm")));
    let finished = lab.colla(&small(&["--plugin", "denies.wasm"]));
    assert_eq!(finished.code, 5, "{}", finished.stderr);
    for part in ["denies.wasm", "it imports `colla_v1.rand_fill`", "its manifest says `\"rng\": false`"] {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
    let library = denying(&std::fs::read(native("qsgd").0).expect("the library"));
    let hash = blake3::hash(&library).to_hex().to_string();
    lab.write("denies.so", library);
    let finished = lab.colla(&small(&["--plugin", "denies.so", "--allow-native", &hash]));
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    for part in ["plugin `qsgd`, ENCODE", "E_STATE", "the host refused to draw random numbers here"] {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
}

#[test]
fn what_a_manifest_asks_for_and_the_host_cannot_give_is_refused_by_name() {
    for (more, code, part) in [
        (r#","requires":["poisson-cohort"]"#, 3, "it requires `poisson-cohort`"),
        (r#","state":[{"name":"c_i","scope":"client"}]"#, 5, "state `c_i` belongs to the role client or compress"),
    ] {
        let lab = Lab::new();
        lab.write("asking.wasm", plugin(&manifest("aggregate", more), OK, OK));
        let finished = lab.colla(&small(&["--plugin", "asking.wasm"]));
        assert_eq!(finished.code, code, "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
}

/// A compressor that keeps the vector to itself, sends four bytes, and gives the vector back. The server's side knows
/// what travelled and nothing else, so nothing arrives.
#[test]
fn a_compressor_that_remembers_what_it_encoded_cheats_itself_only() {
    let copy = |from: &str, to: &str| {
        format!(
            "(block $done (loop $next
              (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get $block))))
              (i32.store (i32.add {to} (i32.shl (local.get $i) (i32.const 2)))
                (i32.load (i32.add {from} (i32.shl (local.get $i) (i32.const 2)))))
              (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))"
        )
    };
    let (kept, row) = ("(i32.const 200000)", "(i32.load (i32.load offset=32 (local.get $block)))");
    let body = format!(
        "(if (i32.eq (local.get $op) (i32.const 39))
           (then {} (i32.store offset=96 (local.get $block) (i32.const 4)))
           (else {}))
         (i32.const 0)",
        copy(row, kept),
        copy(kept, "(i32.load offset=52 (local.get $block))")
    );
    let bound = r#","max_encoded":{"num":4,"den":1,"plus":16}"#;
    let lab = Lab::new();
    lab.write("cheat.wasm", plugin(&manifest("compress", bound), OK, &body));
    let cheated = lab.weights("cheated", &small(&["--plugin", "cheat.wasm"]));
    assert_eq!(cheated, lab.weights("untrained", &small(&["--set", "federation.num-server-rounds=0"])));
}

/// Draws of round scope differ from round to round in the roles that run on the server.
#[test]
fn random_numbers_of_the_server_are_new_in_every_round() {
    // rand_fill(round, stream 0, offset 0, uniform, out, n)
    let noise = "(call $draw (i32.const 1) (i32.const 0) (i64.const 0) (i32.const 1)
        (i32.load offset=52 (local.get $block)) (i32.load offset=24 (local.get $block)))";
    for (role, more) in [("server-step", ""), ("aggregate", ROWS)] {
        let lab = Lab::new();
        let manifest = manifest(role, &format!("{more},\"rng\":true"));
        lab.write("noise.wasm", drawing_plugin(&manifest, OK, noise));
        let after = |rounds: &'static str| {
            let rounds = format!("federation.num-server-rounds={rounds}");
            lab.run(&rounds.clone(), &small(&["--plugin", "noise.wasm", "--set", &rounds])).weights()
        };
        let (start, one, two) = (after("0"), after("1"), after("2"));
        // A server step that writes noise replaces the weights; an aggregate that is noise is added to them.
        let moved = |to: &[f32], from: &[f32]| match role {
            "server-step" => to.to_vec(),
            _ => to.iter().zip(from).map(|(a, b)| a - b).collect::<Vec<f32>>(),
        };
        let (first, second) = (moved(&one, &start), moved(&two, &one));
        let apart = first.iter().zip(&second).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
        assert!(apart > first.len() / 2, "{role}: {apart} of {} values are new", first.len());
    }
}

#[test]
fn a_denominator_that_blows_the_aggregate_up_is_the_rule_s_fault() {
    let lab = Lab::new();
    let finished = lab.colla(&small(&["--plugin", "fedavg:denominator=1e-300"]));
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    assert!(finished.stderr.contains("plugin `fedavg`, DENOMINATOR"), "{}", finished.stderr);
}
