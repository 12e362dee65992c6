//! `cargo dev bench` and `cargo dev batches`: what they print is what was run. No test here looks at a time.

use crate::support::{Finished, Lab, shared};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const TASKS: [&str; 7] = ["t1", "t1e5", "t2", "t2e5", "t3", "t4", "t5"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn dev(arguments: &[&str], folder: &Path) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_colla-dev"))
        .args(arguments)
        .current_dir(root())
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .expect("colla-dev starts");
    Finished::from(output)
}

fn run(peer: &str, s_per_round: f64, final_acc: f64) -> Value {
    json!({
        "peer": peer, "task": "t3", "rounds": 20, "s_per_round": s_per_round, "total_s": 10.0 * s_per_round,
        "final_acc": final_acc, "peak_rss_mb": 100.0, "rc": 0, "clean": true,
        "machine": {"cpu": "abacus", "cores": 2, "fma_gflops": 100.0, "system": "none", "commit": "c0ffee"},
    })
}

fn table(lab: &Lab, runs: &[Value]) -> String {
    let lines: String = runs.iter().map(|run| format!("{run}\n")).collect();
    let path = lab.write("runs.jsonl", lines);
    let finished = dev(&["bench", "--table", path.to_str().expect("a path")], lab.path());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.stdout
}

/// Cells of the first line whose first cells are `first`.
fn cells(table: &str, first: &[&str]) -> Vec<String> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let found = table.lines().map(cells).find(|cells| cells.len() > first.len() && cells[..first.len()] == *first);
    found.unwrap_or_else(|| panic!("no line {first:?} in\n{table}"))
}

#[test]
fn the_tasks_are_those_of_the_comparison() {
    // Clients, samples of each (60,000 images dealt out once unless told), share a round, epochs, rate, rounds.
    let expected = [
        ("t1", "cnn", 100, 0.1, 1, 0.1, 5),
        ("t1e5", "cnn", 100, 0.1, 5, 0.1, 5),
        ("t2", "mlp", 100, 0.1, 1, 0.1, 20),
        ("t2e5", "mlp", 100, 0.1, 5, 0.1, 20),
        ("t3", "logistic", 1000, 0.1, 1, 0.1, 20),
        ("t4", "logistic", 100_000, 0.01, 1, 0.1, 5),
        ("t5", "logistic", 1000, 0.01, 1, 0.03, 100),
    ];
    let lab = Lab::new();
    for (task, model, clients, share, epochs, rate, rounds) in expected {
        let path = root().join(format!("examples/tasks/{task}.toml"));
        let finished = lab.colla(&[path.to_str().expect("a path"), "--data", "./mnist", "--print-config"]);
        assert_eq!(finished.code, 0, "{task}: {}", finished.stderr);
        let config: toml::Table = finished.stdout.parse().expect("TOML");
        let number = |section: &str, key: &str| {
            let value = &config[section][key];
            value.as_float().or(value.as_integer().map(|value| value as f64)).expect("a number")
        };
        assert_eq!(config["model"]["name"].as_str(), Some(model), "{task}");
        assert_eq!(config["partition"]["kind"].as_str(), Some("iid"), "{task}");
        assert_eq!(config["data"]["features"].as_str(), Some("standardize"), "{task}");
        assert!(!config.contains_key("plugin"), "{task}: plain FedAvg");
        let told = [
            number("partition", "num-clients"),
            number("federation", "fraction-train"),
            number("train", "local-epochs"),
            number("train", "learning-rate"),
            number("federation", "num-server-rounds"),
            number("train", "batch-size"),
            number("train", "momentum"),
            number("evaluate", "every"),
        ];
        let expected = [f64::from(clients), share, f64::from(epochs), rate, f64::from(rounds), 10.0, 0.0, 1.0];
        assert_eq!(told, expected, "{task}");
        let samples = config["partition"].get("samples-per-client").and_then(toml::Value::as_integer);
        assert_eq!(samples, (task == "t4").then_some(10), "{task}");
        assert!(TASKS.contains(&task));
    }
}

#[test]
fn a_table_shows_medians_of_undisturbed_runs_and_the_ratio_of_their_medians() {
    let mut disturbed = run("colla", 9.0, 0.9);
    disturbed["clean"] = json!(false);
    let runs = [
        run("colla", 0.02, 0.9),
        run("colla", 0.01, 0.9),
        run("colla", 0.03, 0.9),
        disturbed,
        run("slow", 0.4, 0.9),
        run("quick", 0.06, 0.9),
        run("quick", 0.10, 0.9),
    ];
    let table = table(&Lab::new(), &runs);
    assert!(table.starts_with("abacus, 2 cores, none; FMA peak of one core 100 GFLOP/s"), "{table}");
    let own = cells(&table, &["t3", "colla"]);
    assert_eq!(own[2..5], ["3", "0.0200", "0.0100–0.0300"], "{table}");
    // (0.06 + 0.10)/2 over 0.02, and whole processes ten times as long each.
    let quick = cells(&table, &["t3", "quick, the fastest of those measured"]);
    assert_eq!(quick[2..5], ["4.00 ×", "4.00 ×", "1.00 ×"], "{table}");
    assert_eq!(cells(&table, &["t3", "slow"])[2], "1", "{table}");
}

#[test]
fn a_program_without_an_undisturbed_run_is_marked_and_one_that_failed_is_named() {
    let mut disturbed = run("colla", 9.0, 0.9);
    disturbed["clean"] = json!(false);
    let mut failed = run("broken", 1.0, 0.9);
    failed["rc"] = json!(3);
    let table = table(&Lab::new(), &[disturbed, failed]);
    assert_eq!(cells(&table, &["t3", "colla"])[2], "1 disturbed", "{table}");
    assert!(table.contains("t3 broken: ended with code 3"), "{table}");
}

#[test]
fn times_of_two_machines_never_share_a_table() {
    let mut other = run("colla", 0.5, 0.9);
    other["machine"]["cpu"] = json!("slide rule");
    let table = table(&Lab::new(), &[run("colla", 0.1, 0.9), other]);
    let (first, second) = table.split_once("slide rule").expect("a second machine");
    assert_eq!(cells(first, &["t3", "colla"])[3], "0.100");
    assert_eq!(cells(second, &["t3", "colla"])[3], "0.500");
}

#[test]
fn efficiency_counts_direct_multiplications_and_additions() {
    let mut timed = run("colla", 0.1, 0.9);
    // 6,000 samples in 0.06 s on two threads, 4 · 7,840 operations each; 10,000 evaluated in 0.005 s, 2 · 7,840 each.
    (timed["train_s"], timed["evaluate_s"], timed["threads"]) = (json!(0.06), json!(0.005), json!(2));
    let table = table(&Lab::new(), &[timed]);
    let line = table.lines().rev().find(|line| line.starts_with("| t3")).expect("the last table");
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    // 50,000 · 31,360 = 1.568 GFLOP/s and 1,000,000 · 15,680 = 15.68 GFLOP/s of 100.
    assert_eq!(cells, ["t3", "50000", "1.57", "2 %", "1000000", "15.7", "16 %"], "{table}");
}

#[test]
fn accuracies_are_compared_by_welchs_interval() {
    let seeds = |peer: &str, accuracies: &[f64]| -> Vec<Value> {
        let seeded = |(seed, &accuracy): (usize, &f64)| {
            let mut run = run(peer, 0.1, accuracy);
            run["seed"] = json!(seed);
            run
        };
        accuracies.iter().enumerate().map(seeded).collect()
    };
    // Means 0.91, 0.92 and 0.95, every sd 0.01, three seeds: the error of a difference is 0.01·sqrt(2/3), with 4 degrees
    // of freedom; times 2.776 that is 0.0227.
    let runs =
        [seeds("colla", &[0.90, 0.91, 0.92]), seeds("near", &[0.91, 0.92, 0.93]), seeds("far", &[0.94, 0.95, 0.96])];
    let table = table(&Lab::new(), &runs.concat());
    assert_eq!(cells(&table, &["t3", "colla"])[2..4], ["3", "0.9100 ± 0.0100"], "{table}");
    assert_eq!(cells(&table, &["t3", "near"])[4..6], ["-0.0100 ± 0.0227", "within the spread"], "{table}");
    assert_eq!(cells(&table, &["t3", "far"])[4..6], ["-0.0400 ± 0.0227", "beyond the spread"], "{table}");
}

#[test]
fn bench_runs_the_program_and_writes_each_run_down() {
    let Some(mnist) = shared("data/mnist") else { return };
    let lab = Lab::new();
    let out = lab.path().join("runs.jsonl");
    let (mnist, out) = (mnist.to_str().expect("a path"), out.to_str().expect("a path"));
    let flags = ["--tasks", "t5", "--repeat", "1", "--tries", "1", "--wait", "0", "--threads", "1", "--mnist", mnist];
    let binary = ["--binary", env!("CARGO_BIN_EXE_colla-host"), "--out", out];
    let finished = dev(&[&["bench"][..], &flags, &binary].concat(), lab.path());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let text = std::fs::read_to_string(out).expect("the runs");
    let runs: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a run")).collect();
    let [cold, timed] = &runs[..] else { panic!("two runs: {text}") };
    assert_eq!((&cold["cold"], &cold["rounds"]), (&json!(true), &json!(1)));
    assert_eq!((&timed["rounds"], &timed["threads"], &timed["rc"]), (&json!(100), &json!(1), &json!(0)));
    assert_eq!(timed["acc"].as_array().map(Vec::len), Some(100));
    assert!(timed["final_acc"].as_f64().is_some_and(|accuracy| accuracy > 0.9), "{timed}");
    // The parts of a run lie within it, whatever the machine does.
    let second = |key: &str| timed[key].as_f64().unwrap_or_else(|| panic!("{key}: {timed}"));
    assert!(second("s_per_round_min") <= second("s_per_round") && second("s_per_round") <= second("s_per_round_max"));
    assert!(second("startup_s") + second("first_round_s") + 99.0 * second("s_per_round_min") <= second("total_s"));
    assert!(second("peak_rss_mb") > 10.0 && second("s_per_round_min") > 0.0);
    cells(&finished.stdout, &["t5", "colla"]);
    let again = dev(&[&["bench"][..], &flags, &binary].concat(), lab.path());
    assert!(again.code != 0 && again.stderr.contains("--out names a new file"), "{}", again.stderr);
}

#[test]
fn batches_are_those_of_the_round_and_every_row_comes_once_an_epoch() {
    let lab = Lab::new();
    let config =
        lab.write("config.toml", "[partition]\nkind = \"iid\"\nnum-clients = 10\n[federation]\nfraction-train = 0.3\n");
    let config = config.to_str().expect("a path");
    let flags = ["--set", "train.local-epochs=2", "--set", "train.batch-size=100"];
    let listed = |round: &str| {
        let finished = dev(&[&["batches", config, "--round", round][..], &flags].concat(), lab.path());
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let round = listed("1");
    assert_eq!(round.len(), 3);
    for client in &round {
        // 3,823 rows over ten clients: 382 or 383 each, so four batches an epoch.
        let batches: Vec<Vec<u64>> = serde_json::from_value(client["batches"].clone()).expect("rows");
        assert_eq!(batches.len(), 8);
        let epoch = |batches: &[Vec<u64>]| {
            let mut rows = batches.concat();
            rows.sort_unstable();
            rows
        };
        assert_eq!(epoch(&batches[..4]), epoch(&batches[4..]));
        assert!(batches[..4].concat() != batches[4..].concat() && epoch(&batches[..4]).windows(2).all(|w| w[0] < w[1]));
    }
    assert_ne!(round, listed("2"));
    let refused = dev(&["batches", config, "--set", "train.persist-iterator=true"], lab.path());
    assert!(refused.code != 0 && refused.stderr.contains("train.persist-iterator=false"), "{}", refused.stderr);
}

/// Commands of the page's shell blocks, without what only people read.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    let lines: String = blocks.collect::<String>().replace("\\\n", " ");
    let bare = lines.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
    bare.filter(|line| !line.is_empty()).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_commands_of_the_performance_page_have_the_flags_that_they_use() {
    let page = std::fs::read_to_string(root().join("docs/performance.md")).expect("the page");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let lab = Lab::new();
    let mut checked = 0;
    for command in commands(&page) {
        // Variables may stand before the program.
        let words: Vec<&str> = command.iter().map(String::as_str).skip_while(|word| word.contains('=')).collect();
        let help = match words[..] {
            ["cargo", "dev", task, ..] => dev(&[task, "--help"], lab.path()).stdout,
            ["colla-host", ..] => lab.colla(&["run", "--help"]).stdout,
            ["cargo", "bench", "--bench", name, ..] => {
                assert!(manifest.contains(&format!("path = \"host/benches/{name}.rs\"")), "no bench {name}");
                checked += 1;
                continue;
            }
            _ => continue,
        };
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.split_whitespace().any(|word| word == *flag), "`{}`: no {flag} in\n{help}", words.join(" "));
        }
        for file in words.iter().filter(|word| word.starts_with("examples/")) {
            assert!(root().join(file).is_file(), "`{}`: no {file}", words.join(" "));
        }
        checked += 1;
    }
    assert!(checked >= 6, "the page has commands: {checked}");
}
