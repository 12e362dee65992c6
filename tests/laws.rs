//! Identities that hold for every correct implementation, whatever the data.

use super::support::{Lab, small};
use anyhow::Result;
use colla::config::{Cache, Config};
use colla::data::{self, Dataset};
use colla::record::{Observer, Outcome};
use colla::run::Experiment;
use colla::train::model_from_config;
use std::sync::Arc;

#[test]
fn fedprox_with_mu_zero_is_fedavg_bit_for_bit() {
    let lab = Lab::new();
    assert_eq!(lab.weights("a", &small(&["--plugin", "fedprox:mu=0"])), lab.weights("b", &small(&[])));
}

#[test]
fn fedprox_differs_from_fedavg_from_the_second_local_step_on() {
    let lab = Lab::new();
    let one = &["--set", "train.local-steps=1", "--set", "federation.num-server-rounds=1"];
    let two = &["--set", "train.local-steps=2", "--set", "federation.num-server-rounds=1"];
    let prox = &["--plugin", "fedprox:mu=0.5"];
    assert_eq!(lab.weights("a", &small(one)), lab.weights("b", &small(&[&one[..], prox].concat())));
    assert_ne!(lab.weights("c", &small(two)), lab.weights("d", &small(&[&two[..], prox].concat())));
}

#[test]
fn full_batch_fedavg_over_unequal_clients_is_one_gradient_step_on_the_union() {
    let lab = Lab::new();
    let step = &[
        "--set",
        "federation.num-server-rounds=1",
        "--set",
        "federation.fraction-train=1.0",
        "--set",
        "train.batch-size=\"full\"",
        "--set",
        "partition.kind=\"lognormal\"",
        "--set",
        "train.learning-rate=1.0",
    ];
    let many = lab.run("many", &small(step));
    let one = lab.run("one", &small(&[&step[..], &["--set", "partition.num-clients=1"]].concat()));
    let (many, one) = (many.weights(), one.weights());
    let start = lab.run("start", &small(&["--set", "federation.num-server-rounds=0"])).weights();
    let largest = |f: &dyn Fn(usize) -> f32| (0..one.len()).map(f).fold(0.0, f32::max);
    let moved = largest(&|i| (one[i] - start[i]).abs());
    let apart = largest(&|i| (one[i] - many[i]).abs());
    assert!(moved > 1e-2, "the step moves the weights: {moved}");
    assert!(apart < 2e-6, "and both ways agree up to f32 rounding: {apart} of {moved}");
}

#[test]
fn server_steps_at_their_neutral_parameters_are_fedavg() {
    let lab = Lab::new();
    let plain = lab.weights("a", &small(&[]));
    assert_eq!(plain, lab.weights("b", &small(&["--plugin", "fedavgm:momentum=0,server-learning-rate=1"])));
}

#[test]
fn stages_at_their_neutral_parameters_change_nothing() {
    let lab = Lab::new();
    let plain = lab.weights("a", &small(&[]));
    assert_eq!(plain, lab.weights("b", &small(&["--plugin", "clip:norm=1e30"])));
    assert_eq!(plain, lab.weights("c", &small(&["--plugin", "topk:ratio=1"])));
    assert_eq!(plain, lab.weights("d", &small(&["--plugin", "topk:ratio=1,error-feedback=true"])));
}

#[test]
fn the_median_of_two_clients_and_a_trimmed_mean_that_trims_nothing_are_the_uniform_mean() {
    let lab = Lab::new();
    let two = &["--set", "federation.fraction-train=0.1", "--set", "federation.num-server-rounds=1"];
    let with = |plugin: &'static str| small(&[&two[..], &["--plugin", plugin]].concat());
    let mean = lab.run("mean", &with("fedavg:weights=uniform")).weights();
    for (name, plugin) in [("median", "median"), ("trimmed", "trimmed-mean:beta=0")] {
        let other = lab.run(name, &with(plugin)).weights();
        let apart = mean.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-7, "{plugin}: {apart}");
    }
}

/// Every parameter moved off its neutral value changes the result: none is read and forgotten.
#[test]
fn every_plugin_parameter_changes_the_result() {
    let lab = Lab::new();
    for (index, (neutral, moved)) in [
        ("fedprox:mu=0", "fedprox:mu=0.1"),
        ("fedavg:weights=num-examples", "fedavg:weights=uniform"),
        ("fedavg:denominator=0", "fedavg:denominator=500"),
        ("fedavgm:momentum=0", "fedavgm:momentum=0.5"),
        ("fedavgm:server-learning-rate=1", "fedavgm:server-learning-rate=0.5"),
        ("fedadam", "fedadam:server-learning-rate=0.05"),
        ("fedadam", "fedadam:beta1=0.5"),
        ("fedadam", "fedadam:beta2=0.5"),
        ("fedadam", "fedadam:tau=0.01"),
        ("fedadam", "fedadam:initial-v=0.1"),
        ("fedadam", "fedadam:bias-correction=true"),
        ("trimmed-mean:beta=0", "trimmed-mean:beta=0.2"),
        ("meamed:f=0", "meamed:f=2"),
        ("mda:f=0", "mda:f=2"),
        ("mda:f=2", "mda:f=2,weights=num-examples"),
        ("centered-clip:tau=1e9", "centered-clip:tau=0.1"),
        ("centered-clip:tau=0.1", "centered-clip:tau=0.1,iterations=3"),
        ("centered-clip:tau=0.1", "centered-clip:tau=0.1,weights=num-examples"),
        ("norm-bound:norm=1e9", "norm-bound:norm=0.1"),
        ("norm-bound:norm=0.1", "norm-bound:norm=0.1,weights=uniform"),
        ("fednova", "fednova:weights=uniform"),
        ("sign-majority", "sign-majority:scale=0.002"),
        ("sign-majority", "sign-majority:weights=num-examples"),
        ("fedadagrad", "fedadagrad:server-learning-rate=0.05"),
        ("fedadagrad", "fedadagrad:beta1=0.5"),
        ("fedadagrad", "fedadagrad:tau=0.01"),
        ("fedadagrad", "fedadagrad:initial-v=0.1"),
        ("fedyogi", "fedyogi:server-learning-rate=0.05"),
        ("fedyogi", "fedyogi:beta1=0.5"),
        ("fedyogi", "fedyogi:beta2=0.5"),
        ("fedyogi", "fedyogi:tau=0.01"),
        ("fedyogi", "fedyogi:initial-v=0.1"),
        ("feddyn", "feddyn:alpha=0.5"),
        ("clip:norm=1e30", "clip:norm=0.5"),
        ("topk:ratio=1", "topk:ratio=0.1"),
        ("topk:ratio=0.1", "topk:ratio=0.1,error-feedback=true"),
        ("qsgd:bits=8", "qsgd:bits=4"),
        ("scaffold", "scaffold:server-learning-rate=0.5"),
        ("powersgd:rank=2", "powersgd:rank=1"),
        ("power-of-choice:d=6", "power-of-choice:d=20"),
    ]
    .into_iter()
    .enumerate()
    {
        let weights = |side: &str, plugin| lab.weights(&format!("{index}{side}"), &small(&["--plugin", plugin]));
        assert_ne!(weights("a", neutral), weights("b", moved), "{neutral} and {moved}");
    }
}

#[test]
fn every_training_setting_changes_the_result() {
    let lab = Lab::new();
    let plain = lab.weights("plain", &small(&[]));
    for (index, setting) in [
        "seed=7",
        "train.learning-rate=0.05",
        "train.momentum=0.5",
        "train.weight-decay=0.01",
        "train.local-epochs=2",
        "train.local-steps=3",
        "train.batch-size=7",
        "train.batch-size=\"full\"",
        "train.shuffle=false",
        "federation.num-server-rounds=4",
        "federation.fraction-train=0.5",
        "federation.sampling=\"poisson\"",
        "federation.server-learning-rate=0.5",
        "partition.seed=7",
        "partition.alpha=0.5",
        "partition.kind=\"iid\"",
        "partition.num-clients=10",
        "partition.test-fraction=0.2",
        "model.hidden=[17]",
        "data.features=\"standardize\"",
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(plain, lab.weights(&index.to_string(), &small(&["--set", setting])), "{setting}");
    }
}

/// Persisting iterators differ from fresh ones only where a client takes part again.
#[test]
fn a_persisting_iterator_goes_on_where_the_last_round_stopped() {
    let lab = Lab::new();
    let all = &["--set", "federation.fraction-train=1.0", "--set", "train.local-steps=2"];
    let persist = &["--set", "train.persist-iterator=true"];
    let run = |name: &str, more: &[&[&'static str]]| lab.weights(name, &small(&[&all[..], &more.concat()].concat()));
    assert_ne!(run("a", &[]), run("b", &[persist]));
}

#[test]
fn settings_of_the_machine_and_of_measuring_change_nothing() {
    let lab = Lab::new();
    let plain = lab.weights("plain", &small(&[]));
    for (index, setting) in
        ["host.threads=3", "evaluate.every=2", "evaluate.clients=\"always\"", "evaluate.fraction-evaluate=0.5"]
            .into_iter()
            .enumerate()
    {
        assert_eq!(plain, lab.weights(&index.to_string(), &small(&["--set", setting])), "{setting}");
    }
}

/// Keeps the final weights and the test accuracy of round 0.
#[derive(Default)]
struct Last {
    weights: Vec<f32>,
    accuracy: Option<f64>,
}

impl Observer for Last {
    fn round(&mut self, record: &colla::record::RoundRecord) -> Result<()> {
        self.accuracy = record.test_accuracy;
        Ok(())
    }

    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        self.weights = outcome.weights.clone();
        Ok(())
    }
}

#[test]
fn permuted_test_labels_change_the_score_and_leave_the_weights_alone() {
    let lab = Lab::new();
    let mut config = Config::default();
    config.federation.num_server_rounds = 3;
    config.partition.cache = Cache::Folder(lab.path().join("cache"));
    let honest = data::load(&config.data).expect("the embedded data");
    let mut permuted = honest.clone();
    permuted.test.labels.rotate_left(1);
    let run = |data: Dataset| {
        let data = Arc::new(data);
        let model = model_from_config(&config.model, &data).expect("a model");
        let mut last = Last::default();
        let experiment = Experiment::new(config.clone(), data, model).expect("an experiment");
        experiment.run(&mut last).expect("a run");
        last
    };
    let (honest, permuted) = (run(honest), run(permuted));
    assert_eq!(honest.weights, permuted.weights);
    assert_ne!(honest.accuracy, permuted.accuracy);
}
