//! What client plugins keep of a client, upload besides its update, and train for it alone.

use super::support::{Lab, RunDir, small};
use super::wat::{each_element, for_operations, of, of_list, planning_plugin};
use colla_plugin_sdk::{Map, Value};

const WEIGH: u32 = 32;
const STEP: u32 = 35;
const CLIENT_END: u32 = 41;

fn manifest(kinds: &str, more: &str) -> String {
    format!(r#"{{"abi":"1.0","name":"own","version":"0.1.0","kinds":[{kinds}],"summary":"a test",{more}}}"#)
}

fn plan(phases: impl IntoIterator<Item = Map>) -> Map {
    Map::new().with("phases", phases.into_iter().map(Value::Map).collect::<Vec<_>>())
}

fn with_terms(phase: Map, terms: impl IntoIterator<Item = Map>) -> Map {
    phase.with("terms", terms.into_iter().map(Value::Map).collect::<Vec<_>>())
}

fn linear(slot: &str, scale: f64) -> Map {
    Map::new().with("term", "linear").with("slot", slot).with("scale", scale)
}

/// Control variates in the manner of SCAFFOLD: a slot of each client, one of the server that travels down, a vector up.
///
/// ```text
/// terms       −1/8·c + 1/16·s
/// CLIENT_END  v = (w − w_local)/2 − s − c/4,  c ← c + v
/// STEP        w ← w + Δ,  s ← s + Σ v/16
/// ```
fn variates() -> Vec<u8> {
    let more = r#""state":[{"name":"s","scope":"server","broadcast":true},{"name":"c","scope":"client"}],
        "vectors":[{"name":"v","compressible":true}]"#;
    let (row, base, out) = (of_list("rows", 0), of("base"), of("out"));
    let (own, told, vector) = (of_list("states", 0), of_list("states", 1), of_list("rows_out", 0));
    let end = each_element(&format!(
        "(f32.store {vector} (f32.sub (f32.mul (f32.sub (f32.load {base}) (f32.load {row})) (f32.const 0.5))
            (f32.add (f32.load {told}) (f32.mul (f32.load {own}) (f32.const 0.25)))))
         (f32.store {own} (f32.add (f32.load {own}) (f32.load {vector})))"
    ));
    let (server, sum) = (of_list("states", 0), of_list("rows", 1));
    let step = each_element(&format!(
        "(f32.store {out} (f32.add (f32.load {base}) (f32.load {row})))
         (f32.store {server} (f32.add (f32.load {server}) (f32.mul (f32.load {sum}) (f32.const 0.0625))))"
    ));
    let terms = with_terms(Map::new(), [linear("c", -0.125), linear("s", 0.0625)]);
    let block = for_operations(&[(CLIENT_END, &end), (STEP, &step), (WEIGH, &weights_of("1"))]);
    planning_plugin(&manifest(r#""client","server-step""#, more), &plan([terms]), &block)
}

/// WEIGH that gives every client the same weight.
fn weights_of(weight: &str) -> String {
    format!(
        "(block $done (loop $next
           (br_if $done (i32.ge_u (local.get $i) (i32.load offset=28 (local.get $block))))
           (f64.store (i32.add (i32.load offset=60 (local.get $block)) (i32.shl (local.get $i) (i32.const 3)))
             (f64.const {weight}))
           (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))"
    )
}

/// A plugin of the role client with one slot, which no operation changes.
fn keeper(init: &str, more: &str, phases: impl IntoIterator<Item = Map>) -> Vec<u8> {
    let more = format!(r#""state":[{{"name":"mine","scope":"client","init":{init}}}]{more}"#);
    planning_plugin(&manifest(r#""client""#, &more), &plan(phases), "(i32.const 1)")
}

fn without_clock(run: &RunDir) -> Vec<serde_json::Value> {
    let mut lines = run.metrics();
    for line in &mut lines {
        line.as_object_mut().expect("an object").retain(|key, _| !key.ends_with("seconds") && key != "unix_time");
    }
    lines
}

#[test]
fn slots_and_vectors_give_the_same_bytes_on_any_number_of_threads_and_in_memory_or_file() {
    let lab = Lab::new();
    lab.write("own.wasm", variates());
    for (name, stack) in [
        ("plain", &["--plugin", "own.wasm"][..]),
        ("coded", &["--plugin", "own.wasm", "--plugin", "qsgd:bits=6,error-feedback=true"]),
    ] {
        let weights = |more: &[&str]| {
            let rounds = ["--set", "federation.num-server-rounds=6"];
            lab.weights(&format!("{name}{}", more.concat()), &small(&[stack, &rounds, more].concat()))
        };
        let one = weights(&["--threads", "1"]);
        assert_eq!(one, weights(&["--threads", "2"]), "{name}");
        assert_eq!(one, weights(&["--threads", "8"]), "{name}");
        assert_eq!(one, weights(&["--threads", "3", "--set", "host.state-memory=0"]), "{name}: all in the file");
        assert_ne!(one, lab.weights(&format!("{name}-without"), &small(&["--set", "federation.num-server-rounds=6"])));
    }
}

#[test]
fn slots_of_zero_and_an_empty_plan_are_plain_training_bit_for_bit() {
    let lab = Lab::new();
    let plain = lab.weights("plain", &small(&[]));
    let zero = with_terms(Map::new(), [linear("mine", 1.0)]);
    for (name, phases) in [("zero", vec![zero]), ("empty", vec![]), ("bare", vec![Map::new()])] {
        lab.write("own.wasm", keeper("0", "", phases));
        assert_eq!(plain, lab.weights(name, &small(&["--plugin", "own.wasm"])), "{name}");
    }
    lab.write("own.wasm", keeper("0.5", "", [with_terms(Map::new(), [linear("mine", 1.0)])]));
    assert_ne!(plain, lab.weights("half", &small(&["--plugin", "own.wasm"])));
}

#[test]
fn prox_toward_what_was_received_is_fedprox_bit_for_bit_in_the_first_round() {
    let lab = Lab::new();
    let one = ["--set", "federation.num-server-rounds=1"];
    let toward = Map::new().with("term", "prox").with("mu", 0.25).with("toward", "mine");
    for init in [r#""received-weights""#, r#""initial-weights""#] {
        lab.write("own.wasm", keeper(init, "", [with_terms(Map::new(), [toward.clone()])]));
        let slot =
            lab.weights(&format!("slot-{}", init.len()), &small(&[&one[..], &["--plugin", "own.wasm"]].concat()));
        let prox = lab
            .weights(&format!("prox-{}", init.len()), &small(&[&one[..], &["--plugin", "fedprox:mu=0.25"]].concat()));
        assert_eq!(slot, prox, "{init}");
    }
}

#[test]
fn an_own_vector_that_is_the_update_sums_to_the_uniform_mean_bit_for_bit() {
    // Four clients, weights 1: w + Σ v / 4. The aggregate is ignored.
    let (row, base, out) = (of_list("rows", 0), of("base"), of("out"));
    let end =
        each_element(&format!("(f32.store {} (f32.sub (f32.load {row}) (f32.load {base})))", of_list("rows_out", 0)));
    let sum = of_list("rows", 1);
    let step = each_element(&format!(
        "(f32.store {out} (f32.add (f32.load {base}) (f32.mul (f32.load {sum}) (f32.const 0.25))))"
    ));
    let block = for_operations(&[(CLIENT_END, &end), (STEP, &step), (WEIGH, &weights_of("1"))]);
    let manifest = manifest(r#""client","server-step""#, r#""vectors":[{"name":"v"}]"#);
    let lab = Lab::new();
    lab.write("own.wasm", planning_plugin(&manifest, &Map::new(), &block));
    let four = ["--set", "federation.fraction-train=0.2"];
    let vector = lab.run("vector", &small(&[&four[..], &["--plugin", "own.wasm"]].concat()));
    let mean = lab.run("mean", &small(&[&four[..], &["--plugin", "fedavg:weights=uniform"]].concat()));
    assert_eq!(vector.summary()["weights_blake3"], mean.summary()["weights_blake3"]);
    for (with, without) in vector.metrics().iter().zip(&mean.metrics()).skip(1) {
        assert_eq!(with["upload_bytes"].as_u64(), without["upload_bytes"].as_u64().map(|bytes| 2 * bytes));
        assert_eq!(with["download_bytes"], without["download_bytes"]);
    }
}

#[test]
fn a_broadcast_slot_is_counted_downwards_for_every_client() {
    let lab = Lab::new();
    lab.write("own.wasm", variates());
    let (own, plain) = (lab.run("own", &small(&["--plugin", "own.wasm"])), lab.run("plain", &small(&[])));
    for (with, without) in own.metrics().iter().zip(&plain.metrics()).skip(1) {
        for (direction, vectors) in [("upload_bytes", 2), ("download_bytes", 2)] {
            assert_eq!(
                with[direction].as_u64(),
                without[direction].as_u64().map(|bytes| vectors * bytes),
                "{direction}"
            );
        }
    }
}

const PERSONAL: &str = r#","personal":"mine""#;

#[test]
fn personal_phases_leave_the_upload_alone_and_are_measured_beside_the_common_model() {
    let lab = Lab::new();
    let plain = lab.run("plain", &small(&[]));
    let phase = Map::new().with("slot", "mine").with("epochs", 3i64);
    lab.write("own.wasm", keeper(r#""received-weights""#, PERSONAL, [phase]));
    let own = lab.run("own", &small(&["--plugin", "own.wasm"]));
    assert_eq!(own.summary()["weights_blake3"], plain.summary()["weights_blake3"]);
    let (own, plain) = (&own.summary()["final"], &plain.summary()["final"]);
    assert_eq!(own["client_accuracy"], plain["client_accuracy"]);
    let mean = |name: &str| own[name]["mean"].as_f64().expect("a mean");
    assert!(mean("personal_accuracy") > mean("client_accuracy"), "trained on the very rows: {own}");
    assert!(plain["personal_accuracy"].is_null());
}

#[test]
fn clients_that_never_took_part_are_measured_by_what_their_slot_would_begin_with() {
    let lab = Lab::new();
    let phase = || [Map::new().with("slot", "mine")];
    lab.write("own.wasm", keeper(r#""received-weights""#, PERSONAL, phase()));
    let none = small(&["--plugin", "own.wasm", "--set", "federation.num-server-rounds=0"]);
    let last = lab.run("none", &none).summary()["final"].clone();
    assert_eq!(last["personal_accuracy"], last["client_accuracy"]);
    // From one client on, its personal model differs; the other nineteen are the common one of that round.
    let one = ["--set", "federation.num-server-rounds=1", "--set", "federation.fraction-train=0.05"];
    let last = lab.run("one", &small(&[&one[..], &["--plugin", "own.wasm"]].concat())).summary()["final"].clone();
    assert_ne!(last["personal_accuracy"], serde_json::Value::Null);
}

#[test]
fn personal_training_repeats_on_any_number_of_threads() {
    let lab = Lab::new();
    let prox = || Map::new().with("term", "prox").with("mu", 0.5);
    let phases =
        [with_terms(Map::new().with("slot", "mine"), [prox()]), Map::new().with("slot", "mine").with("steps", 3i64)];
    lab.write("own.wasm", keeper(r#""received-weights""#, PERSONAL, phases));
    let run = |threads: &str| {
        let more = ["--plugin", "own.wasm", "--threads", threads, "--set", "evaluate.clients=\"always\""];
        without_clock(&lab.run(threads, &small(&more)))
    };
    let one = run("1");
    assert_eq!(one, run("2"));
    assert_eq!(one, run("8"));
    assert_eq!(one.last().map(|line| line["personal_accuracy"].is_object()), Some(true));
}

#[test]
fn a_strong_pull_keeps_the_personal_model_at_the_common_one() {
    // lr·mu = 1: after each step w is where it was received, less lr times the gradient there; nothing piles up.
    let lab = Lab::new();
    let accuracy = |name: &str, mu: f64| {
        let prox = Map::new().with("term", "prox").with("mu", mu);
        let phase = with_terms(Map::new().with("slot", "mine").with("epochs", 20i64), [prox]);
        lab.write("own.wasm", keeper(r#""received-weights""#, PERSONAL, [phase]));
        let last = lab.run(name, &small(&["--plugin", "own.wasm"])).summary()["final"].clone();
        last["personal_accuracy"]["mean"].as_f64().expect("a mean")
            - last["client_accuracy"]["mean"].as_f64().expect("a mean")
    };
    let (free, pulled) = (accuracy("free", 0.0), accuracy("pulled", 10.0));
    assert!(pulled < free, "{pulled} and {free}");
}

#[test]
fn a_phase_may_be_told_its_length() {
    let lab = Lab::new();
    for (name, count, key) in [("steps", 2i64, "local-steps"), ("epochs", 3, "local-epochs")] {
        lab.write("own.wasm", keeper("0", "", [Map::new().with(name, count)]));
        let told = lab.weights(name, &small(&["--plugin", "own.wasm"]));
        let set = format!("train.{key}={count}");
        assert_eq!(told, lab.weights(key, &small(&["--set", &set])), "{name}");
    }
}

#[test]
fn two_plugins_may_not_disagree_about_the_length_or_both_keep_the_personal_model() {
    let lab = Lab::new();
    let refused = |pair: [Vec<u8>; 2], words: &str| {
        for (module, name) in pair.into_iter().zip(["first.wasm", "second.wasm"]) {
            let text = module.windows(5).position(|bytes| bytes == b"\"own\"").expect("the name");
            let mut module = module;
            module[text + 1..text + 4].copy_from_slice(&name.as_bytes()[..3]);
            lab.write(name, module);
        }
        let finished = lab.colla(&small(&["--plugin", "first.wasm", "--plugin", "second.wasm"]));
        assert_eq!(finished.code, 3, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("plugins `fir` and `sec`") && finished.stderr.contains(words),
            "{}",
            finished.stderr
        );
    };
    let long = |count: i64| keeper("0", "", [Map::new().with("epochs", count)]);
    refused([long(2), long(3)], "2 epochs and for 3 epochs");
    let personal = || keeper("0", PERSONAL, [Map::new().with("slot", "mine")]);
    refused([personal(), personal()], "the personal model");
}

#[test]
fn the_servers_learning_rate_is_the_hosts_until_a_plugin_takes_the_step() {
    let lab = Lab::new();
    let half = ["--set", "federation.server-learning-rate=0.5"];
    lab.write("own.wasm", keeper("0", "", []));
    let kept = lab.weights("kept", &small(&[&half[..], &["--plugin", "own.wasm"]].concat()));
    assert_eq!(kept, lab.weights("plain", &small(&half)));
    lab.write("own.wasm", variates());
    let finished = lab.colla(&small(&[&half[..], &["--plugin", "own.wasm"]].concat()));
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    assert!(finished.stderr.contains("`own` takes the server step"), "{}", finished.stderr);
}

/// The run ends with exit code 6 and a message with these words.
#[track_caller]
fn fails(module: Vec<u8>, words: &[&str]) {
    let lab = Lab::new();
    lab.write("own.wasm", module);
    let finished = lab.colla(&small(&["--plugin", "own.wasm", "--out", "run"]));
    assert_eq!(finished.code, 6, "{}", finished.stderr);
    for word in ["plugin `own`"].iter().chain(words) {
        assert!(finished.stderr.contains(word), "`{word}` is not in\n{}", finished.stderr);
    }
    assert!(!lab.path().join("run/model.safetensors").exists());
}

/// A plugin with a slot and a vector whose CLIENT_END and WEIGH are these.
fn hostile(end: &str, weigh: &str) -> Vec<u8> {
    let more = r#""state":[{"name":"mine","scope":"client"}],"vectors":[{"name":"v"}]"#;
    let block = for_operations(&[(CLIENT_END, end), (WEIGH, weigh)]);
    planning_plugin(&manifest(r#""client","server-step""#, more), &Map::new(), &block)
}

#[test]
fn values_that_are_not_finite_or_too_large_are_the_plugins_fault() {
    let (vector, state) = (of_list("rows_out", 0), of_list("states", 0));
    let fine = format!("(f32.store {vector} (f32.const 0))");
    let store = |address: &str, value: &str| each_element(&format!("{fine} (f32.store {address} (f32.const {value}))"));
    let one = weights_of("1");
    fails(hostile(&store(&state, "nan"), &one), &["CLIENT_END", "NaN into the state `mine`"]);
    fails(hostile(&store(&vector, "inf"), &one), &["CLIENT_END", "vector `v` is inf"]);
    fails(hostile(&store(&vector, "65"), &one), &["CLIENT_END", "vector `v` is 65", "update-bound = 64"]);
    // What is not written is not what the last client wrote.
    fails(hostile("", &one), &["CLIENT_END", "vector `v` is NaN"]);
    for weight in ["nan", "-1", "inf"] {
        fails(hostile(&each_element(&fine), &weights_of(weight)), &["WEIGH", "weights must be finite and at least 0"]);
    }
    fails(hostile(&each_element(&fine), &weights_of("1e308")), &["WEIGH", "vector `v`"]);
}

#[test]
fn a_plugin_with_vectors_may_not_skip() {
    fails(hostile("(return (i32.const 1))", &weights_of("1")), &["CLIENT_END", "skipped a frame", "`v`"]);
}

#[test]
fn plans_that_cannot_be_carried_out_are_the_plugins_fault() {
    let planned = |phase: Map| keeper("0", "", [phase]);
    fails(planned(Map::new().with("slot", "absent")), &["CLIENT_BEGIN", "the slot `absent`"]);
    fails(planned(with_terms(Map::new(), [linear("absent", 1.0)])), &["CLIENT_BEGIN", "the slot `absent`", "`mine`"]);
    fails(planned(with_terms(Map::new(), [linear("mine", 1.0).with("layers", "all")])), &["CLIENT_BEGIN", "`layers`"]);
    fails(planned(Map::new().with("epochs", 0i64)), &["CLIENT_BEGIN", "`epochs` of a phase is 0"]);
    fails(keeper("0", "", [Map::new(), Map::new()]), &["CLIENT_BEGIN", "only one can be uploaded"]);
}

#[test]
fn a_personal_model_that_diverges_is_named() {
    let lab = Lab::new();
    let wild = Map::new().with("term", "learning-rate-scale").with("factor", 1e30);
    let phase = with_terms(Map::new().with("slot", "mine").with("epochs", 20i64), [wild]);
    lab.write("own.wasm", keeper(r#""received-weights""#, PERSONAL, [phase]));
    let finished = lab.colla(&small(&["--plugin", "own.wasm"]));
    assert_eq!(finished.code, 7, "{}", finished.stderr);
    assert!(finished.stderr.contains("slot `mine`"), "{}", finished.stderr);
}
