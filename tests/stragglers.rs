//! Clients that do not finish their rounds: who is late, what arrives of them, and what methods see of it.

use super::support::{Lab, RunDir, SMALL, small};
use colla::client::{ClientId, stragglers::Late};
use colla::config::{StragglerWork, Stragglers};
use serde_json::Value;
use std::path::Path;

/// `--set` for the share of late clients and what becomes of their work.
fn late(share: f64, work: &str) -> Vec<String> {
    [format!("stragglers.share={share}"), format!("stragglers.work=\"{work}\"")]
        .into_iter()
        .flat_map(|setting| ["--set".to_owned(), setting])
        .collect()
}

fn run(lab: &Lab, name: &str, arguments: &[&str], stragglers: &[String]) -> RunDir {
    let stragglers: Vec<&str> = stragglers.iter().map(String::as_str).collect();
    lab.run(name, &[arguments, &stragglers].concat())
}

#[track_caller]
fn column(run: &RunDir, name: &str) -> Vec<u64> {
    run.metrics()[1..].iter().map(|line| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}"))).collect()
}

/// Methods that keep state, count steps or compress.
const METHODS: [&[&str]; 7] = [
    &[],
    &["--plugin", "fednova"],
    &["--plugin", "scaffold", "--plugin", "fedavg:weights=uniform"],
    &["--plugin", "feddyn", "--plugin", "fedavg:weights=uniform"],
    &["--plugin", "topk:ratio=0.1,error-feedback=true"],
    &["--plugin", "median"],
    &["--set", "train.persist-iterator=true", "--plugin", "fedprox:mu=0.1"],
];

#[test]
fn a_share_of_zero_is_a_run_without_stragglers() {
    let lab = Lab::new();
    for (index, method) in METHODS.iter().enumerate() {
        let arguments = small(method);
        let without = lab.run(&format!("plain-{index}"), &arguments);
        assert!(without.metrics()[1].get("stragglers").is_none());
        let plain = &without.summary()["weights_blake3"];
        for work in ["kept", "dropped"] {
            let with = run(&lab, &format!("{work}-{index}"), &arguments, &late(0.0, work));
            assert_eq!(with.summary()["weights_blake3"], *plain, "{method:?}, {work}");
            assert_eq!(column(&with, "stragglers"), [0, 0, 0]);
        }
    }
}

#[test]
fn of_two_epochs_a_straggler_does_one_whatever_the_method() {
    let lab = Lab::new();
    for (index, method) in METHODS.iter().enumerate() {
        let once = lab.weights(&format!("once-{index}"), &small(method));
        let arguments = [&small(method)[..], &["--set", "train.local-epochs=2"]].concat();
        let all_late = run(&lab, &format!("late-{index}"), &arguments, &late(1.0, "kept"));
        assert_eq!(all_late.summary()["weights_blake3"], once, "{method:?}");
        assert_eq!((column(&all_late, "stragglers"), column(&all_late, "clients")), (vec![6; 3], vec![6; 3]));
        let in_time = lab.weights(&format!("twice-{index}"), &arguments);
        assert_ne!(in_time, once, "{method:?}");
    }
}

#[test]
fn a_straggler_does_the_epochs_that_were_drawn_for_it() {
    let lab = Lab::new();
    let one = [
        "--set",
        "partition.num-clients=1",
        "--set",
        "federation.fraction-train=1.0",
        "--set",
        "federation.num-server-rounds=1",
    ];
    let drawn = |seed: u64, whole: u64| {
        let settings = Stragglers { share: 1.0, work: StragglerWork::Kept };
        Late::draw(Some(&settings), seed, 1, &[ClientId(0)]).done(ClientId(0), whole).expect("something is left out")
    };
    let mut seen = Vec::new();
    for (length, seeds) in [("epochs", 1..=4u64), ("steps", 5..=6)] {
        for seed in seeds {
            let done = drawn(seed, 4);
            seen.push(done);
            let (number, seed) = (|count: u64| format!("train.local-{length}={count}"), seed.to_string());
            let arguments = |length: &'static str| [SMALL, &one, &["--seed", &seed, "--set", length]].concat();
            let [whole, part] = [number(4), number(done)].map(|text| -> &'static str { text.leak() });
            let late = run(&lab, &format!("late-{seed}"), &arguments(whole), &late(1.0, "kept"));
            assert_eq!(late.summary()["weights_blake3"], lab.weights(&format!("done-{seed}"), &arguments(part)));
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 1, "the test needs several lengths: {seen:?}");
}

#[test]
fn what_is_dropped_leaves_no_trace_but_the_bytes_that_went_down() {
    let lab = Lab::new();
    let start = lab.weights("start", &small(&["--set", "federation.num-server-rounds=0"]));
    for (index, method) in METHODS.iter().enumerate() {
        let all_late = run(&lab, &format!("late-{index}"), &small(method), &late(1.0, "dropped"));
        assert_eq!(all_late.summary()["weights_blake3"], start, "{method:?}");
        assert_eq!((column(&all_late, "stragglers"), column(&all_late, "clients")), (vec![6; 3], vec![0; 3]));
        assert!(column(&all_late, "upload_bytes").iter().all(|bytes| *bytes == 0));
        let in_time = lab.run(&format!("in-time-{index}"), &small(method));
        assert_eq!(column(&all_late, "download_bytes")[0], column(&in_time, "download_bytes")[0]);
        assert!(all_late.metrics()[1..].iter().all(|line| line["train_loss"] == Value::Null));
    }
}

/// Softmax regression of four sites in full batches, so that a client's number in the run changes roundings alone.
fn sites(csv: &Path, clients: usize) -> Vec<String> {
    let settings = [
        format!("data.path={csv:?}"),
        "data.client=\"client\"".into(),
        "data.features=\"none\"".into(),
        "partition.kind=\"natural\"".into(),
        "model.name=\"logistic\"".into(),
        "train.batch-size=\"full\"".into(),
        "train.shuffle=false".into(),
        format!("train.local-epochs={}", 1 + clients),
        "federation.fraction-train=1.0".into(),
        "federation.num-server-rounds=1".into(),
    ];
    std::iter::once("--quiet".to_owned()).chain(settings.into_iter().flat_map(|s| ["--set".to_owned(), s])).collect()
}

#[test]
fn a_round_without_the_stragglers_is_one_of_the_other_clients_alone() {
    let lab = Lab::new();
    let csv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/methods/clients.csv");
    let text = std::fs::read_to_string(&csv).expect("the clients' rows");
    for seed in [1u64, 2, 3] {
        let settings = Stragglers { share: 0.5, work: StragglerWork::Dropped };
        let cohort: Vec<ClientId> = (0..4).map(ClientId).collect();
        let arriving = Late::draw(Some(&settings), seed, 1, &cohort).arriving(&cohort);
        assert_eq!(arriving.len(), 2);
        let is_there = |line: &&str| {
            let is_test = line.split(',').nth(1) != Some("train");
            is_test || arriving.iter().any(|client| line.starts_with(&format!("site{client},")))
        };
        let others =
            lab.write(&format!("others-{seed}.csv"), text.lines().filter(is_there).collect::<Vec<_>>().join("\n"));
        let seed = seed.to_string();
        for method in [&["--seed", &seed][..], &["--seed", &seed, "--plugin", "median"]] {
            let weights = |name: &str, csv: &Path, stragglers: &[String]| {
                let sites = sites(csv, 4);
                let arguments: Vec<&str> = sites.iter().map(String::as_str).chain(method.iter().copied()).collect();
                run(&lab, &format!("{name}-{seed}-{}", method.len()), &arguments, stragglers).weights()
            };
            let dropped = weights("dropped", &csv, &late(0.5, "dropped"));
            let apart = |other: &[f32]| dropped.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // A client's rows are shuffled by its number, which is another one there: the same rows add up in another order.
            assert!(apart(&weights("alone", &others, &[])) < 1e-6, "seed {seed}");
            assert!(apart(&weights("all", &csv, &[])) > 1e-3, "seed {seed}");
        }
    }
}

#[test]
fn results_depend_neither_on_threads_nor_on_the_rounds_that_follow() {
    let lab = Lab::new();
    let arguments = small(&["--set", "train.local-epochs=4", "--plugin", "fednova"]);
    for work in ["kept", "dropped"] {
        let run = |name: &str, more: &[&str]| {
            run(&lab, &format!("{work}-{name}"), &[&arguments[..], more].concat(), &late(0.5, work))
        };
        let (one, four) = (run("1", &["--set", "host.threads=1"]), run("4", &["--set", "host.threads=4"]));
        assert_eq!(one.weights(), four.weights(), "{work}");
        let short = run("short", &["--set", "federation.num-server-rounds=2"]);
        assert_eq!(short.metrics().len(), 3);
        for (long, short) in one.metrics().iter().zip(short.metrics()) {
            assert_eq!(
                (&long["test_loss"], &long["stragglers"]),
                (&short["test_loss"], &short["stragglers"]),
                "{work}"
            );
        }
        assert_eq!(column(&one, "clients"), if work == "kept" { [6; 3] } else { [3; 3] });
    }
}

#[test]
fn stragglers_that_cannot_be_are_refused_with_advice() {
    let lab = Lab::new();
    let private = ["--plugin", "clip:norm=1", "--plugin", "dp-gaussian", "--set", "train.local-epochs=2"];
    for (arguments, work, words) in [
        (&[][..], "kept", &["`train.local-epochs = 1`", "`stragglers.work` to \"dropped\""][..]),
        (&private[..], "kept", &["`stragglers.share = 0.5`", "the noise of `dp-gaussian`"]),
        (&private[..], "dropped", &["leave the section or the plugin out"]),
        (
            &["--plugin", "krum:f=2", "--set", "train.local-epochs=2"],
            "dropped",
            &[
                "plugin `krum` refuses the 3 updates of a round (6 clients without 3 stragglers, whose work is dropped): ",
                ", or a smaller `stragglers.share`",
            ],
        ),
        (&["--set", "stragglers.epochs=2"], "kept", &["stragglers", "share, work"]),
    ] {
        let stragglers = late(0.5, work);
        let stragglers: Vec<&str> = stragglers.iter().map(String::as_str).collect();
        let refused = lab.colla(&[&small(arguments)[..], &stragglers].concat());
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        for words in words {
            assert!(refused.stderr.contains(words), "{}\nlacks: {words}", refused.stderr);
        }
    }
    let local = ["--plugin", "local-dp", "--set", "train.local-epochs=2"];
    run(&lab, "local", &small(&local), &late(0.5, "dropped"));
}
