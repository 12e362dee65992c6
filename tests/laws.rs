//! Identities that hold for every correct implementation, whatever the data.

use super::support::{Lab, small};
use anyhow::Result;
use colla::config::{Cache, Config};
use colla::data::{self, Dataset};
use colla::plugin::{parse_spec, shipped_names};
use colla::record::{Observer, Outcome};
use colla::run::Experiment;
use colla::train::model_from_config;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
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

/// Ten clients of a round, for rules that need more than six.
const TEN: &[&str] = &["--set", "federation.fraction-train=0.5"];
/// The same with clients of one distribution, among whom no update is the shortest in every round.
const ALIKE: &[&str] = &["--set", "federation.fraction-train=0.5", "--set", "partition.kind=\"iid\""];
/// Some of the clients of every cohort are hostile.
const HOSTILE: &[&str] = &["--set", "federation.fraction-train=1.0", "--set", "attack.fraction=0.3"];
const CLIPPED: &[&str] = &["--plugin", "clip:norm=0.5"];
const MEDIAN: &[&str] = &["--plugin", "median"];
/// A learning rate at which personal models differ by strengths of their pull that show in their accuracy.
const SLOW: &[&str] = &["--set", "train.learning-rate=0.01"];
const NONE: &[&str] = &[];

/// A plugin with two values of one of its parameters, in a run with these arguments.
#[rustfmt::skip]
const MOVED: &[(&[&str], &str, &str)] = &[
    (NONE, "fedprox:mu=0", "fedprox:mu=0.1"),
    (NONE, "fedavg:weights=num-examples", "fedavg:weights=uniform"),
    (NONE, "fedavg:denominator=0", "fedavg:denominator=500"),
    (NONE, "fedavgm:momentum=0", "fedavgm:momentum=0.5"),
    (NONE, "fedavgm:server-learning-rate=1", "fedavgm:server-learning-rate=0.5"),
    (NONE, "fedadam", "fedadam:server-learning-rate=0.05"),
    (NONE, "fedadam", "fedadam:beta1=0.5"),
    (NONE, "fedadam", "fedadam:beta2=0.5"),
    (NONE, "fedadam", "fedadam:tau=0.01"),
    (NONE, "fedadam", "fedadam:initial-v=0.1"),
    (NONE, "fedadam", "fedadam:bias-correction=true"),
    (NONE, "fedadagrad", "fedadagrad:server-learning-rate=0.05"),
    (NONE, "fedadagrad", "fedadagrad:beta1=0.5"),
    (NONE, "fedadagrad", "fedadagrad:tau=0.01"),
    (NONE, "fedadagrad", "fedadagrad:initial-v=0.1"),
    (NONE, "fedyogi", "fedyogi:server-learning-rate=0.05"),
    (NONE, "fedyogi", "fedyogi:beta1=0.5"),
    (NONE, "fedyogi", "fedyogi:beta2=0.5"),
    (NONE, "fedyogi", "fedyogi:tau=0.01"),
    (NONE, "fedyogi", "fedyogi:initial-v=0.1"),
    (NONE, "fedexp", "fedexp:epsilon=1e9"),
    (NONE, "feddyn", "feddyn:alpha=0.5"),
    (SLOW, "ditto", "ditto:lambda=90"),
    (SLOW, "ditto", "ditto:personal-epochs=20"),
    (NONE, "scaffold", "scaffold:server-learning-rate=0.5"),
    (NONE, "fednova", "fednova:weights=uniform"),
    (NONE, "q-fedavg", "q-fedavg:q=0.1"),
    (NONE, "q-fedavg", "q-fedavg:client-learning-rate=0.05"),
    (NONE, "norm-bound:norm=1e9", "norm-bound:norm=0.1"),
    (NONE, "norm-bound:norm=0.1", "norm-bound:norm=0.1,weights=uniform"),
    (NONE, "trimmed-mean:beta=0", "trimmed-mean:beta=0.2"),
    (NONE, "meamed:f=0", "meamed:f=2"),
    (NONE, "sign-majority", "sign-majority:scale=0.002"),
    (NONE, "sign-majority", "sign-majority:weights=num-examples"),
    (NONE, "geometric-median", "geometric-median:weights=num-examples"),
    (NONE, "geometric-median", "geometric-median:max-iterations=1"),
    (NONE, "geometric-median", "geometric-median:tolerance=0.1"),
    (ALIKE, "krum:f=0", "krum:f=3"),
    (ALIKE, "krum:f=3", "krum:f=3,neighbours=n-f-1"),
    (TEN, "multi-krum:f=3", "multi-krum:f=1"),
    (TEN, "multi-krum:f=3", "multi-krum:f=3,m=3"),
    (TEN, "multi-krum:f=3", "multi-krum:f=3,weights=num-examples"),
    (TEN, "multi-krum:f=3,m=2", "multi-krum:f=3,m=2,neighbours=n-f-1"),
    (TEN, "bulyan:f=0", "bulyan:f=1"),
    (TEN, "bulyan:f=1", "bulyan:f=1,selection=multi-krum"),
    (TEN, "bulyan:f=1", "bulyan:f=1,neighbours=n-f-1"),
    (NONE, "mda:f=0", "mda:f=2"),
    (NONE, "mda:f=2", "mda:f=2,weights=num-examples"),
    (NONE, "centered-clip:tau=1e9", "centered-clip:tau=0.1"),
    (NONE, "centered-clip:tau=0.1", "centered-clip:tau=0.1,iterations=3"),
    (NONE, "centered-clip:tau=0.1", "centered-clip:tau=0.1,weights=num-examples"),
    (MEDIAN, "nnm:f=0", "nnm:f=2"),
    (MEDIAN, "bucketing:s=2", "bucketing:s=3"),
    (NONE, "clip:norm=1e30", "clip:norm=0.5"),
    (NONE, "layer-clip:norm=1e30", "layer-clip:norm=0.5"),
    (NONE, "layer-clip:norm=0.5", "layer-clip:norm=0.5,bound=tensor"),
    (NONE, "center", "center:of=tensor"),
    (NONE, "local-dp:noise-multiplier=0.01", "local-dp:noise-multiplier=0.01,norm=0.5"),
    (NONE, "local-dp:noise-multiplier=0", "local-dp:noise-multiplier=0.01"),
    (NONE, "adaptive-clip", "adaptive-clip:norm=0.2"),
    (NONE, "adaptive-clip", "adaptive-clip:quantile=0.9"),
    (NONE, "adaptive-clip", "adaptive-clip:bound-learning-rate=0"),
    (NONE, "adaptive-clip", "adaptive-clip:count-noise=0"),
    (NONE, "adaptive-clip", "adaptive-clip:weights=num-examples"),
    (NONE, "adaptive-clip", "adaptive-clip:denominator=12"),
    (NONE, "topk:ratio=1", "topk:ratio=0.1"),
    (NONE, "topk:ratio=0.1", "topk:ratio=0.1,error-feedback=true"),
    (NONE, "topk:ratio=0.1", "topk:ratio=0.1,direction=both"),
    (NONE, "randk:ratio=1", "randk:ratio=0.5"),
    (NONE, "randk:ratio=0.5", "randk:ratio=0.5,unbiased=false"),
    (NONE, "threshold", "threshold:threshold=0.01"),
    (NONE, "threshold", "threshold:send=signs"),
    (NONE, "qsgd:bits=8", "qsgd:bits=4"),
    (NONE, "quantize", "quantize:bits=4"),
    (NONE, "quantize", "quantize:range=symmetric"),
    (NONE, "signsgd", "signsgd:scale=unit"),
    (NONE, "terngrad", "terngrad:clip=2.5"),
    (NONE, "eden", "eden:bits=2"),
    (NONE, "eden", "eden:unbiased=false"),
    (NONE, "eden", "eden:rotations=1"),
    (NONE, "powersgd:rank=2", "powersgd:rank=1"),
    (NONE, "count-sketch", "count-sketch:ratio=0.5"),
    (NONE, "count-sketch", "count-sketch:rows=3"),
    (NONE, "count-sketch", "count-sketch:top=0.1"),
    (CLIPPED, "dp-gaussian:noise-multiplier=0", "dp-gaussian:noise-multiplier=0.1"),
    (CLIPPED, "dp-tree:noise-multiplier=0", "dp-tree:noise-multiplier=0.1"),
    (CLIPPED, "dp-tree:noise-multiplier=0.1", "dp-tree:noise-multiplier=0.1,restart=3"),
    (CLIPPED, "dp-tree:noise-multiplier=0.1,restart=3", "dp-tree:noise-multiplier=0.1,restart=3,completion=false"),
    (NONE, "power-of-choice:d=6", "power-of-choice:d=20"),
    (HOSTILE, "sign-flip", "sign-flip:scale=2"),
    (HOSTILE, "sign-flip", "sign-flip:of=honest-mean"),
    (HOSTILE, "gaussian:sd=0.1", "gaussian:sd=0.2"),
    (HOSTILE, "gaussian:sd=0.1", "gaussian:sd=0.1,mode=add"),
    (HOSTILE, "ipm", "ipm:epsilon=2"),
    (HOSTILE, "alie:z=1", "alie:z=2"),
    (HOSTILE, "scale:factor=2", "scale:factor=3"),
    (HOSTILE, "label-flip", "label-flip:flip=targeted"),
    (HOSTILE, "label-flip:flip=targeted", "label-flip:flip=targeted,source=2"),
    (HOSTILE, "label-flip:flip=targeted", "label-flip:flip=targeted,target=2"),
];

/// What a run with these plugins and settings leaves: the bits of the common model's weights and, where clients have models
/// of their own, how well each of those does. In this process, where a module is compiled once for all runs.
fn result(lab: &Lab, data: &Arc<Dataset>, arguments: &[&str]) -> (Vec<u32>, Vec<(u64, f64)>) {
    let (mut settings, mut plugins) = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter();
    while let Some(&flag) = arguments.next() {
        match flag {
            "--quiet" => {}
            "--set" => settings.extend(arguments.next().and_then(|pair| pair.split_once('='))),
            "--plugin" => plugins.extend(arguments.next().map(|plugin| parse_spec(plugin).expect("a plugin"))),
            other => panic!("`{other}` is not read here"),
        }
    }
    let settings: Vec<_> = settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut config = Config::load(None, &settings).expect("a configuration");
    config.plugins = plugins;
    config.partition.cache = Cache::Folder(lab.path().join("cache"));
    let model = model_from_config(&config.model, data).expect("a model");
    let experiment = Experiment::new(config, data.clone(), model).expect("an experiment");
    let mut last = Last::default();
    experiment.run(&mut last).expect("a run");
    (last.weights.iter().map(|weight| weight.to_bits()).collect(), last.personal_accuracy)
}

#[test]
fn every_plugin_parameter_changes_the_result() {
    let lab = Lab::new();
    let data = Arc::new(data::load(&Config::default().data).expect("the embedded data"));
    let mut known = HashMap::new();
    let mut known_result = |more: &'static [&'static str], plugin: &'static str| {
        let run = || result(&lab, &data, &small(&[more, &["--plugin", plugin][..]].concat()));
        known.entry((more, plugin)).or_insert_with(run).clone()
    };
    let same = MOVED.iter().filter(|(more, neutral, moved)| known_result(more, neutral) == known_result(more, moved));
    let same: Vec<_> = same.map(|(_, neutral, moved)| format!("{neutral} and {moved}")).collect();
    assert!(same.is_empty(), "the same result with {same:?}");
    // What runs here is what the binary runs.
    let (more, _, plugin) = MOVED[MOVED.len() - 1];
    let binary = lab.run("binary", &small(&[more, &["--plugin", plugin][..]].concat())).weights();
    let here: Vec<f32> = known_result(more, plugin).0.into_iter().map(f32::from_bits).collect();
    assert_eq!(sorted(binary), sorted(here));
}

/// The tensors of a file stand in the order of their names, those of a run in the model's.
fn sorted(mut weights: Vec<f32>) -> Vec<f32> {
    weights.sort_by(f32::total_cmp);
    weights
}

/// None is read and forgotten, and none is forgotten here.
#[test]
fn every_parameter_of_every_shipped_plugin_is_among_those_that_are_moved() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    for name in shipped_names() {
        let text = std::fs::read_to_string(plugins.join(name).join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_str(&text).expect("JSON");
        for parameter in manifest["params"].as_array().into_iter().flatten() {
            let parameter = parameter["name"].as_str().expect("a name");
            let is_moved = MOVED.iter().any(|(_, neutral, moved)| {
                let value = |given: &'static str| value_of(given, name, parameter);
                moved.split(':').next() == Some(name) && value(neutral) != value(moved)
            });
            assert!(is_moved, "`{parameter}` of `{name}` is moved nowhere");
        }
    }
}

/// The value of a parameter in `name:parameter=value,..`.
fn value_of(given: &'static str, name: &str, parameter: &str) -> Option<&'static str> {
    let parameters = given.strip_prefix(name)?.strip_prefix(':')?;
    parameters.split(',').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == parameter).map(|(_, v)| v)
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

/// Keeps the final weights, how well personal models do, and the test accuracy of round 0.
#[derive(Default)]
struct Last {
    weights: Vec<f32>,
    personal_accuracy: Vec<(u64, f64)>,
    accuracy: Option<f64>,
}

impl Observer for Last {
    fn round(&mut self, record: &colla::record::RoundRecord) -> Result<()> {
        self.accuracy = record.test_accuracy;
        Ok(())
    }

    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        self.weights = outcome.weights.clone();
        self.personal_accuracy = outcome.personal_accuracy.clone();
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
