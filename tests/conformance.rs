//! `plugin check`: the shipped plugins keep every law, and each law is broken by a plugin that is wrong in that alone.

use super::support::{Lab, native};
use super::wat::{
    COPY_FIRST_ROW, FILL_NAN, FILL_ZERO, GRAM, OK, ROWS, answering_plugin, drawing_plugin, each_element, fill_out,
    first_of_out, manifest, module, of, plugin, replying_plugin,
};
use colla_plugin_sdk::{Map, Value as Wire, abi::op};
use serde_json::Value;

const SHIPPED: [&str; 54] = [
    "fedavg",
    "fedavg-rows",
    "q-fedavg",
    "fednova",
    "norm-bound",
    "fedprox",
    "scaffold",
    "ditto",
    "fedbn",
    "feddyn",
    "fedavgm",
    "fedadam",
    "fedadagrad",
    "fedyogi",
    "fedexp",
    "trimmed-mean",
    "median",
    "meamed",
    "sign-majority",
    "geometric-median",
    "krum",
    "multi-krum",
    "bulyan",
    "mda",
    "centered-clip",
    "fltrust",
    "nnm",
    "bucketing",
    "clip",
    "layer-clip",
    "adaptive-clip",
    "center",
    "standardize",
    "local-dp",
    "topk",
    "randk",
    "threshold",
    "qsgd",
    "quantize",
    "half",
    "signsgd",
    "terngrad",
    "eden",
    "powersgd",
    "count-sketch",
    "dp-gaussian",
    "dp-tree",
    "power-of-choice",
    "sign-flip",
    "alie",
    "ipm",
    "gaussian",
    "scale",
    "label-flip",
];
const CODEC: &str = r#","max_encoded":{"num":4,"den":1,"plus":16}"#;

/// Checks a module that must break exactly `law`, with `words` in its line. What does not even load ends as a run would.
#[track_caller]
pub fn breaks(module: Vec<u8>, law: &str, words: &str) {
    let lab = Lab::new();
    lab.write("wrong.wasm", module);
    let finished = lab.colla(&["plugin", "check", "wrong.wasm", "--format", "json"]);
    let code = if law == "load" { 5 } else { 6 };
    assert_eq!(finished.code, code, "{}{}", finished.stdout, finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).expect("a report");
    let lines = report["lines"].as_array().expect("lines");
    let broken: Vec<&Value> = lines.iter().filter(|line| line["verdict"] == "fail").collect();
    assert!(matches!(broken[..], [line] if line["law"] == law), "{broken:#?}");
    assert!(broken[0]["text"].as_str().expect("a text").contains(words), "`{words}` is not in {}", broken[0]["text"]);
    assert!(finished.stderr.contains(&format!("breaks {law}")), "{}", finished.stderr);
}

#[test]
fn every_shipped_plugin_keeps_every_law() {
    let lab = Lab::new();
    for name in SHIPPED {
        let finished = lab.colla(&["plugin", "check", name]);
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains(&format!("{name} keeps all ")), "{}", finished.stdout);
    }
    let median = lab.colla(&["plugin", "check", "median"]).stdout;
    assert!(median.contains("the same bits in any order of the rows") && median.contains("GB/s"), "{median}");
    let mean = lab.colla(&["plugin", "check", "trimmed-mean:beta=0"]).stdout;
    assert!(mean.contains("created with `beta = 0`"), "{mean}");
    assert!(mean.contains("within 1e-6 in any order of the rows"), "{mean}");
}

#[test]
fn every_shipped_plugin_answers_the_same_bits_as_a_native_library() {
    let lab = Lab::new();
    for name in SHIPPED {
        let (library, _) = native(name);
        let finished = lab.colla(&["plugin", "check", name, "--native", library.to_str().expect("a path in UTF-8")]);
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("the same bits as WASM and native"), "{}", finished.stdout);
    }
}

#[test]
fn a_file_that_is_no_plugin_or_wants_another_abi_breaks_load() {
    breaks(b"\0asm\x01\0\0\0".to_vec(), "load", "no `colla.manifest` section");
    breaks(plugin(&manifest("client", "").replace("1.0", "2.0"), OK, OK), "load", "built for ABI 2.0");
    breaks(module(&manifest("client", ""), "unreachable", OK, OK), "load", "CREATE");
    breaks(drawing_plugin(&manifest("client", ""), OK, OK), "load", "it imports `colla_v1.rand_fill`");
}

#[test]
fn a_plugin_that_refuses_an_allowed_value_breaks_parameters() {
    let mu = r#","params":[{"name":"mu","type":"float","default":0.5,"min":0,"max":1,"doc":"d"}]"#;
    // The configuration is 01 02 'm' 'u' 02 and then the value.
    let create = "(if (result i32) (f64.eq (f64.load offset=5 (local.get $config)) (f64.const 1))
        (then (i32.const -2)) (else (i32.const 0)))";
    breaks(module(&manifest("client", mu), create, OK, OK), "parameters", "`mu = 1.0` is allowed but refused");
}

#[test]
fn a_plugin_that_gives_nan_or_traps_breaks_finite() {
    breaks(plugin(&manifest("normalize", ""), OK, FILL_NAN), "finite", "ordinary values give NaN at place 0");
    breaks(plugin(&manifest("server-step", ""), OK, FILL_NAN), "finite", "give NaN");
    breaks(plugin(&manifest("aggregate", ROWS), OK, "unreachable"), "finite", "REDUCE");
    // Divides by the first element.
    let inverse = first_of_out("(f32.div (f32.const 1) (f32.load (i32.load offset=52 (local.get $block))))");
    breaks(plugin(&manifest("normalize", ""), OK, &inverse), "finite", "zeros give inf at place 0");
}

#[test]
fn a_plugin_that_counts_its_calls_breaks_repeatable() {
    let count = "(i32.store (i32.const 1024) (i32.add (i32.const 1) (i32.load (i32.const 1024))))";
    let counted = first_of_out("(f32.convert_i32_u (i32.load (i32.const 1024)))");
    let module = plugin(&manifest("normalize", ""), OK, &format!("{count} {counted}"));
    breaks(module, "repeatable", "asked again, the instance answers differently, so it remembers earlier calls");
}

#[test]
fn a_plugin_that_sees_where_ranges_begin_breaks_cuts() {
    let block = first_of_out("(f32.const 7)");
    breaks(plugin(&manifest("normalize", ""), OK, &block), "cuts", "in ranges of 1024 instead of one of 4099");
    let rows = format!("(drop {}) {block}", "(block (result i32) ".to_owned() + FILL_ZERO + ")");
    breaks(plugin(&manifest("aggregate", ROWS), OK, &rows), "cuts", "7 instead of 0 at place 1024");
    breaks(plugin(&manifest("server-step", ""), OK, &rows), "cuts", "7 instead of 0 at place 1024");
}

#[test]
fn a_rule_that_prefers_the_first_row_breaks_order() {
    breaks(
        plugin(&manifest("aggregate", ROWS), OK, COPY_FIRST_ROW),
        "order",
        "rows in the order [6, 5, 4, 3, 2, 1, 0]",
    );
}

/// A plugin that makes `rows_out` rows of those that it sees; `decide` is the body of DECIDE.
fn decider(kind: &str, more: &str, rows_out: i64, decide: &str) -> Vec<u8> {
    answering_plugin(&manifest(kind, more), &Map::new().with("rows_out", rows_out), decide)
}

/// One coefficient of the matrix that DECIDE writes, at this place.
fn coefficient(at: u32, value: &str) -> String {
    format!("(f64.store (i32.add (i32.load offset=60 (local.get $block)) (i32.const {})) (f64.const {value}))", 8 * at)
}

/// All of the `k` coefficients of one row are zero, and these are not.
fn one_row(coefficients: &str) -> String {
    let bytes = "(i32.shl (i32.load offset=84 (local.get $block)) (i32.const 3))";
    format!("(memory.fill (i32.load offset=60 (local.get $block)) (i32.const 0) {bytes}) {coefficients} (i32.const 0)")
}

#[test]
fn a_rule_that_decides_for_the_first_row_or_not_at_all_breaks_its_laws() {
    let first = one_row(&coefficient(0, "1"));
    breaks(decider("aggregate", GRAM, 1, &first), "order", "rows in the order [6, 5, 4, 3, 2, 1, 0]");
    breaks(decider("aggregate", GRAM, 1, OK), "finite", "coefficient 0 of result 0 is NaN");
    breaks(
        decider("aggregate", GRAM, 1, &one_row(&coefficient(3, "inf"))),
        "finite",
        "coefficient 3 of result 0 is inf",
    );
    breaks(decider("aggregate", GRAM, 0, &first), "finite", "`rows_out` is 0 for 7 rows");
    breaks(plugin(&manifest("aggregate", GRAM), OK, &first), "finite", "no whole number `rows_out`");
    breaks(decider("mix", "", 9, &first), "finite", "`rows_out` is 9 for 7 rows");
    breaks(decider("mix", "", 1, &first), "order", "rows in the order [6, 5, 4, 3, 2, 1, 0]");
    // Row 0 out of row 0 in, all others zero: not the same for the other rows.
    breaks(decider("mix", "", 7, &first), "order", "rows in the order [6, 5, 4, 3, 2, 1, 0]");
}

#[test]
fn an_attack_on_training_must_plan_for_some_number_of_classes() {
    let relabel = |labels: &[i64]| {
        let labels: Vec<Wire> = labels.iter().map(|&label| Wire::I64(label)).collect();
        let term = Map::new().with("term", "relabel").with("labels", labels);
        let phase = Map::new().with("terms", vec![Wire::Map(term)]);
        Map::new().with("phases", vec![Wire::Map(phase)])
    };
    let attack = |labels: &[i64]| {
        let manifest = manifest("attack", ",\"attacks\":[\"training\"]");
        replying_plugin(&manifest, &[(op::ATTACK_BEGIN, relabel(labels))], OK)
    };
    // The same two labels, however many classes there are.
    breaks(attack(&[1, 0]), "finite", "names 2 classes; the data have 10");
    breaks(attack(&[2, 0]), "finite", "is 2; it must be from 0 to 1");
    let lab = Lab::new();
    let refuses_two = lab.colla(&["plugin", "check", "label-flip:flip=targeted,source=5,target=3"]);
    assert_eq!(refuses_two.code, 0, "{}", refuses_two.stdout);
    let refuses_all = lab.colla(&["plugin", "check", "label-flip:flip=targeted,source=3,target=3"]);
    assert_eq!(refuses_all.code, 6, "{}", refuses_all.stdout);
}

#[test]
fn an_attack_that_sends_nan_or_sees_where_ranges_begin_breaks_its_laws() {
    breaks(plugin(&manifest("attack", ""), OK, OK), "finite", "ordinary values give NaN at place 0");
    let first = format!("(drop (block (result i32) {FILL_ZERO})) {}", first_of_out("(f32.const 7)"));
    breaks(plugin(&manifest("attack", ""), OK, &first), "cuts", "7 instead of 0 at place 1024");
}

#[test]
fn a_post_step_that_gives_nan_or_sees_where_ranges_begin_breaks_its_laws() {
    breaks(plugin(&manifest("post", ""), OK, FILL_NAN), "finite", "ordinary values give NaN");
    breaks(plugin(&manifest("post", ""), OK, &first_of_out("(f32.const 7)")), "cuts", "7 instead of");
}

/// Sets every place of SELECT's answer to -1.
fn none_chosen() -> String {
    "(local.set $i (i32.const 0)) (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $i) (i32.load offset=84 (local.get $block))))
        (f64.store (i32.add (i32.load offset=60 (local.get $block)) (i32.shl (local.get $i) (i32.const 3))) (f64.const -1))
        (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))"
        .into()
}

#[test]
fn a_choice_that_no_round_can_be_run_with_breaks_selection() {
    let choose = |ids: &[&str]| {
        let stores: Vec<String> = ids.iter().enumerate().map(|(at, id)| coefficient(at as u32, id)).collect();
        // As many as are asked for, the others not chosen.
        plugin(&manifest("select", ""), OK, &format!("{} {} (i32.const 0)", none_chosen(), stores.concat()))
    };
    breaks(choose(&["2"]), "selection", "client 2 is chosen and has no examples");
    breaks(choose(&["12"]), "selection", "place 0 holds 12; ids are whole numbers below 12");
    breaks(choose(&["1.5"]), "selection", "place 0 holds 1.5");
    breaks(choose(&["4", "4"]), "selection", "client 4 is chosen twice");
    breaks(choose(&["-1", "4"]), "selection", "place 1 holds 4 behind the first -1");
    breaks(plugin(&manifest("select", ""), OK, OK), "selection", "SELECT: of 1: place 0 holds NaN");
}

#[test]
fn a_client_that_gives_nan_vectors_or_sees_where_ranges_begin_breaks_its_laws() {
    let slot = r#","state":[{"name":"own","scope":"client"}]"#;
    // The first state, pointer to pointers at offset 48.
    let store = |value: &str| {
        format!(
            "(if (i32.eq (local.get $op) (i32.const 41)) (then (f32.store (i32.load (i32.load offset=48 (local.get $block)))
                (f32.const {value})))) (i32.const 0)"
        )
    };
    breaks(plugin(&manifest("client", slot), OK, &store("nan")), "finite", "ordinary values give NaN");
    breaks(plugin(&manifest("client", slot), OK, &store("7")), "cuts", "in ranges of 1024 instead of one of 4099");
    let both =
        manifest("client", r#","vectors":[{"name":"own"}]"#).replace(r#"["client"]"#, r#"["client","server-step"]"#);
    // WEIGH gives no weights for the vector.
    breaks(plugin(&both, OK, FILL_ZERO), "finite", "ordinary values give NaN");
}

#[test]
fn a_stage_that_cannot_be_undone_breaks_undo() {
    let header = r#","max_header":4"#;
    // APPLY (36) makes all values zero; UNDO leaves them so.
    let zero = format!("(if (result i32) (i32.eq (local.get $op) (i32.const 36)) (then {FILL_ZERO}) (else {OK}))");
    breaks(plugin(&manifest("normalize", header), OK, &zero), "undo", "ordinary values: value 0 was");
}

#[test]
fn a_stage_that_trusts_any_header_breaks_damage() {
    // APPLY writes a header of 1.0 and changes nothing. UNDO multiplies the first value by what the header says.
    let apply = "(f32.store (i32.load offset=68 (local.get $block)) (f32.const 1))
        (i32.store offset=96 (local.get $block) (i32.const 4)) (i32.const 0)";
    let out = "(i32.load offset=52 (local.get $block))";
    let undo = format!(
        "(f32.store {out} (f32.mul (f32.load {out}) (f32.load (i32.load offset=64 (local.get $block))))) (i32.const 0)"
    );
    let stage = |other_length: &str| {
        let four = "(i32.eq (i32.load offset=88 (local.get $block)) (i32.const 4))";
        let undo = format!("(if (result i32) {four} (then {undo}) (else {other_length}))");
        let body = format!("(if (result i32) (i32.eq (local.get $op) (i32.const 36)) (then {apply}) (else {undo}))");
        plugin(&manifest("normalize", r#","max_header":4"#), OK, &body)
    };
    // 1.0 with this bit is infinity.
    breaks(stage("(i32.const -1)"), "damage", "byte 3 of a header with 0x40 flipped: value 0 is undone to -inf");
    breaks(stage("unreachable"), "damage", "an empty header: plugin `hostile`, UNDO");
}

#[test]
fn a_plugin_that_saves_less_than_a_round_leaves_behind_breaks_resume() {
    // ROUND_END (5) counts; SELECT chooses client 0 after an even number of rounds, client 1 after an odd one.
    let count = "(if (i32.eq (local.get $op) (i32.const 5))
        (then (i32.store (i32.const 1024) (i32.add (i32.const 1) (i32.load (i32.const 1024)))))) (i32.const 0)";
    let chosen = "(f64.store (i32.load offset=60 (local.get $block))
        (f64.convert_i32_u (i32.and (i32.load (i32.const 1024)) (i32.const 1)))) (i32.const 0)";
    let module = plugin(&manifest("select", ""), count, &format!("{} {chosen}", none_chosen()));
    breaks(
        module,
        "resume",
        "a new instance that loaded what was saved answers differently: 0 instead of 1 at place 0",
    );
}

#[test]
fn a_plugin_that_keeps_from_the_control_plane_what_data_operations_need_breaks_sync() {
    // ROUND_BEGIN (3) notes the round's coming; APPLY multiplies by what was noted, which is 0 where nobody was told.
    let note =
        "(if (i32.eq (local.get $op) (i32.const 3)) (then (f32.store (i32.const 1024) (f32.const 1)))) (i32.const 0)";
    let out = of("out");
    let product = each_element(&format!("(f32.store {out} (f32.mul (f32.load {out}) (f32.load (i32.const 1024))))"));
    let stage = |note: &str| plugin(&manifest("normalize", ""), note, &format!("{product} {OK}"));
    breaks(
        stage(note),
        "sync",
        "in round 2 an instance that got LAYOUT and SYNC alone, as in a run, answers otherwise",
    );
    // Told at LAYOUT (1), every instance knows.
    let lab = Lab::new();
    lab.write("right.wasm", stage(&note.replace("(i32.const 3)", "(i32.const 1)")));
    let finished = lab.colla(&["plugin", "check", "right.wasm"]);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    // POST_BEGIN (13) too is answered on the control instance alone, and its reply must tell.
    let post =
        plugin(&manifest("post", ""), &note.replace("(i32.const 3)", "(i32.const 13)"), &format!("{product} {OK}"));
    breaks(post, "sync", "answers otherwise");
    // What ENCODE saw and did not send, DECODE on the server does not know.
    let encode = "(f32.store (i32.const 1024) (f32.const 1)) (i32.store offset=96 (local.get $block) (i32.const 8)) (i32.const 0)";
    let decode = format!(
        "(if (i32.ne (i32.load offset=88 (local.get $block)) (i32.const 8)) (then (return (i32.const -1)))) {}",
        fill_out("(f32.load (i32.const 1024))")
    );
    let both = format!("(if (result i32) (i32.eq (local.get $op) (i32.const 40)) (then {decode}) (else {encode}))");
    breaks(plugin(&manifest("compress", CODEC), OK, &both), "sync", "answers otherwise");
}

#[test]
fn a_stage_that_fails_behind_its_first_frame_breaks_its_laws() {
    let behind = "(i64.ne (i64.load offset=8 (local.get $block)) (i64.const 0))";
    let in_place = |body: &str| format!("(if {behind} (then {body}))");
    let op_is = |op: u32, then: &str| format!("(if (i32.eq (local.get $op) (i32.const {op})) (then {then}))");
    let fits = "(if (i32.ne (i32.load offset=88 (local.get $block)) (i32.const 8)) (then (return (i32.const -1))))";
    let encode = "(i32.store offset=96 (local.get $block) (i32.const 8)) (i32.const 0)";
    let codec = |behind: &str, length: &str| {
        let decode = format!("{behind} {length} (return (block (result i32) {FILL_ZERO}))");
        plugin(&manifest("compress", CODEC), OK, &format!("{} {encode}", op_is(40, &decode)))
    };
    breaks(
        codec(&in_place("(unreachable)"), fits),
        "round-trip",
        "131,075 of ordinary values: plugin `hostile`, DECODE",
    );
    // Later frames believe any length.
    let first_only = format!("(if (i64.eqz (i64.load offset=8 (local.get $block))) (then {fits}))");
    breaks(codec("", &first_only), "damage", "an empty piece is decoded as if it were whole (piece 1 of 3)");
    // APPLY (36) writes a header of four zeros; UNDO (37) of a later frame makes zeros, or traps on a header of another length.
    let apply = "(i32.store (i32.load offset=68 (local.get $block)) (i32.const 0))
        (i32.store offset=96 (local.get $block) (i32.const 4)) (i32.const 0)";
    let four =
        |then: &str| format!("(if (i32.ne (i32.load offset=88 (local.get $block)) (i32.const 4)) (then {then}))");
    let undo = |body: &str| {
        plugin(
            &manifest("normalize", r#","max_header":4"#),
            OK,
            &format!("{} {apply}", op_is(37, &format!("{body} (return (i32.const 0))"))),
        )
    };
    let refuse = four("(return (i32.const -1))");
    let zeros = in_place(&format!("(return (block (result i32) {FILL_ZERO}))"));
    breaks(undo(&format!("{refuse} {zeros}")), "undo", "ordinary values: value 65536 was");
    breaks(
        undo(&format!("{} {refuse}", in_place(&four("unreachable")))),
        "damage",
        "an empty header (piece 1): plugin",
    );
}

#[test]
fn a_rule_is_asked_with_as_many_rows_as_it_takes() {
    let lab = Lab::new();
    for rule in ["krum:f=3", "bulyan:f=2", "multi-krum:m=8", "mda:f=4"] {
        let finished = lab.colla(&["plugin", "check", rule]);
        assert_eq!(finished.code, 0, "{rule}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("; with 15 rows, since it refuses 7"), "{}", finished.stdout);
    }
    let finished = lab.colla(&["plugin", "check", "krum:f=40"]);
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    let none =
        "FAIL  finite      it refuses cohorts of 7, 15, 31, 63 rows; with 7: ordinary values: plugin `krum`, DECIDE";
    assert!(finished.stdout.contains(none), "{}", finished.stdout);
}

#[test]
fn a_rule_that_weighs_after_training_sees_seven_columns() {
    // Refuses a table of another size: 7 clients, 7 columns.
    let after = r#","reduce":["sum-after"]"#;
    let seven =
        "(if (i32.ne (i32.load offset=72 (local.get $block)) (i32.const 49)) (then unreachable)) (i32.const -1)";
    breaks(plugin(&manifest("aggregate", after), OK, seven), "weights", "it failed with E_ARG");
}

#[test]
fn weights_that_are_missing_or_negative_break_weights() {
    breaks(plugin(&manifest("aggregate", ""), OK, OK), "weights", "weight 0 of 7 is NaN");
    let negative = "(f64.store (i32.load offset=60 (local.get $block)) (f64.const -1)) (i32.const 0)";
    breaks(plugin(&manifest("aggregate", ""), OK, negative), "weights", "weight 0 of 7 is -1");
}

/// A codec whose ENCODE (39) claims 8 bytes and whose DECODE (40) is `decode`.
fn codec(decode: &str) -> String {
    let encode = "(i32.store offset=96 (local.get $block) (i32.const 8)) (i32.const 0)";
    format!("(if (result i32) (i32.eq (local.get $op) (i32.const 40)) (then {decode}) (else {encode}))")
}

#[test]
fn an_encoder_that_claims_too_much_or_decodes_to_nan_breaks_its_laws() {
    let claim = "(i32.store offset=96 (local.get $block) (i32.const 0x7fffffff)) (i32.const 0)";
    breaks(plugin(&manifest("compress", CODEC), OK, claim), "round-trip", "it claims 2147483647 bytes of output");
    let nan = plugin(&manifest("compress", CODEC), OK, &codec(FILL_NAN));
    breaks(nan, "round-trip", "ordinary values: value 0 is decoded to NaN");
}

#[test]
fn a_decoder_that_believes_any_bytes_or_traps_on_them_breaks_damage() {
    breaks(plugin(&manifest("compress", CODEC), OK, &codec(FILL_ZERO)), "damage", "an empty piece is decoded as if");
    let trap = "(if (i32.ne (i32.load offset=88 (local.get $block)) (i32.const 8)) (then unreachable))";
    let trap = format!("{trap} {FILL_ZERO}");
    breaks(
        plugin(&manifest("compress", CODEC), OK, &codec(&trap)),
        "damage",
        "an empty piece: plugin `hostile`, DECODE",
    );
}

#[test]
fn a_manifest_that_is_wrong_about_random_numbers_breaks_random() {
    breaks(plugin(&manifest("client", r#","rng":true"#), OK, OK), "random", "imports no `rand_fill`");
}

#[test]
fn parameters_that_the_plugin_does_not_have_are_the_users_mistake() {
    let lab = Lab::new();
    for (argument, words) in
        [("clip:nrom=2", "nrom"), ("clip:norm=-1", "norm"), ("nosuch.wasm", "`nosuch.wasm` does not exist")]
    {
        let finished = lab.colla(&["plugin", "check", argument]);
        assert_eq!(finished.code, 3, "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[test]
fn a_library_that_answers_otherwise_breaks_native() {
    let lab = Lab::new();
    let (clip, _) = native("clip");
    let clip = clip.to_str().expect("a path in UTF-8");
    // The manifest of `clip`, and code that leaves every update as it is.
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/clip/manifest.json"));
    lab.write("clip.wasm", plugin(&text.expect("the manifest"), OK, OK));
    for (file, words) in [
        ("clip.wasm", "the native library answers differently"),
        ("median", "the manifests of `median` (WASM) and `clip`"),
    ] {
        let finished = lab.colla(&["plugin", "check", file, "--native", clip]);
        assert_eq!(finished.code, 6, "{}", finished.stderr);
        assert!(finished.stdout.contains(words) && finished.stderr.contains("native;"), "{}", finished.stdout);
    }
}

#[test]
fn what_cannot_be_checked_is_refused_by_name() {
    let lab = Lab::new();
    let (library, _) = native("clip");
    for (file, words) in [
        (library.to_str().expect("a path in UTF-8"), "give the WASM file, and the library with `--native`"),
        ("fedporx", "did you mean `fedprox`?"),
    ] {
        let finished = lab.colla(&["plugin", "check", file]);
        assert_eq!(finished.code, 3, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    lab.write("own.wasm", plugin(&manifest("client", ""), OK, OK));
    for (library, code, words) in [
        ("nosuch.so", 3, "`--native nosuch.so`: the file does not exist"),
        ("clip", 3, "`--native clip`: the file does not exist"),
        ("own.wasm", 2, "`--native own.wasm`: it is a WASM file; give the native library of the same source"),
    ] {
        let finished = lab.colla(&["plugin", "check", "clip", "--native", library]);
        assert_eq!(finished.code, code, "{}", finished.stderr);
        assert!(finished.stderr.contains(words) && finished.stdout.is_empty(), "{}", finished.stderr);
    }
}

#[test]
fn a_plugin_of_two_roles_is_asked_about_both() {
    let lab = Lab::new();
    let both = manifest("client", "").replace(r#"["client"]"#, r#"["client","server-step"]"#);
    lab.write("both.wasm", plugin(&both, OK, FILL_ZERO));
    let finished = lab.colla(&["plugin", "check", "both.wasm"]);
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    for words in ["pass  repeatable  client: ", "pass  repeatable  server-step: ", "keeps all 10 laws"] {
        assert!(finished.stdout.contains(words), "`{words}` is not in\n{}", finished.stdout);
    }
}
