//! Privacy accounting: what a run says of its noise is what `colla-host privacy` says, and a budget ends it in time.

use super::support::{Lab, RunDir, small};
use serde_json::Value;

/// ε as the accountant says it.
#[track_caller]
fn epsilon(lab: &Lab, more: &[&str]) -> f64 {
    let finished = lab.colla(&[&["privacy", "--delta", "1e-5", "--format", "json"], more].concat());
    assert_eq!(finished.code, 0, "{more:?}: {}", finished.stderr);
    let answer: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    answer["epsilon"].as_f64().expect("a finite epsilon")
}

/// 20 clients, a rate of 0.3.
fn rounds(lab: &Lab, noise: &str, rounds: u64, more: &[&str]) -> f64 {
    let rounds = rounds.to_string();
    epsilon(lab, &[&["--noise-multiplier", noise, "--sampling-rate", "0.3", "--rounds", &rounds], more].concat())
}

const POISSON: &str = "federation.sampling=\"poisson\"";
const NINE: &str = "federation.num-server-rounds=9";
const NOISE: &[&str] = &["--plugin", "clip:norm=0.5", "--plugin", "dp-gaussian:noise-multiplier=1.5"];

fn epsilons(metrics: &[Value]) -> Vec<f64> {
    metrics.iter().map(|line| line["epsilon"].as_f64().expect("an epsilon")).collect()
}

#[test]
fn each_round_of_a_run_tells_the_epsilon_of_the_privacy_command() {
    let lab = Lab::new();
    for (name, settings, asked, adjacency) in [
        ("poisson", &["--set", POISSON][..], &[][..], "add-or-remove-one"),
        (
            "tight",
            &["--set", POISSON, "--set", "privacy.accountant=pld"],
            &["--accountant", "pld"],
            "add-or-remove-one",
        ),
        ("fixed", &[], &["--sampling", "fixed", "--population", "20"], "replace-one"),
    ] {
        let run = lab.run(name, &small(&[NOISE, settings].concat()));
        let found = epsilons(&run.metrics());
        assert_eq!(found[0], 0.0, "nothing is released before round 1");
        for (round, found) in found.iter().enumerate().skip(1) {
            assert_eq!(*found, rounds(&lab, "1.5", round as u64, asked), "{name}, round {round}");
        }
        let privacy = &run.summary()["privacy"];
        assert_eq!(privacy["epsilon"].as_f64(), found.last().copied());
        assert_eq!((&privacy["delta"], &privacy["adjacency"]), (&1e-5.into(), &adjacency.into()));
        let statement = privacy["statement"].as_str().expect("a sentence");
        assert!(statement.contains(adjacency) && statement.contains("simulated"), "{statement}");
        let csv = std::fs::read_to_string(run.0.join("metrics.csv")).expect("metrics.csv");
        assert!(csv.lines().next().is_some_and(|head| head.split(',').any(|column| column == "epsilon")));
        let stored = std::fs::read_to_string(run.0.join("config.toml")).expect("config.toml");
        assert!(stored.contains("[privacy]\ndelta = "), "{stored}");
    }
}

#[test]
fn the_count_behind_an_adaptive_bound_is_in_the_budget() {
    let lab = Lab::new();
    // 6 clients expected, noise of 0.5 · 6 = 3 on their count: z⁻² = 1.5⁻² + (2·3)⁻².
    let arguments = ["--plugin", "adaptive-clip:count-noise=0.5", "--plugin", "dp-gaussian:noise-multiplier=1.5"];
    let run = lab.run("adaptive", &small(&[&arguments[..], &["--set", POISSON]].concat()));
    let both = (1.0f64 / (1.0 / 2.25 + 1.0 / 36.0)).sqrt();
    let (found, expected) = (epsilons(&run.metrics())[3], rounds(&lab, &both.to_string(), 3, &[]));
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} for {expected}");
    assert!(found > rounds(&lab, "1.5", 3, &[]));
}

#[test]
fn a_spent_budget_ends_the_run_before_the_round_that_would_exceed_it() {
    let lab = Lab::new();
    let (two, three) = (rounds(&lab, "1.5", 2, &[]), rounds(&lab, "1.5", 3, &[]));
    let budget = format!("privacy.epsilon={}", (two + three) / 2.0);
    // Evaluated every 4 rounds, and after the last one, whichever that turns out to be.
    let more = ["--set", POISSON, "--set", "evaluate.every=4"];
    let arguments = [NOISE, &more, &["--set", NINE, "--set", &budget]].concat();
    let stopped = lab.colla(&small(&[&arguments[..], &["--out", "stopped"]].concat()));
    assert_eq!(stopped.code, 9, "{}", stopped.stderr);
    let words = format!("round 3 would bring epsilon to {three:.4} at delta 1e-5, above `privacy.epsilon = ");
    assert!(stopped.stderr.contains(&words), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("2 rounds are done and recorded"), "{}", stopped.stderr);

    // All of it is what a run of two rounds leaves, but that it says it is not complete.
    let stopped = RunDir(lab.path().join("stopped"));
    let whole = lab.run("whole", &small(&[NOISE, &more, &["--set", "federation.num-server-rounds=2"]].concat()));
    assert_eq!(epsilons(&stopped.metrics()), epsilons(&whole.metrics()));
    assert!(stopped.weights() == whole.weights());
    let (summary, expected) = (stopped.summary(), whole.summary());
    assert_eq!((&summary["complete"], &expected["complete"]), (&false.into(), &true.into()));
    for field in ["rounds", "final", "weights_blake3"] {
        assert_eq!(summary[field], expected[field], "{field}");
    }
    assert_eq!(summary["privacy"]["epsilon"].as_f64(), Some(two));
    assert!(stopped.0.join("report.html").exists());
    let error: Value =
        serde_json::from_str(&std::fs::read_to_string(stopped.0.join("error.json")).expect("error.json"))
            .expect("JSON");
    assert_eq!((&error["kind"], &error["exit_code"]), (&"privacy-budget".into(), &9.into()));
}

#[test]
fn a_budget_for_no_round_leaves_the_initial_weights() {
    let lab = Lab::new();
    let arguments = small(&[NOISE, &["--set", "privacy.epsilon=0.01", "--out", "none"]].concat());
    let stopped = lab.colla(&arguments);
    assert_eq!(stopped.code, 9, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("round 1 would bring epsilon to"), "{}", stopped.stderr);
    let none = RunDir(lab.path().join("none"));
    assert_eq!(none.metrics().len(), 1);
    let untrained = lab.run("untrained", &small(&["--set", "federation.num-server-rounds=0"]));
    assert!(none.weights() == untrained.weights());
}

#[test]
fn what_is_not_tracked_says_why_and_what_has_no_noise_says_nothing() {
    let lab = Lab::new();
    let run = lab.run("chosen", &small(&[NOISE, &["--plugin", "power-of-choice:d=9"]].concat()));
    let privacy = &run.summary()["privacy"];
    let why = privacy["untracked"].as_str().expect("a reason");
    assert!(why.contains("`power-of-choice` chooses the cohort"), "{why}");
    assert!(privacy["epsilon"].is_null() && run.metrics().iter().all(|line| line.get("epsilon").is_none()));

    let plain = lab.run("plain", &small(&["--plugin", "clip"]));
    assert!(plain.summary().get("privacy").is_none());
    assert!(plain.metrics().iter().all(|line| line.get("epsilon").is_none()));
    assert!(!std::fs::read_to_string(plain.0.join("config.toml")).expect("config.toml").contains("[privacy]"));
    let refused = lab.colla(&small(&["--set", "privacy.epsilon=3"]));
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("config `[privacy]` — no plugin of this run adds noise"), "{}", refused.stderr);
}

#[test]
fn no_noise_is_infinite_in_every_file() {
    let lab = Lab::new();
    let run = lab.run("loud", &small(&["--plugin", "clip", "--plugin", "dp-gaussian:noise-multiplier=0"]));
    assert!(run.metrics().iter().skip(1).all(|line| line["epsilon"] == "inf"));
    assert_eq!(run.summary()["privacy"]["epsilon"], "inf");
    let csv = std::fs::read_to_string(run.0.join("metrics.csv")).expect("metrics.csv");
    assert!(csv.lines().last().is_some_and(|line| line.split(',').any(|cell| cell == "inf")), "{csv}");
}
