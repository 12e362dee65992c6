//! A made-up run, driven through the observers as the round loop drives them.

use super::*;
use crate::{
    config::{Config, Plugin},
    error::{Fault, Kind, exit_code},
    plugin::PluginFailure,
    train::{TensorInfo, TensorRole},
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::{cell::RefCell, fs, io, path::Path, rc::Rc, time::Duration};

fn config(out: &Path) -> Config {
    let mut config = Config::load(None, &[]).unwrap();
    config.host.out = Some(out.into());
    config.plugins = vec![Plugin { name: Some("fedprox".into()), ..Plugin::default() }];
    config
}

/// As the round loop resolves [`config`].
fn resolved() -> Config {
    let mut config = config(Path::new("elsewhere"));
    config.plugins[0].blake3 = Some("ab".repeat(32));
    config
}

fn info() -> RunInfo {
    RunInfo {
        config: resolved(),
        data: "optdigits".into(),
        model: "mlp [2]".into(),
        num_weights: 3,
        num_clients: 2,
        rounds: 2,
        threads: 1,
        device: None,
        plugins: vec![PluginRecord {
            name: "fedprox".into(),
            version: "1.0.0".into(),
            source: "shipped".into(),
            form: "wasm".into(),
            blake3: "ab".repeat(32),
            kinds: vec![crate::plugin::Role::Client],
            parameters: BTreeMap::from([("mu".into(), Value::from(0.1))]),
        }],
        privacy: None,
        notes: Vec::new(),
        class_counts: vec![vec![3, 0], vec![1, 2]],
    }
}

fn round(number: u64, accuracy: f64, plugin: &[(&str, f64)]) -> RoundRecord {
    RoundRecord {
        round: number,
        seconds: 0.5,
        test_accuracy: Some(accuracy),
        test_loss: Some(1.0 - accuracy),
        clients: 2 * number.min(1),
        upload_bytes: 1200 * number.min(1),
        download_bytes: 2400 * number.min(1),
        plugin: plugin.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        ..Default::default()
    }
}

fn outcome() -> Outcome {
    let tensor = |name: &str, shape: Vec<usize>, role, offset| TensorInfo { name: name.into(), shape, role, offset };
    let tensors = vec![
        tensor("layers.0.weight", vec![1, 2], TensorRole::Weight, 0),
        tensor("layers.0.bias", vec![1], TensorRole::Bias, 2),
    ];
    Outcome {
        complete: true,
        weights: vec![1.0, -2.0, 0.5],
        layout: Layout { tensors },
        client_accuracy: vec![(0, 0.5), (1, 1.0)],
        personal_accuracy: Vec::new(),
        client_rows: "training rows",
        clients_trained: 4,
        train_seconds: 0.5,
        kernel: "portable".into(),
    }
}

fn drive(observer: &mut dyn Observer) -> Result<()> {
    observer.start(&info())?;
    observer.round(&round(0, 0.1, &[]))?;
    observer.clients(1, 1, 2);
    observer.round(&round(1, 0.7, &[("plugin.fedprox.drift", 0.25)]))?;
    observer.round(&round(2, 0.6, &[]))?;
    observer.finish(&outcome())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_finished_run_leaves_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("first");
    let mut directory = RunDirectory::create(&config(&out)).unwrap();
    drive(&mut directory).unwrap();

    let mut names: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = ["config.toml", "metrics.csv", "metrics.jsonl", "model.safetensors", "report.html", "summary.json"];
    assert_eq!(names, expected, "nothing temporary is left");

    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["rounds"], 2);
    assert_eq!((&summary["final"]["round"], &summary["final"]["test_accuracy"]), (&2.into(), &0.6.into()));
    assert_eq!((&summary["best"]["round"], &summary["best"]["test_accuracy"]), (&1.into(), &0.7.into()));
    assert_eq!(summary["last10"]["rounds"], 2);
    assert_eq!((&summary["upload_bytes"], &summary["download_bytes"]), (&2400.into(), &4800.into()));
    assert_eq!(summary["clients_per_second"], 8.0);
    assert_eq!(summary["plugins"][0]["blake3"], "ab".repeat(32));
    assert_eq!(summary["kernel"], "portable");
    let bytes: Vec<u8> = outcome().weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    assert_eq!(summary["weights_blake3"], blake3::hash(&bytes).to_hex().to_string());

    let model = fs::read(out.join("model.safetensors")).unwrap();
    let model = SafeTensors::deserialize(&model).unwrap();
    assert_eq!(model.tensor("layers.0.weight").unwrap().data(), &bytes[..8]);
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("fedprox"));
}

#[test]
fn the_stored_configuration_pins_plugins_and_repeats_the_run_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("first");
    drive(&mut RunDirectory::create(&config(&out)).unwrap()).unwrap();
    let stored = Config::load(Some(&out.join("config.toml")), &[]).unwrap();
    let mut expected = resolved();
    expected.host.out = None;
    assert_eq!(stored, expected);
}

#[test]
fn metrics_are_on_disk_after_each_round_and_columns_grow_with_the_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = RunDirectory::create(&config(folder.path())).unwrap();
    directory.min_summary_interval = Duration::ZERO;
    directory.start(&info()).unwrap();
    let csv = || fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
    let jsonl = || fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    directory.round(&round(0, 0.1, &[])).unwrap();
    assert_eq!((jsonl().lines().count(), csv().lines().count()), (1, 2));
    directory.round(&round(1, 0.7, &[("plugin.fedprox.drift", 0.25)])).unwrap();
    directory.round(&round(2, f64::NAN, &[])).unwrap();

    let csv = csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let head = reader.headers().unwrap().clone();
    let column = head.iter().position(|name| name == "plugin.fedprox.drift").unwrap();
    let values: Vec<String> = reader.records().map(|line| line.unwrap()[column].to_string()).collect();
    assert_eq!(values, ["", "0.25", ""]);

    let lines: Vec<Value> = jsonl().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[1]["round"], &lines[1]["plugin.fedprox.drift"]), (&1.into(), &0.25.into()));
    assert_eq!(lines[2]["test_accuracy"], Value::Null);
    assert_eq!(json(&folder.path().join("summary.json"))["rounds"], 2);
}

#[test]
fn short_rounds_do_not_wait_for_a_summary_and_a_failed_run_has_its_last_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = RunDirectory::create(&config(folder.path())).unwrap();
    directory.min_summary_interval = Duration::MAX;
    directory.start(&info()).unwrap();
    let summary = || json(&folder.path().join("summary.json"));
    let begun = summary();
    for number in 1..=3 {
        directory.round(&round(number, 0.7, &[])).unwrap();
        assert_eq!(summary(), begun);
    }
    let cause = PluginFailure { plugin: "krum".into(), operation: "DECIDE", message: "trap".into(), refusal: None };
    directory.fail(&anyhow::Error::new(cause)).unwrap();
    assert_eq!(summary()["rounds"], 3);
}

#[test]
fn a_failed_run_tells_why_and_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = RunDirectory::create(&config(folder.path())).unwrap();
    directory.start(&info()).unwrap();
    directory.round(&round(1, 0.7, &[])).unwrap();
    let cause = PluginFailure { plugin: "krum".into(), operation: "DECIDE", message: "trap".into(), refusal: None };
    let told = directory.fail(&anyhow::Error::new(cause).context("round 2")).unwrap();
    assert_eq!(told, Some(folder.path().join("error.json")));
    let error = json(&folder.path().join("error.json"));
    assert_eq!(error["error"], "round 2: plugin `krum`, DECIDE: trap");
    assert_eq!((&error["kind"], &error["exit_code"]), (&"plugin-failed".into(), &6.into()));
    let summary = json(&folder.path().join("summary.json"));
    assert_eq!((&summary["complete"], &summary["rounds"]), (&false.into(), &1.into()));
    assert!(!folder.path().join("model.safetensors").exists());
}

#[test]
fn a_crash_leaves_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut directory = RunDirectory::create(&config(folder.path())).unwrap();
    let text = String::new;
    let bug =
        Bug { message: "odd".into(), location: "x.rs:1:2".into(), thread: text(), backtrace: text(), version: "1" };
    directory.fail(&anyhow::Error::new(bug)).unwrap();
    assert_eq!(json(&folder.path().join("crash.json"))["location"], "x.rs:1:2");
}

#[test]
fn a_folder_with_files_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    let error = RunDirectory::create(&config(folder.path())).err().unwrap();
    assert!(error.to_string().ends_with("it holds files already; choose another with `--out DIR` or empty it"));
    assert_eq!(exit_code(&error), 8);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_place_that_cannot_be_a_folder_is_an_early_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = RunDirectory::create(&config(&file.join("below"))).err().unwrap();
    assert!(error.to_string().contains("choose another place with `--out DIR`"), "{error}");
    assert_eq!(exit_code(&error), 8);
}

#[test]
fn numbered_folders_continue_and_one_that_never_began_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    fs::create_dir_all(runs.join("0007")).unwrap();
    fs::create_dir_all(runs.join("notes")).unwrap();
    let mut config = config(folder.path());
    config.host.out = None;
    let mut first = RunDirectory::numbered(&config, &runs).unwrap();
    let second = RunDirectory::numbered(&config, &runs).unwrap();
    assert_eq!((first.path(), second.path()), (&*runs.join("0008"), &*runs.join("0009")));
    assert_eq!(first.fail(&Fault::new(Kind::Config, "unknown plugin")).unwrap(), None);
    assert!(!runs.join("0008").exists());
}

/// A writer that the test keeps a hand on.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn progress_without_a_terminal_is_one_line_a_round() {
    let (screen, lines) = (Shared::default(), Shared::default());
    let (mut progress, mut metrics) = (Progress::lines(screen.clone()), JsonLines(lines.clone()));
    drive(&mut Tee(vec![&mut progress, &mut metrics])).unwrap();
    let text = String::from_utf8(screen.0.borrow().clone()).unwrap();
    let expected = "\
optdigits, 2 clients; mlp [2], 3 weights; 2 rounds on 1 threads
plugin fedprox 1.0.0 (wasm, blake3 abababababab; shipped)
round 0/2  accuracy 10.00 %  loss 0.9000  train loss –  clients 0  0.50 s  up 0 B  down 0 B
round 1/2  accuracy 70.00 %  loss 0.3000  train loss –  clients 2  0.50 s  up 1.20 kB  down 2.40 kB
round 2/2  accuracy 60.00 %  loss 0.4000  train loss –  clients 2  0.50 s  up 1.20 kB  down 2.40 kB
";
    assert_eq!(text, expected);
    let lines = String::from_utf8(lines.0.borrow().clone()).unwrap();
    assert_eq!(lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).count(), 3);
}

#[test]
fn what_to_know_of_a_run_is_said_at_its_start() {
    let screen = Shared::default();
    let info = RunInfo { notes: vec!["it may diverge".into()], ..info() };
    Progress::lines(screen.clone()).start(&info).unwrap();
    let text = String::from_utf8(screen.0.borrow().clone()).unwrap();
    assert!(text.ends_with("; shipped)\nnote: it may diverge\n"), "{text}");
}

#[test]
fn a_warning_is_a_line_of_its_own_between_the_rounds() {
    let screen = Shared::default();
    let mut progress = Progress::lines(screen.clone());
    Tee(vec![&mut progress]).warning("steps are launched one by one");
    assert_eq!(&*screen.0.borrow(), b"warning: steps are launched one by one\n");
}

#[test]
fn the_table_at_the_end_has_the_results() {
    let records = [round(0, 0.1, &[]), round(1, 0.7, &[]), round(2, 0.6, &[])];
    let summary = Summary::new(Some(&info()), &records, Some(&outcome()), 3.0);
    let table = results_table(&summary, Path::new("runs/0001"));
    // Mean 65 %, and 0.7 and 0.6 are each 5 points away: sd sqrt(2 · 25 / 1) = 7.07 points.
    for cell in ["60.00 % (round 2)", "70.00 % (round 1)", "65.00 % ± 7.07", "2.40 kB", "abababababab", "runs/0001"] {
        assert!(table.contains(cell), "{table}");
    }
}
