//! Whatever a user gets wrong is answered with one line that says where, what and what to do, and an exit code.

use super::support::{Lab, shared, small};

/// Runs the arguments, which must fail with `code` and one `error:` line that holds every one of `parts`.
#[track_caller]
fn check(lab: &Lab, arguments: &[&str], code: i32, parts: &[&str]) {
    let finished = lab.colla(arguments);
    let errors: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!((finished.code, errors.len()), (code, 1), "{arguments:?}\n{}", finished.stderr);
    for part in parts {
        assert!(errors[0].contains(part), "{arguments:?}: `{part}` is not in\n{}", errors[0]);
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn unknown_names_are_answered_with_the_nearest_one() {
    let lab = Lab::new();
    check(&lab, &["--plugin", "fedporx"], 3, &["`fedporx`", "did you mean `fedprox`", "available"]);
    check(&lab, &["--plugin", "fedprox:nu=1"], 3, &["`nu`", "mu"]);
    check(&lab, &["--set", "train.learning-rte=1"], 3, &["learning-rte", "did you mean `learning-rate`"]);
    check(&lab, &["--set", "trian.learning-rate=1"], 3, &["trian", "did you mean `train`"]);
    check(&lab, &["--set", "data.name=\"optdigit\""], 3, &["\"optdigit\"", "did you mean `optdigits`"]);
    check(&lab, &["--set", "partition.kind=\"dirichet\""], 3, &["dirichet", "dirichlet"]);
}

#[test]
fn values_out_of_range_are_named_with_the_range() {
    let lab = Lab::new();
    check(&lab, &["--plugin", "fedprox:mu=-1"], 3, &["`mu = -1`", "at least 0"]);
    check(&lab, &["--plugin", "trimmed-mean:beta=0.5"], 3, &["`beta = 0.5`"]);
    check(&lab, &["--plugin", "qsgd:bits=99"], 3, &["`bits = 99`"]);
    check(&lab, &["--plugin", "fedprox:mu=much"], 3, &["mu", "much"]);
    check(&lab, &["--plugin", "fedprox:error-feedback=true"], 3, &["error-feedback"]);
    check(&lab, &["--set", "train.learning-rate=0"], 3, &["learning-rate", "0"]);
    check(&lab, &["--set", "federation.fraction-train=1.5"], 3, &["fraction-train", "1.5"]);
    check(&lab, &["--set", "train.batch-size=0"], 3, &["batch-size"]);
    check(&lab, &["--set", "train.batch-size=\"all\""], 3, &["batch-size"]);
    check(&lab, &["--set", "train.local-epochs=9223372036854775807"], 3, &["train.local-epochs"]);
    check(&lab, &["--set", "model.hidden=[9223372036854775807]"], 3, &["model.hidden"]);
    check(
        &lab,
        &["--set", "model.name=\"logistic\"", "--set", "model.hidden=[64]"],
        3,
        &["`model.hidden = [64]`", "`model.name = \"logistic\"`", "leave `hidden` out"],
    );
    check(&lab, &["--set", "federation.update-bound=1e15"], 3, &["update-bound", "1048576"]);
    check(&lab, &["--set", "federation.server-learning-rate=1e39"], 7, &["server-learning-rate"]);
    for parameter in ["fedprox:mu=1e300", "ditto:lambda=1e39", "feddyn:alpha=1e39", "feddyn:alpha=1e-46"] {
        let (plugin, given) = parameter.split_once(':').expect("a plugin and its parameter");
        let (name, value) = given.split_once('=').expect("a name and a value");
        let words = [format!("plugin `{plugin}`"), format!("`{name} = {value}`"), "single precision".to_owned()];
        check(&lab, &["--plugin", parameter], 3, &words.each_ref().map(String::as_str));
    }
    check(&lab, &["--threads", "3000"], 3, &["host.threads", "1024"]);
    check(&lab, &["--device", "tpu"], 3, &["host.device", "tpu", "`cpu`"]);
    check(&lab, &["--set", "host.device-memory=1"], 3, &["host.device-memory", "from 64"]);
    if !cfg!(any(feature = "gpu", feature = "cuda")) {
        check(&lab, &["--device", "gpu"], 3, &["`host.device = \"gpu\"`", "cargo run --release --features gpu --"]);
        check(&lab, &["--device", "cuda:1"], 3, &["cuda:1", "cargo run --release --features cuda --"]);
    }
}

#[test]
fn impossible_partitions_say_what_would_be_possible() {
    let lab = Lab::new();
    check(&lab, &["--set", "partition.num-clients=5000"], 3, &["5000", "3823"]);
    check(
        &lab,
        &["--set", "partition.kind=\"pathological\"", "--set", "partition.classes-per-client=12"],
        3,
        &["classes-per-client", "12", "10"],
    );
    check(&lab, &["--set", "partition.min-partition-size=200"], 3, &["min-partition-size", "200"]);
    check(&lab, &["--set", "partition.kind=\"natural\""], 3, &["natural"]);
    check(&lab, &["--set", "partition.kind=\"iid\"", "--set", "partition.alpha=0.5"], 3, &["alpha", "iid"]);
    check(&lab, &["--set", "partition.alpha=-1"], 3, &["alpha", "-1"]);
}

#[test]
fn missing_and_broken_files_are_named() {
    let lab = Lab::new();
    check(&lab, &["nowhere.toml"], 3, &["nowhere.toml"]);
    lab.write("broken.toml", "seed = = 1");
    check(&lab, &["broken.toml"], 3, &["broken.toml"]);
    check(&lab, &["--data", "nowhere.csv"], 4, &["nowhere.csv"]);
    lab.write("ragged.csv", "a,label\n1,0\n1\n");
    check(&lab, &["--data", "ragged.csv"], 4, &["ragged.csv", "3"]);
    lab.write("text.csv", "a,label\n1,0\nx,1\n");
    check(&lab, &["--data", "text.csv"], 4, &["text.csv", "`a`", "x"]);
    let idx = lab.path().join("idx");
    std::fs::create_dir(&idx).expect("a folder");
    check(&lab, &["--data", "idx"], 4, &["train-images"]);
    check(&lab, &["--plugin", "nowhere/mine.wasm"], 3, &["nowhere/mine.wasm"]);
    lab.write("weights.safetensors", "not a safetensors file");
    check(&lab, &small(&["--set", "model.init=\"weights.safetensors\""]), 4, &["weights.safetensors"]);
}

#[test]
fn files_that_are_not_plugins_are_refused() {
    let lab = Lab::new();
    lab.write("text.wasm", "(module)");
    check(&lab, &["--plugin", "text.wasm"], 5, &["text.wasm"]);
    lab.write("empty.wasm", "");
    check(&lab, &["--plugin", "empty.wasm"], 5, &["empty.wasm"]);
    lab.write("bare.wasm", b"\0asm\x01\0\0\0");
    check(&lab, &["--plugin", "bare.wasm"], 5, &["bare.wasm", "colla.manifest"]);
    let shipped = include_bytes!("../plugins/shipped/fedavg.wasm");
    lab.write("cut.wasm", &shipped[..shipped.len() / 2]);
    check(&lab, &["--plugin", "cut.wasm"], 5, &["cut.wasm"]);
}

#[test]
fn a_file_that_is_not_the_one_expected_is_refused() {
    let lab = Lab::new();
    let hash = "0".repeat(64);
    lab.write("pinned.toml", format!("[[plugin]]\nname = \"fedprox\"\nblake3 = \"{hash}\"\n"));
    check(&lab, &["pinned.toml"], 5, &["fedprox", &hash]);
}

#[test]
fn a_client_that_diverges_stops_the_run_and_is_named() {
    let lab = Lab::new();
    let arguments = small(&["--set", "train.learning-rate=1e6", "--out", "diverged"]);
    check(&lab, &arguments, 7, &["round 1, client ", "diverged", "learning-rate"]);
    let summary = std::fs::read_to_string(lab.path().join("diverged/summary.json")).expect("summary.json");
    assert!(summary.contains("\"complete\": false") || summary.contains("\"complete\":false"), "{summary}");
    assert!(lab.path().join("diverged/error.json").exists());
    assert!(!lab.path().join("diverged/model.safetensors").exists());
    let narrow = small(&["--set", "federation.update-bound=1e-3"]);
    let words = "beyond `federation.update-bound = 0.001`; lower `train.learning-rate`, or raise the bound";
    check(&lab, &narrow, 7, &["round 1, client ", words]);
}

#[test]
fn an_output_directory_that_cannot_be_used_is_refused_before_any_work() {
    let lab = Lab::new();
    lab.write("file", "mine");
    check(&lab, &small(&["--out", "file"]), 8, &["file"]);
    check(&lab, &small(&["--out", "file/below"]), 8, &["file/below"]);
    std::fs::create_dir(lab.path().join("full")).expect("a folder");
    lab.write("full/thesis.tex", "precious");
    check(&lab, &small(&["--out", "full"]), 8, &["full"]);
    assert_eq!(std::fs::read_to_string(lab.path().join("full/thesis.tex")).expect("still there"), "precious");
}

#[test]
fn usage_errors_exit_with_2_and_suggest() {
    let lab = Lab::new();
    let typo = lab.colla(&["--plugn", "fedprox"]);
    assert_eq!(typo.code, 2);
    assert!(typo.stderr.contains("--plugin"), "{}", typo.stderr);
    assert_eq!(lab.colla(&["--threads", "many"]).code, 2);
    check(&lab, &["plugn"], 2, &["`plugn`", "did you mean the subcommand `plugin`"]);
}

#[test]
fn usage_errors_are_json_too_where_json_is_asked_for() {
    let lab = Lab::new();
    let told = |arguments: &[&str]| {
        let finished = lab.colla(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (2, ""), "{}", finished.stderr);
        let failure: serde_json::Value = serde_json::from_str(&finished.stderr).expect("one JSON object");
        assert_eq!((&failure["kind"], &failure["exit_code"]), (&"usage".into(), &2.into()));
        failure["error"].as_str().expect("a text").to_owned()
    };
    assert_eq!(
        told(&["--plugn", "fedprox", "--format", "json"]),
        "unexpected argument '--plugn' found; tip: a similar argument exists: '--plugin'"
    );
    let many = told(&["partition", "--format=json", "--threads", "many"]);
    assert!(many.starts_with("invalid value 'many' for '--threads <N>'"), "{many}");
    assert!(told(&["plugin", "inspect", "--format", "json"]).contains("<FILE>"));
    assert!(told(&["plugin", "inspect", "krum:f=3", "--format", "json"]).contains("`f` sets nothing"));
    // Not asked for: the word stands behind `--`, where it is no flag.
    let text = lab.colla(&["plugin", "inspect", "a", "--", "--format=json"]);
    assert!(text.code == 2 && text.stderr.starts_with("error: "), "{}", text.stderr);
}

#[cfg(unix)]
#[test]
fn pipes_and_directories_are_refused_and_never_waited_for() {
    let lab = Lab::new();
    let pipe = lab.path().join("pipe.csv");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    std::os::unix::fs::symlink(&pipe, lab.path().join("pipe.wasm")).expect("a link");
    std::fs::create_dir(lab.path().join("folder.wasm")).expect("a folder");
    check(&lab, &["--data", "pipe.csv"], 4, &["pipe.csv", "a pipe, a socket or a device", "give a file"]);
    check(&lab, &["--data", "folder.wasm"], 4, &["folder.wasm", "train-images"]);
    check(&lab, &["--plugin", "pipe.wasm"], 5, &["pipe.wasm", "a pipe, a socket or a device", "name a plugin file"]);
    check(&lab, &["--plugin", "folder.wasm"], 5, &["folder.wasm", "it is a directory"]);
    check(&lab, &["plugin", "inspect", "pipe.wasm"], 5, &["pipe.wasm", "a pipe, a socket or a device"]);
}

#[test]
fn a_truncated_mnist_file_is_named() {
    let Some(mnist) = shared("data/mnist") else { return };
    let lab = Lab::new();
    let folder = lab.path().join("mnist");
    std::fs::create_dir(&folder).expect("a folder");
    for entry in std::fs::read_dir(mnist).expect("the folder").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a file");
        let keep = if entry.file_name() == "train-labels-idx1-ubyte.gz" { bytes.len() / 2 } else { bytes.len() };
        std::fs::write(folder.join(entry.file_name()), &bytes[..keep]).expect("a copy");
    }
    check(&lab, &["--data", "mnist"], 4, &["train-labels-idx1-ubyte.gz"]);
}
