//! What a run leaves behind.

use super::support::{Lab, SMALL, small};
use super::wat::{manifest, talking_plugin};

#[test]
fn a_run_leaves_configuration_metrics_model_summary_and_report() {
    let lab = Lab::new();
    let run = lab.run("first", &small(&["--plugin", "fedprox.wasm"]));
    for file in ["config.toml", "metrics.jsonl", "metrics.csv", "model.safetensors", "summary.json", "report.html"] {
        assert!(run.0.join(file).exists(), "{file}");
    }
    let metrics = run.metrics();
    let rounds: Vec<u64> = metrics.iter().filter_map(|m| m["round"].as_u64()).collect();
    assert_eq!(rounds, [0, 1, 2, 3]);
    let csv = std::fs::read_to_string(run.0.join("metrics.csv")).expect("metrics.csv");
    assert_eq!(csv.lines().count(), 5);
    let summary = run.summary();
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["rounds"], 3);
    assert_eq!(summary["plugins"][0]["name"], "fedprox");
    assert_eq!(summary["plugins"][1]["name"], "fedavg");
    assert_eq!(run.weights().len(), 1210);
    let left: Vec<_> = std::fs::read_dir(&run.0).expect("the run").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 6, "and nothing else: {left:?}");
}

#[test]
fn the_report_needs_no_network_and_no_script() {
    let lab = Lab::new();
    let run = lab.run("first", &small(&[]));
    let report = std::fs::read_to_string(run.0.join("report.html")).expect("report.html");
    for forbidden in ["<script", "http-equiv", "src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!report.contains(forbidden), "{forbidden}");
    }
    assert!(report.matches("<svg").count() >= 4, "four plots");
}

#[test]
fn the_summary_agrees_with_the_metrics() {
    let lab = Lab::new();
    let run = lab.run("first", &small(&["--set", "federation.num-server-rounds=12"]));
    let (metrics, summary) = (run.metrics(), run.summary());
    let accuracy: Vec<f64> = metrics.iter().map(|m| m["test_accuracy"].as_f64().expect("accuracy")).collect();
    let last = &accuracy[accuracy.len() - 10..];
    let mean = last.iter().sum::<f64>() / 10.0;
    assert!((summary["last10"]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
    let best = accuracy.iter().copied().fold(0.0, f64::max);
    assert_eq!(summary["best"]["test_accuracy"].as_f64(), Some(best));
    assert_eq!(summary["final"]["test_accuracy"].as_f64(), accuracy.last().copied());
    let total: u64 = metrics.iter().filter_map(|m| m["upload_bytes"].as_u64()).sum();
    assert_eq!(summary["upload_bytes"].as_u64(), Some(total));
}

#[test]
fn with_format_json_standard_output_holds_the_metrics_and_nothing_else() {
    let lab = Lab::new();
    let finished = lab.colla(&small(&["--format", "json", "--out", "first"]));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let lines: Vec<serde_json::Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 4);
}

#[test]
fn print_config_prints_a_configuration_that_loads_again() {
    let lab = Lab::new();
    let first = lab.colla(&small(&["--print-config", "--plugin", "fedprox:mu=0.5"]));
    assert_eq!(first.code, 0, "{}", first.stderr);
    lab.write("printed.toml", &first.stdout);
    let again = lab.colla(&["printed.toml", "--print-config"]);
    assert_eq!(first.stdout, again.stdout);
    assert!(std::fs::read_dir(lab.path()).expect("the folder").flatten().all(|e| e.file_name() != "runs"));
}

#[test]
fn runs_without_a_name_get_the_next_free_one() {
    let lab = Lab::new();
    for expected in ["runs/0001", "runs/0002"] {
        assert_eq!(lab.colla(&small(&[])).code, 0);
        assert!(lab.path().join(expected).join("summary.json").exists(), "{expected}");
    }
}

#[test]
fn what_plugins_say_in_a_quiet_run_stands_in_the_run_directory() {
    let lab = Lab::new();
    lab.write("talking.wasm", talking_plugin(&manifest("client", ""), "hello"));
    let quiet = lab.colla(&small(&["--plugin", "talking.wasm", "--out", "quiet"]));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let log = std::fs::read_to_string(lab.path().join("quiet/plugins.log")).expect("plugins.log");
    assert_eq!(log, "plugin `hostile` info: hello\n".repeat(3));
    let mut loud: Vec<&str> = SMALL.iter().copied().filter(|argument| *argument != "--quiet").collect();
    loud.extend(["--plugin", "talking.wasm", "--out", "loud"]);
    let loud = lab.colla(&loud);
    assert_eq!(loud.stderr.matches("plugin `hostile` info: hello").count(), 3, "{}", loud.stderr);
    assert!(!lab.path().join("loud/plugins.log").exists());
}
