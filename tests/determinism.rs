//! Same binary, same configuration, same seed: same bytes.

use super::support::{Lab, small};
use super::wat::{
    COPY_FIRST_ROW, FIRST_ROW_ONLY, GRAM, OK, column_after, fill_mix_out, manifest, negate_base, plugin,
    replying_plugin,
};
use colla_plugin_sdk::abi::op;
use colla_plugin_sdk::{Map, Value};

const STACK: &[&str] = &[
    "--plugin",
    "fedprox:mu=0.1",
    "--plugin",
    "fedadam:server-learning-rate=0.01",
    "--plugin",
    "clip:norm=5",
    "--plugin",
    "qsgd:bits=6,error-feedback=true",
];

#[test]
fn one_two_and_eight_threads_give_the_same_bytes() {
    let lab = Lab::new();
    let states = ["--plugin", "scaffold", "--plugin", "standardize", "--plugin", "powersgd:error-feedback=true"];
    let noise = ["--plugin", "ditto", "--plugin", "power-of-choice", "--plugin", "clip", "--plugin", "dp-gaussian"];
    for (name, plugins) in [
        ("sum", STACK.to_vec()),
        ("rows", vec!["--plugin", "trimmed-mean:beta=0.2"]),
        ("states", states.to_vec()),
        ("noise", noise.to_vec()),
    ] {
        let weights = |threads: &str| {
            lab.weights(&format!("{name}{threads}"), &small(&[&plugins[..], &["--threads", threads]].concat()))
        };
        let one = weights("1");
        assert_eq!(one, weights("2"), "{name}");
        assert_eq!(one, weights("8"), "{name}");
    }
}

/// Plugins of the roles that see all updates at once, as files of these names.
fn write_server_side(lab: &Lab) {
    let named = |kind: &str, name: &str, more: &str| manifest(kind, more).replace("hostile", name);
    let plan = |rows_out: i64, extra: &str| {
        let extra: Vec<Value> = extra.split_whitespace().map(Value::from).collect();
        Map::new().with("rows_out", rows_out).with("extra", extra)
    };
    let decide = |kind: &str, name: &str, more: &str, plan: Map, block: &str| {
        lab.write(
            &format!("{name}.wasm"),
            replying_plugin(&named(kind, name, more), &[(op::DECIDE_PLAN, plan)], block),
        );
    };
    // Three rows, each the mean of the six.
    let sixth = fill_mix_out("(f64.div (f64.const 1) (f64.const 6))");
    decide("mix", "thirds", "", plan(3, ""), &sixth);
    // The host's Gram matrix enters: the coefficient of a row is its squared distance from the origin, scaled.
    let norms = fill_mix_out(
        "(f64.mul (f64.const 0.01) (f64.load (i32.add (i32.load offset=40 (local.get $block))
          (i32.mul (local.get $i) (i32.shl (i32.add (i32.load offset=28 (local.get $block)) (i32.const 1)) (i32.const 3))))))",
    );
    decide("aggregate", "norms", GRAM, plan(1, "previous zero"), &norms);
    // The server's own update stands behind the six; sums with it make six rows, of which REDUCE takes the first.
    let reduce = format!(
        "(if (result i32) (i32.eq (local.get $op) (i32.const 34)) (then {COPY_FIRST_ROW}) (else {}))",
        fill_mix_out("(f64.const 0.25)")
    );
    decide("aggregate", "trusting", r#","reduce":["gram","rows"]"#, plan(6, "root"), &reduce);
    decide("aggregate", "first", GRAM, plan(1, ""), FIRST_ROW_ONLY);
    let weigh =
        fill_mix_out(&format!("(f64.add {} (f64.add {} {}))", column_after(4), column_after(5), column_after(6)));
    let after = named("aggregate", "after", r#","reduce":["sum-after"],"needs":["loss-before","update-norm2"]"#);
    let denominator = Map::new().with("denominator", 20.0);
    lab.write("after.wasm", replying_plugin(&after, &[(op::DENOMINATOR, denominator)], &weigh));
    lab.write("flip.wasm", plugin(&named("attack", "flip", ""), OK, &negate_base()));
}

/// Rows in memory, rows in a file, and any number of threads: one result.
#[test]
fn rules_that_see_all_updates_give_the_same_bytes_however_these_are_kept() {
    let lab = Lab::new();
    write_server_side(&lab);
    let hostile = ["--plugin", "flip.wasm", "--set", "attack.fraction=0.3"];
    let rooted = ["--plugin", "trusting.wasm", "--set", "federation.root-rows=40"];
    let stacks: [(&str, Vec<&str>); 8] = [
        ("rows", vec!["--plugin", "trimmed-mean:beta=0.2"]),
        ("after", vec!["--plugin", "after.wasm"]),
        ("gram", vec!["--plugin", "norms.wasm"]),
        ("mixed", vec!["--plugin", "thirds.wasm", "--plugin", "median"]),
        ("mixed-sum", vec!["--plugin", "thirds.wasm", "--plugin", "clip:norm=0.5"]),
        ("attacked", [&hostile[..], &["--plugin", "median"]].concat()),
        ("attacked-sum", [&hostile[..], &["--plugin", "after.wasm", "--plugin", "qsgd:bits=4"]].concat()),
        ("root", [&rooted[..], &["--plugin", "clip:norm=0.5"]].concat()),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (name, plugins) in stacks {
        let weights = |threads: &str, memory: &str| {
            let memory = format!("host.update-memory={memory}");
            let more = ["--threads", threads, "--set", &memory];
            lab.weights(&format!("{name}{threads}{memory}"), &small(&[&plugins[..], &more].concat()))
        };
        let one = weights("1", "1024");
        for (threads, memory) in [("2", "1024"), ("5", "1024"), ("1", "0"), ("3", "0")] {
            assert_eq!(one, weights(threads, memory), "{name}, {threads} threads, {memory} MiB");
        }
        assert!(seen.insert(one), "{name} gives what another composition gives");
    }
}

#[test]
fn an_attack_counts_its_clients_and_changes_the_result() {
    let lab = Lab::new();
    write_server_side(&lab);
    let run = |name: &str, more: &[&'static str]| {
        lab.run(name, &small(&[&["--plugin", "flip.wasm", "--plugin", "median"], more].concat()))
    };
    let attacked = run("attacked", &["--set", "attack.clients=[0,1,2,3,4,5,6,7,8,9]"]);
    let counts: Vec<u64> =
        attacked.metrics()[1..].iter().map(|line| line["attackers"].as_u64().expect("a number")).collect();
    assert!(counts.iter().all(|&count| count <= 6) && counts.iter().sum::<u64>() > 0, "{counts:?}");
    let spared = run("spared", &["--set", "attack.clients=[]"]);
    assert_eq!(spared.metrics()[1]["attackers"], 0);
    assert_eq!(spared.weights(), lab.run("honest", &small(&["--plugin", "median"])).weights());
    assert_ne!(spared.weights(), attacked.weights());
    // Where everyone sends the opposite, weights move the opposite way.
    let all = run("all", &["--set", "attack.fraction=1", "--set", "federation.num-server-rounds=1"]);
    let start = lab.run("start", &small(&["--set", "federation.num-server-rounds=0"])).weights();
    let honest = lab.run("one", &small(&["--plugin", "median", "--set", "federation.num-server-rounds=1"])).weights();
    for ((flipped, honest), start) in all.weights().iter().zip(honest).zip(start) {
        assert!((flipped + honest - 2.0 * start).abs() < 1e-6, "{flipped} {honest} {start}");
    }
}

#[test]
fn a_decision_for_one_row_is_that_row_bit_for_bit() {
    let lab = Lab::new();
    write_server_side(&lab);
    let one_round = ["--set", "federation.num-server-rounds=1"];
    let first = lab.run("first", &small(&[&["--plugin", "first.wasm"], &one_round[..]].concat()));
    // REDUCE that copies the first row is the same rule by another way.
    lab.write("copy.wasm", plugin(&manifest("aggregate", super::wat::ROWS), OK, COPY_FIRST_ROW));
    let copied = lab.run("copied", &small(&[&["--plugin", "copy.wasm"], &one_round[..]].concat()));
    assert_eq!(first.weights(), copied.weights());
}

#[test]
fn an_attack_needs_attackers_and_attackers_an_attack() {
    let lab = Lab::new();
    write_server_side(&lab);
    for (arguments, words) in [
        (vec!["--plugin", "flip.wasm"], "nobody is hostile"),
        (vec!["--set", "attack.fraction=0.2"], "no plugin says what they do"),
        (vec!["--plugin", "flip.wasm", "--set", "attack.clients=[20]"], "names client 20"),
        (vec!["--plugin", "flip.wasm", "--set", "attack.fraction=0.04"], "of 20 clients that is nobody"),
    ] {
        let refused = lab.colla(&small(&arguments));
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "`{words}` is not in {}", refused.stderr);
    }
}

#[test]
fn the_metrics_repeat_too_except_for_the_clock() {
    let lab = Lab::new();
    let metrics = |name: &str| {
        let mut lines = lab.run(name, &small(&[STACK, &["--set", "evaluate.clients=\"always\""]].concat())).metrics();
        for line in &mut lines {
            let fields = line.as_object_mut().expect("an object");
            fields.retain(|key, _| !key.ends_with("seconds") && key != "unix_time");
        }
        lines
    };
    assert_eq!(metrics("a"), metrics("b"));
}

#[test]
fn the_stored_configuration_alone_repeats_the_run() {
    let lab = Lab::new();
    let first = lab.run("first", &small(&[STACK, &["--seed", "11"]].concat()));
    let stored = first.0.join("config.toml");
    let again = lab.run("again", &["--quiet", stored.to_str().expect("a path in UTF-8")]);
    assert_eq!(first.summary()["weights_blake3"], again.summary()["weights_blake3"]);
}

#[test]
fn another_seed_gives_other_bytes() {
    let lab = Lab::new();
    assert_ne!(lab.weights("a", &small(&["--seed", "1"])), lab.weights("b", &small(&["--seed", "2"])));
}
