//! The shipped methods do what their papers say: numbers of NumPy versions of the pseudocode, and laws of each method.

use super::support::{Lab, Last, RunDir, small};
use colla::client::{ClientId, sample};
use colla::config::Config;
use colla::record::Outcome;
use colla::run::Experiment;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/methods").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(vectors(name)).expect("a vector file")).expect("JSON")
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

/// The experiment of `make.py`: softmax regression, two of four clients a round; full batches, or epochs of small ones.
fn experiment(lab: &Lab, vectors_of: &Value, plugins: &str, rounds: usize, init: &str) -> Outcome {
    let length = match vectors_of.get("epochs") {
        Some(epochs) => format!("local-epochs = {epochs}\nbatch-size = {}\nshuffle = false", vectors_of["batch"]),
        None => format!("local-steps = {}\nbatch-size = \"full\"", vectors_of["steps"]),
    };
    let text = format!(
        "[data]\npath = {:?}\nclient = \"client\"\nfeatures = \"none\"\n\
         [partition]\nkind = \"natural\"\ncache = {:?}\n[model]\nname = \"logistic\"\n{init}\n\
         [train]\nlearning-rate = {}\n{length}\n\
         [federation]\nnum-server-rounds = {rounds}\nfraction-train = 0.5\n{plugins}",
        vectors("clients.csv"),
        lab.path().join("cache"),
        vectors_of["rate"],
    );
    let config = Config::from_text(&text, &[]).expect("a configuration");
    let drawn = |round: usize| sample(&config.federation, config.seed, round as u64, 4);
    for (index, cohort) in vectors_of["cohorts"].as_array().expect("a list").iter().enumerate() {
        let of_file: Vec<ClientId> = numbers(cohort).into_iter().map(|id| ClientId(id as u32)).collect();
        assert_eq!(drawn(index + 1), of_file, "round {}: make.py must name the cohorts that are drawn", index + 1);
    }
    let mut last = Last::default();
    Experiment::from_config(config).expect("an experiment").run(&mut last).expect("a run");
    last.0.expect("an outcome")
}

/// `init = FILE` with the vectors' initial weights, under the names of the model's own tensors.
fn initial(lab: &Lab, vectors_of: &Value) -> String {
    let layout = experiment(lab, vectors_of, "", 0, "").layout;
    let flat: Vec<f32> = numbers(&vectors_of["initial"]).into_iter().map(|value| value as f32).collect();
    assert_eq!(flat.len(), layout.len());
    let bytes: Vec<u8> = flat.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensors = layout.tensors.iter().map(|tensor| {
        let data = &bytes[4 * tensor.offset..4 * (tensor.offset + tensor.len())];
        (tensor.name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), data).expect("a tensor"))
    });
    let file = safetensors::serialize(tensors.collect::<BTreeMap<_, _>>(), None).expect("a safetensors file");
    format!("init = {:?}", lab.write("initial.safetensors", file))
}

#[track_caller]
fn close(found: &[f32], expected: &Value, what: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    let apart = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(apart < 1e-5, "{what}: {apart}");
}

/// Every round of every case of a file, in which the plugin's `parameter` is the case's `field`.
#[track_caller]
fn agrees(plugin: &str, parameter: &str, field: &str) {
    let lab = Lab::new();
    let file = read(&format!("{plugin}.json"));
    let init = initial(&lab, &file);
    for case in file["cases"].as_array().expect("a list") {
        let value = &case[field];
        let plugins = format!("[[plugin]]\nname = \"{plugin}\"\n{parameter} = {value}");
        for (index, expected) in case["weights"].as_array().expect("a list").iter().enumerate() {
            let outcome = experiment(&lab, &file, &plugins, index + 1, &init);
            close(&outcome.weights, expected, &format!("{parameter} {value}, round {}", index + 1));
        }
    }
}

#[test]
fn scaffold_is_that_of_an_independent_implementation() {
    agrees("scaffold", "server-learning-rate", "server_rate");
}

#[test]
fn fednova_is_that_of_an_independent_implementation() {
    agrees("fednova", "weights", "weighting");
}

#[test]
fn feddyn_is_that_of_an_independent_implementation() {
    agrees("feddyn", "alpha", "alpha");
}

#[test]
fn fedexp_is_that_of_an_independent_implementation() {
    agrees("fedexp", "epsilon", "epsilon");
}

#[test]
fn ditto_is_that_of_an_independent_implementation() {
    let lab = Lab::new();
    let file = read("ditto.json");
    let init = initial(&lab, &file);
    for case in file["cases"].as_array().expect("a list") {
        let lambda = &case["lambda"];
        let plugins = format!(
            "[[plugin]]\nname = \"ditto\"\nlambda = {lambda}\n[[plugin]]\nname = \"fedavg\"\nweights = \"uniform\""
        );
        let weights = case["weights"].as_array().expect("a list");
        let outcome = experiment(&lab, &file, &plugins, weights.len(), &init);
        close(&outcome.weights, &weights[weights.len() - 1], &format!("lambda {lambda}"));
        for (of, found, expected) in [
            ("personal", &outcome.personal_accuracy, &case["personal_accuracy"]),
            ("common", &outcome.client_accuracy, &case["common_accuracy"]),
        ] {
            let found: Vec<f64> = found.iter().map(|(_, accuracy)| *accuracy).collect();
            let expected = numbers(expected);
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(found.len() == 4 && apart < 1e-6, "lambda {lambda}, {of}: {found:?} for {expected:?}");
        }
    }
}

const ONE_ROUND: &[&str] = &["--set", "federation.num-server-rounds=1"];

fn with<'a>(more: &[&'a str], plugins: &[&'a str]) -> Vec<&'a str> {
    let plugins = plugins.iter().flat_map(|plugin| ["--plugin", plugin]);
    small(&more.iter().copied().chain(plugins).collect::<Vec<_>>())
}

fn apart(a: &RunDir, b: &RunDir) -> f32 {
    a.weights().iter().zip(b.weights()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn root_mean_square(a: &RunDir, b: &RunDir) -> f64 {
    let (a, b) = (a.weights(), b.weights());
    (a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

#[test]
fn the_first_round_of_scaffold_is_fedavgs_with_uniform_weights_and_the_second_is_not() {
    let lab = Lab::new();
    let everyone = &["--set", "federation.fraction-train=1.0"];
    let first = [ONE_ROUND, everyone].concat();
    let run = |name: &str, more: &[&'static str], plugin| lab.weights(name, &with(more, &[plugin]));
    let uniform = "fedavg:weights=uniform";
    assert_eq!(run("a", &first, "scaffold"), run("b", &first, uniform));
    assert_ne!(run("c", everyone, "scaffold"), run("d", everyone, uniform));
}

#[test]
fn fednova_is_fedavg_where_all_clients_take_the_same_number_of_steps_and_only_there() {
    let lab = Lab::new();
    let same = &["--set", "train.local-steps=3"];
    let run = |name: &str, more: &[&'static str], plugin| lab.run(name, &with(&[ONE_ROUND, more].concat(), &[plugin]));
    let close = apart(&run("a", same, "fednova"), &run("b", same, "fedavg"));
    assert!(close < 1e-6, "{close}");
    let own = &["--set", "partition.kind=\"lognormal\""];
    let apart = apart(&run("c", own, "fednova"), &run("d", own, "fedavg"));
    assert!(apart > 1e-4, "{apart}");
}

/// With one local step the pull towards the received weights has no effect yet.
#[test]
fn the_first_round_of_feddyn_moves_by_twice_the_mean_update_whatever_alpha() {
    let lab = Lab::new();
    let more = &["--set", "federation.fraction-train=1.0", "--set", "train.local-steps=1"];
    let run = |name: &str, plugin| lab.run(name, &with(&[ONE_ROUND, more].concat(), &[plugin])).weights();
    let before = lab.run("before", &with(&["--set", "federation.num-server-rounds=0"], &[])).weights();
    let mean = run("mean", "fedavg:weights=uniform");
    for (name, plugin) in [("weak", "feddyn:alpha=0.01"), ("strong", "feddyn:alpha=10")] {
        let expected = before.iter().zip(&mean).map(|(before, mean)| before + 2.0 * (mean - before));
        let apart = expected.zip(run(name, plugin)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{plugin}: {apart}");
    }
}

#[test]
fn fedexp_is_fedavg_bit_for_bit_where_its_step_is_one() {
    let lab = Lab::new();
    let mean = lab.weights("mean", &with(&[], &["fedavg:weights=uniform"]));
    assert_eq!(mean, lab.weights("one", &with(&[], &["fedexp:epsilon=1e9"])));
}

#[test]
fn robust_rules_that_expect_nobody_hostile_are_the_uniform_mean() {
    let lab = Lab::new();
    let mean = lab.run("mean", &with(ONE_ROUND, &["fedavg:weights=uniform"]));
    for plugin in
        ["mda:f=0", "meamed:f=0", "bulyan:f=0", "centered-clip:tau=1e9", "norm-bound:norm=1e9,weights=uniform"]
    {
        let name = plugin.split(':').next().unwrap_or_default();
        let apart = apart(&mean, &lab.run(name, &with(ONE_ROUND, &[plugin])));
        assert!(apart < 1e-6, "{plugin}: {apart}");
    }
}

#[test]
fn krum_is_multi_krum_that_selects_one_bit_for_bit() {
    let lab = Lab::new();
    assert_eq!(lab.weights("a", &with(&[], &["krum"])), lab.weights("b", &with(&[], &["multi-krum:m=1"])));
}

/// SCAFFOLD's variates are means of plain gradients, and FedNova's aₖ counts steps that all go equally far. Both, and FedDyn and
/// FedExP, are analysed for the uniform mean or say how they weigh.
#[test]
fn what_the_analysis_of_a_method_needs_is_required() {
    let lab = Lab::new();
    for (plugins, more, requirement) in [
        (&["scaffold"][..], &["--set", "train.momentum=0.9"][..], "`scaffold` — it requires `plain-sgd`"),
        (&["fednova"], &["--set", "train.momentum=0.9"], "`fednova` — it requires `plain-sgd`"),
        (&["scaffold", "fedavg:weights=num-examples"], &[], "`scaffold` — it requires `uniform-weights`"),
        (&["feddyn", "fedavg:weights=num-examples"], &[], "`feddyn` — it requires `uniform-weights`"),
        (&["fedexp", "fedavg:weights=num-examples"], &[], "`fedexp` — it requires `uniform-weights`"),
    ] {
        let refused = lab.colla(&with(more, plugins));
        assert_eq!(refused.code, 3, "{plugins:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(requirement), "`{requirement}` is not in\n{}", refused.stderr);
    }
}

#[test]
fn fltrust_needs_data_on_the_server() {
    let lab = Lab::new();
    let refused = lab.colla(&with(&[], &["fltrust"]));
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("`fltrust` — it requires `root-data`"), "{}", refused.stderr);
}

#[test]
fn the_common_model_of_ditto_is_fedavgs_bit_for_bit() {
    let lab = Lab::new();
    let plain = lab.weights("plain", &small(&[]));
    assert_eq!(plain, lab.weights("a", &with(&[], &["ditto"])));
    assert_eq!(plain, lab.weights("b", &with(&[], &["ditto:lambda=3,personal-epochs=2"])));
}

/// With η·λ = 1 a personal step is v ← w − η·∇F(v), so v stays within η·‖∇F‖ of the received weights, those before round
/// 1, however long it trains. With λ = 0 the same training fits the client's own rows.
#[test]
fn a_strong_pull_holds_the_personal_model_of_ditto_at_the_common_one() {
    let lab = Lab::new();
    let settings = &[
        "--set",
        "federation.fraction-train=1.0",
        "--set",
        "train.learning-rate=0.01",
        "--set",
        "train.local-epochs=20",
        "--set",
        "evaluate.clients=\"always\"",
    ];
    let personal = |name: &str, plugin| {
        let run = lab.run(name, &with(&[ONE_ROUND, settings].concat(), &[plugin]));
        run.metrics().last().and_then(|line| line["personal_accuracy"]["mean"].as_f64()).expect("a mean")
    };
    let before = lab.run("before", &with(&[&["--set", "federation.num-server-rounds=0"], &settings[..]].concat(), &[]));
    let before = before.metrics()[0]["client_accuracy"]["mean"].as_f64().expect("a mean");
    let (held, free) = (personal("held", "ditto:lambda=100"), personal("free", "ditto:lambda=0"));
    assert!((held - before).abs() < 0.1, "held {held}, before training {before}");
    assert!(free > before + 0.3, "free {free}, before training {before}");
}

#[test]
fn standardised_updates_alone_change_nothing_but_roundings() {
    let lab = Lab::new();
    let (plain, standardised) = (lab.run("a", &small(&[])), lab.run("b", &with(&[], &["standardize"])));
    let apart = apart(&plain, &standardised);
    assert!(apart < 1e-6, "{apart}");
}

#[test]
fn standardised_updates_travel_with_their_headers() {
    let lab = Lab::new();
    let bytes = |name: &str, plugins: &[&'static str]| {
        lab.run(name, &with(ONE_ROUND, plugins)).metrics()[1]["upload_bytes"].as_u64().expect("bytes")
    };
    let (alone, both) = (bytes("alone", &["qsgd"]), bytes("both", &["standardize", "qsgd"]));
    // One frame of 1,210 weights from each of six clients: mean and deviation, behind their length.
    assert_eq!(both - alone, 6 * (8 + 4));
}

#[test]
fn powersgd_at_full_rank_is_fedavg_and_at_a_low_one_sends_less() {
    let lab = Lab::new();
    let plain = lab.run("plain", &small(&[]));
    let full = lab.run("full", &with(&[], &["powersgd:rank=64"]));
    assert_eq!(plain.summary()["weights_blake3"], full.summary()["weights_blake3"]);
    let low = lab.run("low", &with(&[], &["powersgd:rank=2,error-feedback=true"]));
    assert_ne!(plain.summary()["weights_blake3"], low.summary()["weights_blake3"]);
    let bytes = |run: &RunDir| run.metrics()[1]["upload_bytes"].as_u64().expect("bytes");
    // From each of six clients, 64 x 16 and 16 x 10 at rank 2 and two biases, each piece behind its length.
    let values = 2 * (64 + 16) + 2 * (16 + 10) + 16 + 10;
    assert_eq!((bytes(&full), bytes(&low)), (bytes(&plain) + 6 * 4 * 4, 6 * 4 * (values + 4)));
}

#[test]
fn gaussian_noise_without_a_multiplier_leaves_every_bit() {
    let lab = Lab::new();
    let uniform = "fedavg:weights=uniform,denominator=6";
    let plain = lab.weights("plain", &with(&[], &["clip:norm=0.5", uniform]));
    assert_eq!(plain, lab.weights("zero", &with(&[], &["clip:norm=0.5", "dp-gaussian:noise-multiplier=0"])));
    assert_ne!(plain, lab.weights("one", &with(&[], &["clip:norm=0.5", "dp-gaussian"])));
}

/// The noise of one round is the difference of two runs: its deviation is z times the sensitivity, which is
/// 2·S/|cohort| for a cohort of fixed size, S/(qN) for a Poisson cohort, also when nobody took part.
#[test]
fn gaussian_noise_has_the_deviation_that_the_sensitivity_asks_for() {
    let lab = Lab::new();
    let poisson = &["--set", "federation.sampling=\"poisson\""];
    let nobody = &["--set", "federation.sampling=\"poisson\"", "--set", "federation.fraction-train=1e-6"];
    for (name, more, sensitivity) in [
        ("fixed", &[][..], 2.0 * 0.5 / 6.0),
        ("poisson", &poisson[..], 0.5 / 6.0),
        ("nobody", &nobody[..], 0.5 / (20.0 * 1e-6)),
    ] {
        let run = |multiplier: &str| {
            let noise = format!("dp-gaussian:noise-multiplier={multiplier}");
            lab.run(&format!("{name}-{multiplier}"), &with(&[ONE_ROUND, more].concat(), &["clip:norm=0.5", &noise]))
        };
        let (silent, noisy) = (run("0"), run("1e-4"));
        if name == "nobody" {
            assert_eq!(noisy.metrics()[1]["clients"], 0);
        }
        let (found, expected) = (root_mean_square(&silent, &noisy), 1e-4 * sensitivity);
        // 1,210 weights: the standard error of the deviation is 1/√2420 = 2 % of it.
        assert!((found / expected - 1.0).abs() < 0.1, "{name}: {found} for {expected}");
    }
}

#[test]
fn gaussian_noise_is_refused_where_nothing_bounds_what_one_client_can_do() {
    let lab = Lab::new();
    for (plugins, words) in [
        (&["dp-gaussian"][..], "norm-bound"),
        (&["clip", "topk:error-feedback=true", "dp-gaussian"], "norm-bound"),
        (&["clip", "standardize", "dp-gaussian"], "norm-bound"),
        (&["scaffold", "clip", "dp-gaussian"], "norm-bound"),
        (&["clip", "fedavg:weights=num-examples", "dp-gaussian"], "uniform-weights"),
    ] {
        let refused = lab.colla(&with(&[], plugins));
        assert_eq!(refused.code, 3, "{plugins:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "`{words}` is not in\n{}", refused.stderr);
    }
}

#[test]
fn power_of_choice_departs_from_sampling_only_through_the_losses() {
    let lab = Lab::new();
    let run = |name: &str, rounds: &'static str, plugin| {
        lab.weights(name, &with(&["--set", rounds, "--set", "partition.kind=\"lognormal\""], &[plugin]))
    };
    let (one, three) = ("federation.num-server-rounds=1", "federation.num-server-rounds=3");
    // Nobody has a loss in the first round, so the candidates that were drawn first train, however many there are.
    assert_eq!(run("a", one, "power-of-choice:d=6"), run("b", one, "power-of-choice:d=20"));
    assert_ne!(run("c", three, "power-of-choice:d=6"), run("d", three, "power-of-choice:d=20"));
    assert_eq!(run("e", three, "power-of-choice"), run("f", three, "power-of-choice:d=12"));
}
