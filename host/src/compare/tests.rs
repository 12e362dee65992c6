//! Comparisons of run directories made by hand.

use super::*;
use crate::{
    error::exit_code,
    record::report::{comparison_html, comparison_svg},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Folders of runs; gone at the end of the test.
struct Runs(tempfile::TempDir);

const FEDAVG: &str =
    "[[plugin]]\nname = \"fedavg\"\nblake3 = \"HASH\"\ndenominator = 0.0\nweights = \"num-examples\"\n";
const FEDPROX: &str = "[[plugin]]\nname = \"fedprox\"\nblake3 = \"HASH\"\nmu = 0.1\n";

impl Runs {
    fn new() -> Self {
        Runs(tempfile::tempdir().unwrap())
    }

    /// A finished run with an accuracy for each round from 0 on. `more` is the rest of its configuration.
    fn write(&self, name: &str, seed: i64, more: &str, accuracies: &[f64]) {
        let lines = accuracies.iter().enumerate().map(|(round, accuracy)| {
            let bytes = 1200 * round.min(1);
            let own = json!({"mean": accuracy / 2.0});
            json!({"round": round, "seconds": 0.5, "test_accuracy": accuracy, "test_loss": 1.0 - accuracy,
                "clients": round.min(1), "upload_bytes": bytes, "download_bytes": 2 * bytes, "client_accuracy": own,
                "plugin.x.drift": 0.25})
        });
        self.write_lines(name, seed, more, lines);
    }

    fn write_lines(&self, name: &str, seed: i64, more: &str, lines: impl Iterator<Item = Value>) {
        let folder = self.0.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let more = more
            .replace(
                "name = \"fedavg\"\nblake3 = \"HASH\"",
                &format!("name = \"fedavg\"\nblake3 = {:?}", hash("fedavg")),
            )
            .replace("HASH", &hash("fedprox"));
        let config =
            format!("seed = {seed}\n[partition]\nseed = 42\nnum-clients = 100\n[host]\nthreads = {seed}\n{more}");
        fs::write(folder.join("config.toml"), config).unwrap();
        let text: String = lines.map(|line| line.to_string() + "\n").collect();
        fs::write(folder.join("metrics.jsonl"), text).unwrap();
        self.write_summary(name, &json!({"complete": true, "plugins": [{"name": "fedavg", "kinds": ["aggregate"]}]}));
    }

    fn write_summary(&self, name: &str, summary: &Value) {
        fs::write(self.0.path().join(name).join("summary.json"), summary.to_string()).unwrap();
    }

    fn edit_config(&self, name: &str, old: &str, new: &str) {
        let path = self.0.path().join(name).join("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(old, new)).unwrap();
    }

    fn request(&self, argument: &str) -> Request {
        let (name, folder) = match argument.rsplit_once('=') {
            Some((name, folder)) => (Some(name.to_owned()), folder),
            None => (None, argument),
        };
        Request { name, path: self.0.path().join(folder) }
    }

    fn compare_with(&self, arguments: &[&str], options: &Options) -> Result<Comparison> {
        let requests: Vec<Request> = arguments.iter().map(|argument| self.request(argument)).collect();
        compare(&requests, options)
    }

    #[track_caller]
    fn compare(&self, arguments: &[&str]) -> Comparison {
        self.compare_with(arguments, &options()).unwrap()
    }

    /// The message without the folder of this test, and the exit code.
    #[track_caller]
    fn refuse_with(&self, arguments: &[&str], options: &Options) -> (String, u8) {
        let Err(error) = self.compare_with(arguments, options) else { panic!("it is refused") };
        (format!("{error:#}").replace(&format!("{}/", self.0.path().display()), ""), exit_code(&error))
    }

    #[track_caller]
    fn refuse(&self, arguments: &[&str]) -> (String, u8) {
        self.refuse_with(arguments, &options())
    }
}

fn hash(name: &str) -> String {
    crate::plugin::inspect(&crate::config::Plugin::shipped(name)).unwrap().blake3
}

fn options() -> Options {
    Options { metric: "accuracy".into(), last: 2, target: Some(0.7), band: Band::Range, unfinished: false }
}

fn names(comparison: &Comparison) -> Vec<&str> {
    comparison.series.iter().map(|series| series.name.as_str()).collect()
}

#[track_caller]
fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

#[track_caller]
fn close_estimate(estimate: Estimate, mean: f64, sd: Option<f64>) {
    close(estimate.mean.unwrap(), mean);
    assert_eq!(estimate.sd.is_some(), sd.is_some());
    sd.into_iter().for_each(|sd| close(estimate.sd.unwrap(), sd));
}

/// Two runs of FedAvg, seeds 1 and 2, and one of FedProx.
fn three() -> Runs {
    let runs = Runs::new();
    runs.write("a", 1, FEDAVG, &[0.1, 0.5, 0.7]);
    runs.write("b", 2, FEDAVG, &[0.2, 0.7, 0.9]);
    runs.write("c", 1, &(FEDPROX.to_owned() + FEDAVG), &[0.1, 0.8, 0.6]);
    runs
}

/// sqrt(2 · 0.1² / 1), the deviation of two values 0.2 apart.
const SD: f64 = 0.141_421_356_237_309_5;

#[test]
fn runs_that_differ_in_the_seed_alone_are_one_series_with_mean_and_deviation() {
    let comparison = three().compare(&["a", "b", "c"]);
    assert_eq!(names(&comparison), ["fedavg", "fedprox:mu=0.1"]);
    assert_eq!(comparison.rounds, [0, 2]);
    let series = &comparison.series[0];
    assert_eq!(series.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [Some(1), Some(2)]);
    // Finals 0.7 and 0.9; the last two rounds of each run: (0.5 + 0.7) / 2 and (0.7 + 0.9) / 2.
    close_estimate(series.r#final, 0.8, Some(SD));
    close_estimate(series.last_mean, 0.7, Some(SD));
    close(series.runs[0].last_mean.unwrap(), 0.6);
    // The mean curve is 0.15, 0.6, 0.8.
    let best = series.best.unwrap();
    assert_eq!(best.round, 2);
    close(best.value, 0.8);
    let point = series.curve[1];
    assert_eq!(point.round, 1);
    for (value, expected) in [(point.mean, 0.6), (point.sd, SD), (point.min, 0.5), (point.max, 0.7)] {
        close(value, expected);
    }
    // 0.7 is reached in round 2 by the first run, in round 1 by the second.
    assert_eq!(series.target, Some(Target { reached: 2, mean: Some(1.5), min: Some(1), max: Some(2) }));
    // Two rounds of 1200 bytes, three of half a second.
    assert_eq!((series.upload_bytes, series.download_bytes, series.seconds), (2400.0, 4800.0, 1.5));

    let single = &comparison.series[1];
    close_estimate(single.r#final, 0.6, None);
    close_estimate(single.last_mean, 0.7, None);
    assert_eq!((single.best.unwrap().round, single.curve[1].sd), (1, 0.0));
    assert_eq!(single.target, Some(Target { reached: 1, mean: Some(1.0), min: Some(1), max: Some(1) }));
}

#[test]
fn the_order_of_the_arguments_orders_the_series_and_changes_no_number() {
    let runs = three();
    // Thirds add up to different last bits in different orders.
    runs.write("d", 3, FEDAVG, &[1.0 / 3.0, 0.3, 0.1]);
    let (one, other) = (runs.compare(&["a", "b", "c", "d"]), runs.compare(&["c", "d", "b", "a"]));
    assert_eq!(names(&one), ["fedavg", "fedprox:mu=0.1"]);
    assert_eq!(names(&other), ["fedprox:mu=0.1", "fedavg"]);
    let series = |comparison: &Comparison, at: usize| serde_json::to_string(&comparison.series[at]).unwrap();
    assert_eq!([series(&one, 0), series(&one, 1)], [series(&other, 1), series(&other, 0)]);
}

#[test]
fn a_name_names_the_whole_series_and_keeps_the_place_of_its_first_run() {
    let runs = three();
    assert_eq!(names(&runs.compare(&["c", "a", "FedAvg=b"])), ["fedprox:mu=0.1", "FedAvg"]);
    assert_eq!(names(&runs.compare(&["a", "c", "FedAvg=b"])), ["FedAvg", "fedprox:mu=0.1"]);
    // Two names keep equal configurations apart.
    assert_eq!(runs.compare(&["x=a", "y=b"]).series.len(), 2);
    runs.write("d", 3, FEDAVG, &[0.1]);
    let (message, code) = runs.refuse(&["x=a", "y=b", "d"]);
    assert_eq!(message, "`d` could belong to `x` or to `y`, which have one configuration; name it as NAME=d");
    assert_eq!(code, 2);
    let (message, _) = runs.refuse(&["fedprox:mu=0.1=a", "c"]);
    assert_eq!(message, "two series are called `fedprox:mu=0.1`; name the runs of one of them with NAME=RUN");
}

#[test]
fn a_name_for_two_configurations_is_refused_with_what_differs() {
    let runs = three();
    let (message, code) = runs.refuse(&["x=a", "x=c"]);
    let differ = "plugins (fedavg and fedprox:mu=0.1); give them different names";
    assert_eq!(message, format!("series `x`: `a` and `c` differ in more than their seeds: {differ}"));
    assert_eq!(code, 2);
    runs.write("d", 1, &format!("[train]\nlocal-epochs = 1\n{FEDAVG}"), &[0.1]);
    assert!(runs.refuse(&["x=a", "x=d"]).0.contains("train.local-epochs (none and 1)"));
}

#[test]
fn labels_say_what_configurations_do_not_share() {
    let settings = |text: &str| settings::Settings::parse(text).unwrap();
    let labels = |texts: &[&str]| {
        let settings: Vec<_> = texts.iter().map(|text| settings(text)).collect();
        label::labels(&settings.iter().collect::<Vec<_>>())
    };
    let plugin = |name: &str, more: &str| format!("[[plugin]]\nname = {name:?}\nblake3 = {:?}\n{more}\n", hash(name));
    let fedavg = plugin("fedavg", "denominator = 0.0\nweights = \"num-examples\"");
    let uniform = plugin("fedavg", "denominator = 0.0\nweights = \"uniform\"");
    let scaffold = plugin("scaffold", "server-learning-rate = 1.0");
    let topk = plugin("topk", "ratio = 0.01\nerror-feedback = false\ndirection = \"up\"");
    let feedback = topk.replace("false", "true");
    assert_eq!(labels(&[&fedavg]), ["fedavg"]);
    assert_eq!(
        labels(&[&fedavg, &(scaffold + &uniform)]),
        ["fedavg:weights=num-examples", "scaffold, fedavg:weights=uniform"]
    );
    let fedprox = plugin("fedprox", "mu = 0.1") + &fedavg;
    assert_eq!(labels(&[&fedprox, &uniform]), ["fedprox:mu=0.1", "fedavg:weights=uniform"]);
    assert_eq!(
        labels(&[&(topk.clone() + &fedavg), &(feedback + &fedavg)]),
        ["topk:error-feedback=false", "topk:error-feedback=true"]
    );
    // What is the same in both is not told; what only one has, is.
    let epochs = |epochs: u32| format!("[train]\nlocal-epochs = {epochs}\n[data]\nname = \"optdigits\"\n{topk}");
    assert_eq!(labels(&[&epochs(1), &epochs(5)]), ["train.local-epochs=1", "train.local-epochs=5"]);
    assert_eq!(
        labels(&[&topk, &format!("[attack]\nfraction = 0.2\n{topk}")]),
        ["without attack.fraction", "attack.fraction=0.2"]
    );
    // Files of one name are told apart by their hashes.
    let file = |hash: &str| format!("[[plugin]]\npath = \"there/rule.wasm\"\nblake3 = \"{}\"\nb = 1", hash.repeat(64));
    assert_eq!(labels(&[&file("a"), &file("b")]), ["rule:b=1,blake3=aaaaaaaaaaaa", "rule:b=1,blake3=bbbbbbbbbbbb"]);
}

#[test]
fn what_changes_no_result_sets_nothing_apart() {
    let parse = |text: &str| settings::Settings::parse(text).unwrap();
    let one = parse(
        "seed = 1\n[host]\nthreads = 1\ndevice = \"cpu\"\n[data]\ncache = false\nseed = 3\n[partition]\nseed = 2",
    );
    assert!(one.same_but_seeds(&parse("seed = 2\n[host]\nthreads = 8\ndevice = \"cpu\"\n[partition]\ncache = \"x\"")));
    assert!(!one.same_but_seeds(&parse("[host]\ndevice = \"gpu\"")));
    assert_eq!((one.seeds.run, one.seeds.partition, one.seeds.data), (Some(1), Some(2), Some(3)));
}

#[test]
fn it_is_told_whether_the_series_had_the_same_cohorts() {
    let runs = three();
    let notes = |arguments: &[&str]| runs.compare(arguments).notes;
    let same = "the same data, partition, initial weights, cohorts and batches; seeds 1";
    assert_eq!(notes(&["a", "c"]), [same]);
    assert_eq!(notes(&["a", "b", "c"]), ["not on the same cohorts: seed (1, 2 | 1)"]);
    assert!(notes(&["a", "b"]).is_empty(), "there is only one series");
    // Seeds 1 and 2 with partitions 42 and 7, and the other way round.
    runs.write("p", 2, FEDAVG, &[0.1, 0.2, 0.3]);
    runs.write("q", 1, &(FEDPROX.to_owned() + FEDAVG), &[0.1, 0.2, 0.3]);
    runs.write("r", 2, &(FEDPROX.to_owned() + FEDAVG), &[0.1, 0.2, 0.3]);
    ["p", "q"].into_iter().for_each(|name| runs.edit_config(name, "[partition]\nseed = 42", "[partition]\nseed = 7"));
    assert_eq!(notes(&["a", "p", "q", "r"]), ["not on the same cohorts: the same seeds, combined otherwise"]);
    runs.write("d", 1, &format!("[train]\nbatch-size = 5\n{FEDAVG}"), &[0.1, 0.2, 0.3]);
    let other_batches = "the same data, partition, initial weights and cohorts, other batches; seeds 1";
    assert_eq!(notes(&["a", "d"]), [other_batches]);
    for work in ["kept", "dropped"] {
        runs.write(work, 1, &format!("[stragglers]\nshare = 0.5\nwork = \"{work}\"\n{FEDAVG}"), &[0.1, 0.2, 0.3]);
        assert_eq!(notes(&["a", work]), [other_batches]);
    }
    assert_eq!(notes(&["kept", "dropped"]), [other_batches]);
    let more = format!("[federation]\nfraction-train = 0.5\n[model]\nname = \"cnn\"\n{FEDAVG}");
    runs.write("e", 1, &more, &[0.1, 0.2, 0.3]);
    let differ = "federation.fraction-train (none | 0.5); model.name (none | cnn)";
    assert_eq!(notes(&["a", "e"]), [format!("not on the same cohorts: {differ}")]);
    runs.write_summary("c", &json!({"complete": true, "plugins": [{"name": "power-of-choice", "kinds": ["select"]}]}));
    let chosen = "not on the same cohorts: `fedprox:mu=0.1`: `power-of-choice` chooses them";
    assert_eq!(notes(&["a", "c"]), [chosen]);
}

#[test]
fn it_is_told_if_the_metric_was_measured_in_other_rounds() {
    let runs = Runs::new();
    runs.write("each", 1, &format!("[evaluate]\nevery = 1\n{FEDAVG}"), &[0.1, 0.2, 0.9]);
    let lines = [0, 2].map(|round| json!({"round": round, "test_accuracy": 0.1 + 0.4 * round as f64}));
    runs.write_lines("every-second", 1, &format!("[evaluate]\nevery = 2\n{FEDAVG}"), lines.into_iter());
    let told = "test accuracy was not measured in the same rounds (`evaluate.every=1` in 3, `evaluate.every=2` in 2), which \
                averages over the last ones, best values and targets depend on";
    assert_eq!(runs.compare(&["each", "every-second"]).notes[1..], [told]);
    runs.write("again", 2, &format!("[evaluate]\nevery = 1\n{FEDAVG}"), &[0.1, 0.2, 0.9]);
    assert!(runs.compare(&["each", "again"]).notes.is_empty());
}

#[test]
fn runs_with_the_same_seeds_are_told_of_and_a_directory_counts_once() {
    let runs = three();
    runs.write("d", 1, FEDAVG, &[0.1, 0.5, 0.7]);
    let comparison = runs.compare(&["a", "d"]);
    close_estimate(comparison.series[0].r#final, 0.7, Some(0.0));
    let note = comparison.notes[0].replace(&format!("{}/", runs.0.path().display()), "");
    assert_eq!(note, "`fedavg`: `a` and `d` have the same seeds, so the deviation over runs is too small");
    let (message, code) = runs.refuse(&["a", "./a"]);
    assert!(message.ends_with("this run is given twice, before as `a`"), "{message}");
    assert_eq!(code, 2);
}

#[test]
fn longer_runs_are_cut_where_the_shortest_ends() {
    let runs = three();
    runs.write("d", 1, FEDPROX, &[0.1, 0.8]);
    let comparison = runs.compare(&["a", "b", "d"]);
    assert_eq!(comparison.rounds, [0, 1]);
    close_estimate(comparison.series[0].r#final, 0.6, Some(SD));
    assert_eq!(comparison.series[0].upload_bytes, 1200.0);
    let path = runs.0.path().display();
    let note = format!(
        "up to round 1, the last that all runs have; later rounds of `{path}/a` and of 1 other run are left out"
    );
    assert!(comparison.notes.contains(&note), "{:?}", comparison.notes);
}

#[test]
fn unfinished_runs_are_refused_with_their_error_unless_they_are_asked_for() {
    let runs = three();
    runs.write_summary("b", &json!({"complete": false}));
    fs::write(runs.0.path().join("b/error.json"), r#"{"error": "round 3: diverged"}"#).unwrap();
    let advice = "leave it out, or compare up to its last round with `--unfinished`";
    let (message, code) = runs.refuse(&["a", "b"]);
    let told = "run directory `b`: the run is not finished: it did 2 rounds and ended with `round 3: diverged`";
    assert_eq!(message, format!("{told}; {advice}"));
    assert_eq!(code, 4);

    // A line that a killed run did not end is none.
    let metrics = runs.0.path().join("b/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap() + "{\"round\": 3, \"test_ac";
    fs::write(&metrics, &text).unwrap();
    let options = Options { unfinished: true, ..options() };
    let comparison = runs.compare_with(&["a", "b"], &options).unwrap();
    close_estimate(comparison.series[0].r#final, 0.8, Some(SD));
    assert!(comparison.notes[0].starts_with("not finished: ") && comparison.notes[0].ends_with("b` (round 2)"));
    assert!(!comparison.series[0].runs[1].complete);

    fs::write(&metrics, "").unwrap();
    assert_eq!(runs.refuse_with(&["b"], &options).0, "run directory `b`: it has no rounds; leave it out");
}

#[test]
fn what_is_no_run_directory_is_refused_by_name() {
    let runs = three();
    let told = |argument: &str| {
        let (message, code) = runs.refuse(&["a", argument]);
        assert_eq!(code, 4, "{message}");
        message
    };
    assert_eq!(told("z"), "run directory `z`: there is no such folder");
    fs::create_dir(runs.0.path().join("empty")).unwrap();
    let none = "this is no run directory, it has no `summary.json`; give a folder that a run wrote";
    assert_eq!(told("empty"), format!("run directory `empty`: {none}"));
    assert_eq!(told("a/config.toml"), format!("run directory `a/config.toml`: {none}"));
    let broken = |file: &str, text: &str| {
        let before = fs::read(runs.0.path().join(file)).unwrap();
        fs::write(runs.0.path().join(file), text).unwrap();
        let message = told("b");
        fs::write(runs.0.path().join(file), before).unwrap();
        message
    };
    let start = "run directory `b`: `metrics.jsonl` is broken: line 1: ";
    assert!(broken("b/summary.json", "{").starts_with("run directory `b`: `summary.json` is broken: "));
    assert!(broken("b/config.toml", "seed =").starts_with("run directory `b`: `config.toml` is broken: "));
    assert!(broken("b/metrics.jsonl", "[1]").starts_with(start));
    assert_eq!(broken("b/metrics.jsonl", "{}"), format!("{start}it has no whole number `round`"));
    let back = broken("b/metrics.jsonl", "{\"round\": 1}\n{\"round\": 1}\n");
    assert_eq!(back, "run directory `b`: `metrics.jsonl` is broken: line 2: round 1 follows round 1");
}

#[test]
fn any_number_of_the_metrics_can_be_compared() {
    let runs = three();
    let of = |metric: &str, target| {
        let options = Options { metric: metric.into(), target, ..options() };
        runs.compare_with(&["a", "b"], &options)
    };
    let loss = of("loss", Some(0.3)).unwrap();
    assert_eq!((loss.metric.name(), loss.metric.better()), ("test_loss", Some(Better::Lower)));
    close_estimate(loss.series[0].r#final, 0.2, Some(SD));
    // 1 − 0.7 is a little above 0.3 in binary, and 1 − 0.9 below it.
    assert_eq!(loss.series[0].target.unwrap().reached, 1 + usize::from(1.0 - 0.7 <= 0.3));
    close_estimate(of("client_accuracy.mean", None).unwrap().series[0].r#final, 0.4, Some(SD / 2.0));
    let drift = of("plugin.x.drift", None).unwrap();
    assert_eq!((drift.series[0].best, drift.metric.better()), (None, None));

    let refused = |metric: &str, target| {
        let error = of(metric, target).unwrap_err();
        assert_eq!(exit_code(&error), 2);
        error.to_string()
    };
    assert!(
        refused("test_acuracy", None).contains("never measured it; did you mean `test_accuracy`? in all runs: client_")
    );
    assert_eq!(refused("accuracy", Some(90.0)), "`--target 90`: accuracy is a share from 0 to 1; 90 % is 0.9");
    assert!(refused("plugin.x.drift", Some(1.0)).contains("has no better end"));
    assert!(refused("loss", Some(f64::NAN)).contains("must be a finite number"));
}

#[test]
fn a_target_that_not_all_runs_reach_has_no_mean() {
    let runs = three();
    let target = |target| {
        let comparison = runs.compare_with(&["a", "b"], &Options { target: Some(target), ..options() }).unwrap();
        (comparison.series[0].target.unwrap(), comparison.table().1[0][5].clone())
    };
    assert_eq!(target(0.9), (Target { reached: 1, mean: None, min: Some(2), max: Some(2) }, "1 of 2 runs (2)".into()));
    assert_eq!(target(0.95).1, "never");
    assert_eq!(target(0.7).1, "1.5 (1 to 2)");
    assert_eq!(target(0.5).1, "1");
}

#[test]
fn rounds_without_evaluation_are_passed_over_and_a_lost_run_breaks_the_mean() {
    let runs = Runs::new();
    let line = |round: u64, accuracy: Option<f64>, loss: Option<f64>| json!({"round": round, "test_accuracy": accuracy, "test_loss": loss});
    let some = |value: f64| (Some(value), Some(value));
    let write = |name, seed, values: [(Option<f64>, Option<f64>); 4]| {
        let lines = values.into_iter().zip(0..).map(|((accuracy, loss), round)| line(round, accuracy, loss));
        runs.write_lines(name, seed, FEDAVG, lines.collect::<Vec<_>>().into_iter());
    };
    // Round 1 is not evaluated; in round 2 the second run's loss is not finite.
    write("a", 1, [some(0.5), (None, None), some(0.25), some(0.5)]);
    write("b", 2, [some(0.5), (None, None), (Some(0.25), None), some(0.5)]);
    let of = |metric: &str| {
        runs.compare_with(&["a", "b"], &Options { metric: metric.into(), target: None, ..options() }).unwrap()
    };
    let accuracy = of("accuracy");
    assert_eq!(accuracy.series[0].curve.iter().map(|point| point.round).collect::<Vec<_>>(), [0, 2, 3]);
    close_estimate(accuracy.series[0].last_mean, 0.375, Some(0.0));
    let loss = of("loss");
    let means: Vec<f64> = loss.series[0].curve.iter().map(|point| point.mean).collect();
    assert!(means[0] == 0.5 && means[1].is_nan() && means[2] == 0.5, "{means:?}");
    assert!(loss.series[0].last_mean.mean.unwrap().is_nan(), "a mean over a loss that is not finite is not finite");
    assert_eq!(loss.table().1[0][3], "not finite ± not finite");
    assert_eq!(loss.series[0].best.unwrap().round, 0);
    assert_eq!(serde_json::to_value(&loss).unwrap()["series"][0]["curve"][1]["mean"], Value::Null);
    // A single dot on each side of the gap, no line.
    let svg = comparison_svg(&loss.curves(0).unwrap()).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2);
}

#[test]
fn the_table_is_told_to_people_and_to_programs() {
    let comparison = three().compare(&["a", "b", "c"]);
    let (head, rows) = comparison.table();
    assert_eq!(head[..6], ["series", "runs", "final", "last 2 rounds", "best of the mean", "rounds to 70.00 %"]);
    let expected = [
        "fedavg",
        "2",
        "80.00 % ± 14.14",
        "70.00 % ± 14.14",
        "80.00 % (round 2)",
        "1.5 (1 to 2)",
        "2.40 kB",
        "4.80 kB",
        "1.50 s",
    ];
    assert_eq!(rows[0], expected);
    assert_eq!(rows[1][2], "60.00 %");
    let csv = comparison.csv().unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let head = reader.headers().unwrap().clone();
    let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cell = |line: usize, name: &str| lines[line][head.iter().position(|own| own == name).unwrap()].to_owned();
    assert_eq!([cell(0, "seeds"), cell(0, "runs"), cell(1, "final_sd")], ["1 2", "2", ""]);
    close(cell(0, "last_sd").parse().unwrap(), SD);
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!((&json["metric"], &json["series"][0]["runs"][1]["target_round"]), (&"test_accuracy".into(), &1.into()));
}

#[test]
fn the_end_is_called_by_the_rounds_that_there_are() {
    let runs = three();
    let asked = |last: usize| {
        let comparison = runs.compare_with(&["a", "b", "c"], &Options { last, ..options() }).unwrap();
        let csv = comparison.csv().unwrap();
        let column = csv.lines().next().unwrap().split(',').position(|name| name == "last_rounds").unwrap();
        let told = csv.lines().nth(1).unwrap().split(',').nth(column).unwrap().to_owned();
        (comparison.table().0[3].clone(), told, comparison.curves(0).unwrap().curves[0].label.clone())
    };
    let (head, told, label) = asked(10);
    assert_eq!((head.as_str(), told.as_str()), ("last 2 rounds", "2"));
    assert!(label.contains("last 2 rounds"), "{label}");
    assert_eq!(asked(1).0, "last round");
}

#[test]
fn when_a_round_was_is_no_metric() {
    let options = Options { metric: "round".into(), target: None, ..options() };
    let (message, code) = three().refuse_with(&["a", "b"], &options);
    assert!(message.starts_with("`--metric round`: it says when a round was, not what it came to"), "{message}");
    assert!(message.contains("in all runs: client_accuracy.mean, clients, download_bytes"), "{message}");
    assert_eq!(code, 2);
}

#[test]
fn the_plot_has_a_line_and_a_band_for_each_series_and_always_the_same_bytes() {
    let runs = three();
    runs.write("d", 2, &(FEDPROX.to_owned() + FEDAVG), &[0.1, 0.7, 0.5]);
    runs.write("e", 1, &format!("[train]\nlocal-epochs = 1\n{FEDAVG}"), &[0.1, 0.2, 0.3]);
    let draw = || comparison_svg(&runs.compare(&["a", "b", "c", "d", "e"]).curves(0).unwrap()).unwrap();
    let svg = draw();
    assert_eq!(svg, draw());
    assert_eq!(svg.matches("<polygon").count(), 2, "a single run has no band");
    // A line and its key each: the first colour without dashes, the others each with their own.
    for (colour, dashes) in
        [("0072B2", ""), ("D55E00", " stroke-dasharray=\"36 16\""), ("009E73", " stroke-dasharray=\"8 12\"")]
    {
        let stroke = format!("stroke=\"#{colour}\"{dashes} ");
        assert_eq!(svg.matches(&stroke).count(), 2, "{stroke}\n{svg}");
    }
    assert!(svg.contains("fedprox:mu=0.1 (2 runs; last 2 rounds 65.00 % ± 7.07)"), "{svg}");
    assert!(svg.starts_with("<svg ") && svg.contains("width=\"760\"") && svg.contains("fill=\"#FFFFFF\""));
    let comparison = runs.compare(&["a", "b", "<i>=c"]);
    let page =
        comparison_html(&comparison.curves(0).unwrap(), &comparison.table(), &comparison.notes, &comparison.runs())
            .unwrap();
    assert!(page.contains("<td>&lt;i&gt;</td>") && !page.contains("<i>") && page.contains("not on the same cohorts"));
    leave("comparison.svg", &svg);
    leave("comparison.html", &page);
}

/// For people to look at, as the samples of the report.
fn leave(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-samples");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_band_of_deviations_is_drawn_around_the_mean_and_more_lines_than_looks_are_refused() {
    let runs = three();
    let comparison = runs.compare_with(&["a", "b"], &Options { band: Band::Sd, ..options() }).unwrap();
    let point = comparison.curves(0).unwrap().curves[0].points[1];
    close(point.low, 0.6 - SD);
    close(point.high, 0.6 + SD);
    let names: Vec<String> = (0..9).map(|seed| format!("s{seed}=r{seed}")).collect();
    (0..9).for_each(|seed| runs.write(&format!("r{seed}"), seed, FEDAVG, &[0.1, 0.2]));
    let many = runs.compare(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let error = comparison_svg(&many.curves(0).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("9 series cannot be told apart in one plot"), "{error}");
    assert_eq!(exit_code(&error), 2);
}

#[test]
fn a_plot_may_begin_later_and_changes_no_number() {
    let comparison = three().compare(&["a", "b", "c"]);
    let (whole, end) = (comparison.curves(0).unwrap(), comparison.curves(1).unwrap());
    assert_eq!(end.curves[0].points.iter().map(|point| point.round).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(end.curves[0].label, whole.curves[0].label);
    let error = comparison.curves(3).err().expect("there is no round 3");
    assert_eq!(error.to_string(), "`--from 3`: the last round that all runs have is 2");
    assert_eq!(exit_code(&error), 2);
}

#[test]
fn an_argument_is_a_folder_or_a_name_and_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("lr=0.1");
    fs::create_dir(&own).unwrap();
    let argument = own.display().to_string();
    assert_eq!(Request::parse(&argument).unwrap(), Request { name: None, path: own.clone() });
    let named = Request::parse(&format!("fast={argument}")).unwrap();
    assert_eq!(named, Request { name: Some("fast".into()), path: own });
    let error = Request::parse("=runs/1").unwrap_err();
    assert_eq!(error.to_string(), "`=runs/1`: write NAME=RUN, such as fedprox=runs/0001");
}
