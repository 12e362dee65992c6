//! What travels between clients and server: what is undone there, what is counted, what is kept of a client.

use super::support::{Lab, small};
use super::wat::{OK, fill_mix_out, fill_out, manifest, only, plugin, replying_plugin};
use colla_plugin_sdk::{Map, Value, abi::op};

/// Weights of the MLP 64-16-10 of the small experiment, 64·16 + 16 + 16·10 + 10.
const P: u64 = 1210;

/// Swaps the last two values, biases that training moves; the inverse is itself.
const SWAP: &str = "(local.set $i (i32.load offset=4832 (i32.load offset=52 (local.get $block))))
    (i32.store offset=4832 (i32.load offset=52 (local.get $block))
      (i32.load offset=4836 (i32.load offset=52 (local.get $block))))
    (i32.store offset=4836 (i32.load offset=52 (local.get $block)) (local.get $i)) (i32.const 0)";
/// Turns the sign of the last but one; the inverse is itself. Not the same before and after a swap.
const NEGATE: &str = "(i32.store offset=4832 (i32.load offset=52 (local.get $block))
    (i32.xor (i32.load offset=4832 (i32.load offset=52 (local.get $block))) (i32.const 0x80000000))) (i32.const 0)";

#[test]
fn stages_with_a_header_are_undone_in_reverse_order() {
    let lab = Lab::new();
    for (name, body) in [("swap", SWAP), ("negate", NEGATE)] {
        let manifest = manifest("normalize", r#","max_header":8"#).replace("hostile", name);
        lab.write(&format!("{name}.wasm"), plugin(&manifest, OK, body));
    }
    let both = &["--plugin", "swap.wasm", "--plugin", "negate.wasm"];
    assert_eq!(lab.weights("plain", &small(&[])), lab.weights("undone", &small(both)));
    // Without headers nothing is undone.
    for (name, body) in [("swap", SWAP), ("negate", NEGATE)] {
        let manifest = manifest("normalize", "").replace("hostile", name);
        lab.write(&format!("{name}.wasm"), plugin(&manifest, OK, body));
    }
    assert_ne!(lab.weights("plain2", &small(&[])), lab.weights("not-undone", &small(both)));
}

/// Takes the first value away and sends it in the header: the server's side can know it from nowhere else.
#[test]
fn a_header_travels_and_is_counted_with_its_length() {
    let lab = Lab::new();
    let apply = "(i32.store (i32.load offset=68 (local.get $block)) (i32.load (i32.load offset=52 (local.get $block))))
        (i32.store (i32.load offset=52 (local.get $block)) (i32.const 0))
        (i32.store offset=96 (local.get $block) (i32.const 4)) (i32.const 0)";
    let undo = "(i32.store (i32.load offset=52 (local.get $block)) (i32.load (i32.load offset=64 (local.get $block))))
        (i32.const 0)";
    let body = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const {})) (then {apply}) (else {}))",
        op::APPLY,
        only(op::UNDO, undo)
    );
    lab.write("first.wasm", plugin(&manifest("normalize", r#","max_header":16"#), OK, &body));
    let run = lab.run("first", &small(&["--plugin", "first.wasm"]));
    assert_eq!(run.summary()["weights_blake3"], lab.weights("plain", &small(&[])));
    let first = &run.metrics()[1];
    // One frame: the values, the header's length and its four bytes.
    assert_eq!(first["upload_bytes"].as_u64(), Some(first["clients"].as_u64().expect("clients") * (4 * P + 4 + 4)));
}

/// Two frames of a model of 75,010 weights: SCAN adds up the first value of each and its number of elements.
#[test]
fn a_stage_s_own_scan_does_not_depend_on_its_unit_or_on_threads() {
    let lab = Lab::new();
    let scan = fill_mix_out(
        "(f64.add (f64.add
            (f64.load (i32.add (i32.load offset=40 (local.get $block)) (i32.shl (local.get $i) (i32.const 3))))
            (f64.promote_f32 (f32.load (i32.load (i32.load offset=32 (local.get $block))))))
            (f64.convert_i32_u (i32.load offset=24 (local.get $block))))",
    );
    // The value behind the one measure that is asked for as well, in units of 2⁻³⁰.
    let apply = fill_out(
        "(f32.mul (f32.const 0x1p-30) (f32.demote_f64 (f64.load offset=8 (i32.load offset=40 (local.get $block)))))",
    );
    let body = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const {})) (then {scan}) (else {}))",
        op::SCAN,
        only(op::APPLY, &apply)
    );
    let reply = Map::new().with("measures", vec![Value::from("norm2")]).with("scan", 2i64);
    let large = &["--set", "model.hidden=[1000]", "--set", "federation.num-server-rounds=1"];
    let run = |unit: &str, threads: &'static str| {
        let manifest = manifest("normalize", &format!(r#","unit":"{unit}""#));
        lab.write("scan.wasm", replying_plugin(&manifest, &[(op::SCAN_PLAN, reply.clone())], &body));
        let arguments = [&large[..], &["--plugin", "scan.wasm", "--threads", threads]].concat();
        lab.run(&format!("{unit}{threads}"), &small(&arguments))
    };
    let whole = run("whole", "1");
    let start = lab.run("start", &small(&[&large[..], &["--set", "federation.num-server-rounds=0"]].concat()));
    // The first values are small beside the 75,010 elements: 75,010 · 2⁻³⁰ is what every weight moves by.
    for (start, end) in start.weights().iter().zip(whole.weights()) {
        assert!(((end - start) * 2f32.powi(30) - 75_010.0).abs() < 200.0, "{start} to {end}");
    }
    for (unit, threads) in [("range", "1"), ("tensor", "1"), ("range", "3"), ("whole", "3")] {
        assert_eq!(whole.weights(), run(unit, threads).weights(), "{unit} on {threads} threads");
    }
}

/// ENCODE counts in its state how often its client has sent, and sends the count; the update is the count · 2⁻¹⁰ at the
/// first weight.
fn counter(more: &str) -> Vec<u8> {
    let state = "(i32.load (i32.load offset=48 (local.get $block)))";
    let encode = format!(
        "(f32.store {state} (f32.add (f32.const 1) (f32.load {state})))
         (f32.store (i32.load offset=68 (local.get $block)) (f32.load {state}))
         (i32.store offset=96 (local.get $block) (i32.const 4)) (i32.const 0)"
    );
    let decode = "(f32.store (i32.load offset=52 (local.get $block))
        (f32.mul (f32.const 0x1p-10) (f32.load (i32.load offset=64 (local.get $block))))) (i32.const 0)";
    let body = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const {})) (then {encode}) (else {}))",
        op::ENCODE,
        only(op::DECODE, decode)
    );
    let manifest =
        manifest("compress", &format!(r#","max_encoded":{{"num":4,"den":1,"plus":16}},"unit":"whole"{more}"#));
    let reply = Map::new().with("piece_state", vec![Value::I64(3)]);
    replying_plugin(&manifest, &[(op::LAYOUT, reply)], &body)
}

#[test]
fn a_compressor_s_state_is_each_client_s_own_from_round_to_round() {
    let lab = Lab::new();
    let two = &["--set", "partition.num-clients=2", "--set", "federation.fraction-train=1.0"];
    let start = lab.run("start", &small(&[&two[..], &["--set", "federation.num-server-rounds=0"]].concat()));
    let moved = |name: &str, state: &str, threads: &'static str| {
        lab.write("counter.wasm", counter(state));
        let run = lab.run(name, &small(&[&two[..], &["--plugin", "counter.wasm", "--threads", threads]].concat()));
        let apart: Vec<f32> =
            run.weights().iter().zip(start.weights()).map(|(a, b)| a - b).filter(|d| *d != 0.0).collect();
        let [only] = apart[..] else { panic!("{name}: {} weights moved", apart.len()) };
        (only * 1024.0 * 16.0).round() / 16.0
    };
    let piece = r#","state":[{"name":"q","scope":"client","shape":"piece"}]"#;
    // In each of three rounds both clients send how often they sent: 1 + 2 + 3.
    assert_eq!(moved("piece", piece, "1"), 6.0);
    assert_eq!(moved("threads", piece, "3"), 6.0);
    let model = r#","state":[{"name":"q","scope":"client","init":10}]"#;
    assert_eq!(moved("model", model, "1"), 36.0, "11 + 12 + 13");
    let by_name = r#","state":[{"name":"q","scope":"client","init":"from"}],
        "params":[{"name":"from","type":"float","default":20,"doc":"d"}]"#;
    assert_eq!(moved("parameter", by_name, "1"), 66.0, "21 + 22 + 23");
}

#[test]
fn a_slot_starts_from_the_weights_that_the_manifest_names() {
    let lab = Lab::new();
    let one = &["--set", "partition.num-clients=1", "--set", "federation.fraction-train=1.0"];
    // Sends all of its state as it is; the first update is the weights themselves.
    let copy = |to: &str, from: &str| {
        format!("(memory.copy {to} {from} (i32.shl (i32.load offset=24 (local.get $block)) (i32.const 2)))")
    };
    let (output, input) = ("(i32.load offset=68 (local.get $block))", "(i32.load offset=64 (local.get $block))");
    let (state, out) =
        ("(i32.load (i32.load offset=48 (local.get $block)))", "(i32.load offset=52 (local.get $block))");
    let length =
        "(i32.store offset=96 (local.get $block) (i32.shl (i32.load offset=24 (local.get $block)) (i32.const 2)))";
    let body = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const {})) (then {} {length} {OK}) (else {}))",
        op::ENCODE,
        copy(output, state),
        only(op::DECODE, &format!("{} {OK}", copy(out, input)))
    );
    let after = |rounds: &str, init: &str| {
        let state = format!(
            r#","max_encoded":{{"num":4,"den":1,"plus":0}},"state":[{{"name":"q","scope":"client","init":"{init}"}}]"#
        );
        lab.write("state.wasm", plugin(&manifest("compress", &state), OK, &body));
        let rounds_set = format!("federation.num-server-rounds={rounds}");
        lab.run(
            &format!("{init}{rounds}"),
            &small(&[&one[..], &["--plugin", "state.wasm", "--set", &rounds_set]].concat()),
        )
        .weights()
    };
    for init in ["initial-weights", "received-weights"] {
        // The client takes part first in round 1, so both are the weights before it: w, then 2w, then 3w.
        let (start, once, twice) = (after("0", init), after("1", init), after("2", init));
        for ((start, once), twice) in start.iter().zip(&once).zip(&twice) {
            assert_eq!((*once, *twice), (2.0 * start, 2.0 * start + start));
        }
    }
}

#[test]
fn selecting_every_client_is_the_same_as_sampling_every_client() {
    let lab = Lab::new();
    let all = &["--set", "federation.fraction-train=1.0"];
    let plain = lab.weights("plain", &small(all));
    // Ascending, and from the last one down.
    for (name, id) in [
        ("up", "(f64.convert_i32_u (local.get $i))"),
        ("down", "(f64.convert_i32_u (i32.sub (i32.const 19) (local.get $i)))"),
    ] {
        lab.write("select.wasm", plugin(&manifest("select", ""), OK, &only(op::SELECT, &fill_mix_out(id))));
        assert_eq!(plain, lab.weights(name, &small(&[&all[..], &["--plugin", "select.wasm"]].concat())), "{name}");
    }
}

/// Chooses the client whose number is the last round of client 0, and 19 if loss and round of client 0 contradict.
#[test]
fn a_selector_sees_losses_and_rounds_of_those_who_took_part() {
    let lab = Lab::new();
    // Client 0 has the first row: its loss at 8, its last round at 16.
    let loss = "(f64.load offset=8 (i32.load offset=40 (local.get $block)))";
    let last = "(f64.load offset=16 (i32.load offset=40 (local.get $block)))";
    let told = format!("(i32.eq (f64.gt {last} (f64.const 0)) (f64.gt {loss} (f64.const 0)))");
    let id = format!("(select (select {last} (f64.const 19) {told}) (f64.const -1) (i32.eqz (local.get $i)))");
    lab.write("select.wasm", plugin(&manifest("select", ""), OK, &only(op::SELECT, &fill_mix_out(&id))));
    let run = lab.run("told", &small(&["--plugin", "select.wasm"]));
    // Round 1: client 0. Rounds 2 and 3: client 1, the last round of client 0.
    let sizes: Vec<u64> = run.metrics()[1..].iter().map(|line| line["clients"].as_u64().expect("clients")).collect();
    assert_eq!(sizes, [1, 1, 1]);
    let losses: Vec<f64> = run.metrics()[1..].iter().map(|line| line["train_loss"].as_f64().expect("a loss")).collect();
    assert!(losses[2] < losses[1], "the same client in rounds 2 and 3: {losses:?}");
}

#[test]
fn a_selector_beside_poisson_cohorts_is_refused() {
    let lab = Lab::new();
    lab.write("select.wasm", plugin(&manifest("select", ""), OK, OK));
    let poisson = "federation.sampling=\"poisson\"";
    let refused = lab.colla(&small(&["--plugin", "select.wasm", "--set", poisson]));
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("`hostile` chooses the cohort"), "{}", refused.stderr);
}

/// In round 1 the replica is the weights, so nothing but zeros travels, and nothing is rounded. Later w − r and r + (w − r)
/// are rounded, so the clients train from weights that differ in the last place.
#[test]
fn a_lossless_compressor_downwards_changes_nothing_in_one_round_and_roundings_in_more() {
    let lab = Lab::new();
    for (direction, plugin) in [("down", "topk:ratio=1,direction=down"), ("both", "topk:ratio=1,direction=both")] {
        let one = &["--set", "federation.num-server-rounds=1"];
        let compressed = small(&[&one[..], &["--plugin", plugin]].concat());
        assert_eq!(
            lab.weights(&format!("{direction}a"), &small(one)),
            lab.weights(&format!("{direction}b"), &compressed)
        );
        let plain = lab.run(&format!("{direction}c"), &small(&[])).weights();
        let other = lab.run(&format!("{direction}d"), &small(&["--plugin", plugin])).weights();
        let apart = plain.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{direction}: {apart}");
    }
}

#[test]
fn a_client_pays_the_plain_weights_first_and_the_messages_it_missed_later() {
    let lab = Lab::new();
    let all = &["--set", "federation.fraction-train=1.0"];
    let run = |name: &str, plugin: &'static str| {
        let lines = lab.run(name, &small(&[&all[..], &["--plugin", plugin]].concat())).metrics();
        let bytes = |line: &serde_json::Value, key: &str| line[key].as_u64().expect("bytes");
        lines[1..].iter().map(|line| (bytes(line, "upload_bytes"), bytes(line, "download_bytes"))).collect::<Vec<_>>()
    };
    // Top 121 of 1210: an index of two bytes and a value of four each, the piece's length and count. 20 clients.
    let (plain, sparse) = (20 * 4 * P, 20 * (121 * 6 + 4 + 4));
    assert_eq!(run("down", "topk:ratio=0.1,direction=down"), [(plain, plain), (plain, sparse), (plain, sparse)]);
    assert_eq!(run("both", "topk:ratio=0.1,direction=both"), [(sparse, plain), (sparse, sparse), (sparse, sparse)]);
    assert_eq!(run("up", "topk:ratio=0.1"), [(sparse, plain), (sparse, plain), (sparse, plain)]);
}

#[test]
fn two_compressors_may_share_the_directions() {
    let lab = Lab::new();
    let lines = lab.run("shared", &small(&["--plugin", "topk:ratio=0.1", "--plugin", "qsgd:direction=down"])).metrics();
    assert_eq!(lines[1]["upload_bytes"], 6 * (121 * 6 + 4 + 4));
}
