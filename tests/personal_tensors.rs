//! FedBN: normalisation layers stay with their clients, and everything else is common.

use super::support::{Lab, Last, RunDir, SMALL_NORMED, small};
use super::wat::{OK, planning_plugin};
use colla::config::{self, BatchSize, ClientEvaluation, Config, ModelName, PartitionKind};
use colla::data::{Dataset, Examples, Features};
use colla::record::Outcome;
use colla::run::Experiment;
use colla::train::{Part, model_from_config, weights_file};
use colla_plugin_sdk::{Map, Value};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::sync::Arc;

fn normed<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [SMALL_NORMED, more].concat()
}

/// The final model's tensors by name.
fn tensors(run: &RunDir) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(run.0.join("model.safetensors")).expect("model.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

#[test]
fn the_common_model_keeps_its_initial_normalisation_whatever_stages_make_of_an_update() {
    let lab = Lab::new();
    let initial = tensors(&lab.run("initial", &normed(&["--set", "federation.num-server-rounds=0"])));
    let kept = |name: &str, plugins: &[&'static str]| {
        let plugins: Vec<&str> = plugins.iter().flat_map(|plugin| ["--plugin", plugin]).collect();
        let after = tensors(&lab.run(name, &normed(&plugins)));
        assert!(initial.keys().eq(after.keys()));
        let (norms, others): (Vec<_>, Vec<_>) = initial.keys().partition(|name| name.starts_with("norm"));
        assert_eq!((norms.len(), others.len()), (8, 8));
        assert!(others.iter().all(|name| initial[*name] != after[*name]), "{plugins:?}: everything else is trained");
        norms.iter().filter(|name| initial[**name] == after[**name]).count()
    };
    assert_eq!(kept("plain", &["fedbn"]), 8);
    // Both leave no zero of an update a zero.
    assert_eq!(kept("stages", &["fedbn", "standardize", "eden:bits=3,error-feedback=true"]), 8);
    assert_eq!(kept("median", &["fedbn", "median"]), 8);
    assert_eq!(kept("without", &[]), 0);
}

#[test]
fn the_same_bytes_come_out_on_any_number_of_threads_and_with_slots_in_a_file() {
    let lab = Lab::new();
    let run = |name: &str, more: &[&str]| {
        let fixed = ["--plugin", "fedbn", "--set", "evaluate.clients=\"always\""];
        let run = lab.run(name, &normed(&[&fixed[..], more].concat()));
        let personal: Vec<_> = run.metrics().iter().map(|line| line["personal_accuracy"].clone()).collect();
        assert!(personal.iter().all(|spread| spread.is_object()), "{personal:?}");
        (run.summary()["weights_blake3"].clone(), personal)
    };
    let one = run("one", &["--threads", "1"]);
    assert_eq!(one, run("two", &["--threads", "2"]));
    assert_eq!(one, run("five", &["--threads", "5", "--set", "host.state-memory=0"]));
}

#[test]
fn a_model_without_normalisation_is_refused() {
    let lab = Lab::new();
    for more in [&[][..], &["--set", "model.name=\"cnn\""]] {
        let arguments = [&["--quiet", "--plugin", "fedbn", "--set", "federation.num-server-rounds=1"], more].concat();
        let finished = lab.colla(&arguments);
        assert_eq!(finished.code, 3, "{more:?}: {}", finished.stderr);
        let words = "plugin `fedbn` — it requires `normalisation-layers`, but the model has none; use a model with";
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[test]
fn two_plugins_may_not_keep_the_same_tensors() {
    let lab = Lab::new();
    let term = Map::new().with("term", "personal").with("slot", "own");
    let phase = Map::new().with("terms", vec![Value::Map(term)]);
    let plan = Map::new().with("phases", vec![Value::Map(phase)]);
    for name in ["first", "second"] {
        let manifest = format!(
            r#"{{"abi":"1.0","name":"{name}","version":"0.1.0","kinds":["client"],"summary":"a test",
                "requires":["normalisation-layers"],"state":[{{"name":"own","scope":"client","shape":"norm"}}]}}"#
        );
        lab.write(&format!("{name}.wasm"), planning_plugin(&manifest, &plan, OK));
    }
    lab.run("alone", &normed(&["--plugin", "first.wasm"]));
    let finished = lab.colla(&normed(&["--plugin", "first.wasm", "--plugin", "second.wasm"]));
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    let words = "plugins `first` and `second` — both keep tensors of a client from the common model";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
    let plain = lab.colla(&small(&["--plugin", "first.wasm"]));
    assert!(plain.code == 3 && plain.stderr.contains("`normalisation-layers`"), "{}", plain.stderr);
}

/// Digits of so many natural clients; with (a, b) the k-th pair, client k's pixels x become a·x + b.
fn digits(scales: &[(f32, f32)], rows_each: usize) -> Dataset {
    let source = colla::data::load(&config::Data::default()).expect("embedded data");
    let width = source.width();
    let count = scales.len() * rows_each;
    let mut values = vec![0.0; count * width];
    let rows: Vec<u32> = (0..count as u32).collect();
    source.part(Part::Train).features.gather(&rows, width, &mut values);
    let clients: Vec<u32> = rows.iter().map(|row| row % scales.len() as u32).collect();
    for (values, &client) in values.chunks_exact_mut(width).zip(&clients) {
        let (scale, shift) = scales[client as usize];
        values.iter_mut().for_each(|x| *x = scale * *x + shift);
    }
    let labels = source.train.labels[..count].to_vec();
    let train = Examples { features: Features::F32(values), labels, clients: Some(clients) };
    Dataset {
        name: "shifted digits".into(),
        test: source.test.clone(),
        train,
        client_names: (0..scales.len()).map(|k| format!("client {k}")).collect(),
        fingerprint: [7; 32],
        ..source
    }
}

fn settings(rounds: usize) -> Config {
    let mut config = Config::default();
    config.model.name = ModelName::CnnBn;
    config.partition.kind = PartitionKind::Natural;
    config.partition.cache = config::Cache::Off;
    config.federation.num_server_rounds = rounds;
    config.federation.fraction_train = 1.0;
    config.train.local_epochs = 1;
    config.evaluate.clients = ClientEvaluation::Last;
    config
}

fn outcome(data: &Dataset, config: &Config, plugins: &[&str]) -> Outcome {
    let config =
        Config { plugins: plugins.iter().map(|name| config::Plugin::shipped(name)).collect(), ..config.clone() };
    let model = model_from_config(&config.model, data).expect("a model");
    let mut last = Last::default();
    Experiment::new(config, Arc::new(data.clone()), model).expect("an experiment").run(&mut last).expect("a run");
    last.0.expect("an outcome")
}

fn mean(accuracy: &[(u64, f64)]) -> f64 {
    accuracy.iter().map(|(_, accuracy)| accuracy).sum::<f64>() / accuracy.len() as f64
}

#[test]
fn a_single_clients_own_model_is_the_common_one_of_fedavg() {
    // Then the mean over clients is the client itself, and what it keeps is what it would have received.
    let data = digits(&[(1.0, 0.0)], 300);
    let config = settings(4);
    let (own, common) = (outcome(&data, &config, &["fedbn"]), outcome(&data, &config, &[]));
    assert_eq!(own.personal_accuracy, common.client_accuracy);
    assert!(mean(&own.personal_accuracy) > 0.8, "{:?}", own.personal_accuracy);
    assert!(own.client_accuracy != own.personal_accuracy, "the initial normalisation does not serve it");
    for tensor in own.layout.tensors.iter().filter(|tensor| !tensor.name.starts_with("norm")) {
        let range = tensor.offset..tensor.offset + tensor.len();
        let apart = own.weights[range.clone()].iter().zip(&common.weights[range]).map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f32::max);
        assert!(apart < 1e-4, "`{}`: {apart}", tensor.name);
    }
}

#[test]
fn clients_with_the_same_rows_and_full_batches_are_all_the_common_model_of_fedavg() {
    let twice = |data: Dataset| {
        let width = data.width();
        let Features::F32(values) = &data.train.features else { panic!("digits are f32 here") };
        let (first, len) = (&values[..200 * width], data.train.len());
        let labels = [&data.train.labels[..200], &data.train.labels[..200]].concat();
        assert_eq!(len, 400);
        let clients = (0..400).map(|row| row / 200).collect();
        let train = Examples { features: Features::F32([first, first].concat()), labels, clients: Some(clients) };
        Dataset { train, ..data }
    };
    let data = twice(digits(&[(1.0, 0.0), (1.0, 0.0)], 200));
    let mut config = settings(6);
    (config.train.batch_size, config.train.shuffle) = (BatchSize::Full, false);
    config.train.local_steps = Some(2);
    let (own, common) = (outcome(&data, &config, &["fedbn"]), outcome(&data, &config, &[]));
    assert_eq!(own.personal_accuracy, common.client_accuracy);
    assert!(own.client_accuracy != own.personal_accuracy);
}

#[test]
fn another_clients_rows_reach_a_client_through_the_common_tensors_alone() {
    let lab = Lab::new();
    let start = outcome(&digits(&[(1.0, 0.0)], 300), &settings(4), &[]);
    let path = lab.path().join("start.safetensors");
    weights_file::save(&path, &start.layout, &start.weights, &BTreeMap::new()).expect("a file of weights");
    // A server step that is lost in rounding: nothing common moves, so each client's model is its own normalisation.
    let mut config = settings(3);
    config.model.init = Some(path);
    config.federation.server_learning_rate = 1e-30;
    let shifted = |second: (f32, f32)| digits(&[(0.5, 0.3), second], 300);
    let [one, other] = [(0.5, 0.3), (-1.0, 1.0)].map(|second| outcome(&shifted(second), &config, &["fedbn"]));
    assert!(one.weights == start.weights && other.weights == start.weights, "the common model stands still");
    assert_eq!(one.personal_accuracy[0], other.personal_accuracy[0]);
    assert_ne!(one.personal_accuracy[1], other.personal_accuracy[1]);
    assert_ne!(one.personal_accuracy[0], one.client_accuracy[0], "its normalisation was trained");
}

#[test]
fn where_clients_see_the_same_digits_differently_each_ones_own_normalisation_serves_it_better() {
    // The paper's setting: the same classes, features shifted and scaled from client to client.
    let data = digits(&[(1.0, 0.0), (-1.0, 1.0), (0.2, 0.0), (4.0, -2.0)], 150);
    let config = settings(8);
    let (own, common) = (outcome(&data, &config, &["fedbn"]), outcome(&data, &config, &[]));
    let (own, common) = (mean(&own.personal_accuracy), mean(&common.client_accuracy));
    println!("own normalisation {own}, common {common}");
    assert!(own > common + 0.05, "own normalisation {own}, common {common}");
}
