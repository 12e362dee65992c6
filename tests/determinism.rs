//! Same binary, same configuration, same seed: same bytes.

use super::support::{Lab, small};

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
