//! `colla-host compare` on runs that the binary made.

use super::support::{Lab, small};

/// Four runs: FedAvg and FedProx, two seeds each.
fn lab() -> Lab {
    let lab = Lab::new();
    for seed in ["1", "2"] {
        lab.run(&format!("fedavg-{seed}"), &small(&["--seed", seed]));
        lab.run(&format!("fedprox-{seed}"), &small(&["--seed", seed, "--plugin", "fedprox:mu=0.1"]));
    }
    lab
}

const RUNS: [&str; 5] = ["compare", "fedavg-1", "fedavg-2", "fedprox-1", "fedprox-2"];

#[test]
fn runs_of_two_methods_are_two_series_on_the_same_cohorts() {
    let lab = lab();
    let table = lab.colla(&[&RUNS[..], &["--target", "0.3", "--out", "plot.svg"]].concat());
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    for part in ["│ fedavg ", "│ fedprox:mu=0.1 ", "rounds to 30.00 %", "test accuracy, rounds 0 to 3"] {
        assert!(table.stdout.contains(part), "`{part}` is not in\n{}", table.stdout);
    }
    let same = "the same data, partition, initial weights, cohorts and batches; seeds 1, 2\n";
    assert!(table.stdout.ends_with(same), "{}", table.stdout);
    let svg = std::fs::read_to_string(lab.path().join("plot.svg")).expect("the plot");
    assert_eq!(svg.matches("<polygon").count(), 2, "a band for each series");

    // The numbers are those of the runs' own summaries.
    let json = lab.colla(&[&RUNS[..], &["--format", "json", "--last", "10"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    for (series, name) in ["fedavg", "fedprox"].into_iter().enumerate() {
        let mut mean = 0.0;
        for (run, seed) in [1, 2].into_iter().enumerate() {
            let text =
                std::fs::read_to_string(lab.path().join(format!("{name}-{seed}/summary.json"))).expect("a summary");
            let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let told = &json["series"][series]["runs"][run];
            assert_eq!(told["final"], summary["final"]["test_accuracy"]);
            // The same sum, taken from the other end.
            let [last, expected] =
                [&told["last_mean"], &summary["last10"]["mean"]].map(|mean| mean.as_f64().expect("a mean"));
            assert!((last - expected).abs() < 1e-12, "{last} is not {expected}");
            assert_eq!(told["best"]["round"], summary["best"]["round"]);
            assert_eq!(told["upload_bytes"].as_f64(), summary["upload_bytes"].as_f64());
            mean += told["final"].as_f64().expect("a number") / 2.0;
        }
        assert!((json["series"][series]["final"]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
    }
}

#[test]
fn the_same_runs_give_the_same_bytes_in_every_form() {
    let lab = lab();
    for more in [["--format", "table"], ["--format", "csv"], ["--format", "json"], ["--band", "sd"]] {
        let told = |out: &str| {
            let told = lab.colla(&[&RUNS[..], &more, &["--out", out]].concat());
            assert_eq!(told.code, 0, "{}", told.stderr);
            (told.stdout, std::fs::read(lab.path().join(out)).expect("the plot"))
        };
        assert_eq!(told("one.html"), told("other.html"));
        assert_eq!(told("one.svg"), told("other.svg"));
    }
}

#[test]
fn mistakes_end_with_the_documented_exit_codes() {
    let lab = Lab::new();
    lab.run("one", &small(&[]));
    let told = |arguments: &[&str]| {
        let told = lab.colla(&[&["compare"], arguments].concat());
        assert_eq!(told.stdout, "", "{arguments:?}");
        (told.code, told.stderr)
    };
    assert_eq!(told(&[]).0, 2);
    assert_eq!(told(&["one", "--metric", "acuracy"]).0, 2);
    assert_eq!(told(&["one", "--metric", "round"]).0, 2);
    assert_eq!(told(&["one", "--out", "plot.png"]).0, 2);
    assert_eq!(told(&["one", "--last", "0"]).0, 2);
    assert_eq!(told(&["one", "."]).0, 4);
    let (code, line) = told(&["one", "--out", "nowhere/plot.svg"]);
    assert_eq!(code, 8);
    assert_eq!(line, "error: writing `nowhere/plot.svg`: there is no folder `nowhere`; make it, or name another\n");
    let (code, line) = told(&["two", "--format", "json"]);
    assert_eq!(code, 4);
    let error: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!(error["error"], "run directory `two`: there is no such folder");
}

#[cfg(unix)]
#[test]
fn the_committed_picture_of_three_methods_is_what_its_script_draws() {
    let (lab, root) = (Lab::new(), env!("CARGO_MANIFEST_DIR"));
    let script = std::process::Command::new(format!("{root}/examples/three-methods.sh"))
        .args([env!("CARGO_BIN_EXE_colla-host"), "."])
        .current_dir(lab.path())
        .env("XDG_CACHE_HOME", lab.path().join("cache"))
        .output()
        .expect("bash starts");
    let (table, told) = (String::from_utf8_lossy(&script.stdout), String::from_utf8_lossy(&script.stderr));
    assert!(script.status.success(), "{told}");
    let same = "the same data, partition, initial weights, cohorts and batches; seeds 1, 2, 3\n";
    assert!(table.ends_with(same), "{table}");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a picture");
    let committed = read(&std::path::Path::new(root).join("docs/three-methods.svg"));
    let drawn = read(&lab.path().join("three-methods.svg"));
    assert!(
        drawn == committed,
        "docs/three-methods.svg is out of date; run `examples/three-methods.sh target/release/colla-host FOLDER`, commit \
         FOLDER/three-methods.svg as docs/three-methods.svg, and put its numbers into the captions\n{table}"
    );
}
