//! What a method requires of the rest of a run holds, or the run does not begin.

use super::support::{Lab, small};
use super::wat::{OK, manifest, plugin};

/// A plugin that does nothing, with this name, role and more fields of the manifest.
fn idle(lab: &Lab, name: &str, role: &str, more: &str) {
    let manifest = manifest(role, more).replace("hostile", name);
    lab.write(&format!("{name}.wasm"), plugin(&manifest, OK, OK));
}

/// A client plugin `method.wasm` with these requirements.
fn method(lab: &Lab, requires: &str) {
    idle(lab, "method", "client", &format!(r#","requires":[{requires}]"#));
}

/// With the requirement, the arguments are refused with these words.
#[track_caller]
fn refused(lab: &Lab, requirement: &str, more: &[&str], words: &str) {
    method(lab, &format!("\"{requirement}\""));
    let finished = lab.colla(&small(&[&["--plugin", "method.wasm"], more].concat()));
    assert_eq!(finished.code, 3, "{requirement}, {more:?}: {}", finished.stderr);
    let start = format!("plugin `method` — it requires `{requirement}`, but ");
    for part in [start.as_str(), words] {
        assert!(finished.stderr.contains(part), "`{part}` is not in\n{}", finished.stderr);
    }
}

/// With the requirement, the arguments run.
#[track_caller]
fn runs(lab: &Lab, requirement: &str, more: &[&str]) {
    method(lab, &format!("\"{requirement}\""));
    let finished = lab.colla(&small(&[&["--plugin", "method.wasm"], more].concat()));
    assert_eq!(finished.code, 0, "{requirement}, {more:?}: {}", finished.stderr);
}

#[test]
fn what_the_user_left_open_is_set_and_stored_and_gives_the_same_run_again() {
    let lab = Lab::new();
    method(&lab, r#""uniform-weights","fixed-denominator""#);
    // 6 of 20 clients; with Poisson cohorts 0.3 · 20 on average too.
    for (name, sampling) in [("fixed", "\"fixed\""), ("poisson", "\"poisson\"")] {
        let sampling = format!("federation.sampling={sampling}");
        let run = lab.run(name, &small(&["--plugin", "method.wasm", "--set", &sampling]));
        let stored = std::fs::read_to_string(run.0.join("config.toml")).expect("the configuration");
        assert!(stored.contains("weights = \"uniform\"") && stored.contains("denominator = 6.0"), "{stored}");
        let weights = run.summary()["weights_blake3"].as_str().expect("a hash").to_owned();
        let path = run.0.join("config.toml");
        let again = lab.run(&format!("{name}-again"), &["--quiet", path.to_str().expect("a path")]);
        assert_eq!(weights, again.summary()["weights_blake3"]);
        assert_eq!(stored, std::fs::read_to_string(again.0.join("config.toml")).expect("the configuration"));
        let given = &["--plugin", "fedavg:weights=uniform,denominator=6", "--set", &sampling];
        assert_eq!(weights, lab.weights(&format!("{name}-given"), &small(given)));
    }
}

#[test]
fn uniform_weights_hold_for_rules_that_treat_rows_alike_and_for_no_other_choice() {
    let lab = Lab::new();
    runs(&lab, "uniform-weights", &["--plugin", "median"]);
    runs(&lab, "uniform-weights", &["--plugin", "fedavg:weights=uniform"]);
    let given = &["--plugin", "fedavg:weights=num-examples"];
    refused(&lab, "uniform-weights", given, "`fedavg` has `weights = \"num-examples\"`; leave it out");
    idle(&lab, "own-sum", "aggregate", "");
    refused(&lab, "uniform-weights", &["--plugin", "own-sum.wasm"], "`own-sum` has no parameter `weights` to set");
}

#[test]
fn a_denominator_is_fixed_for_sums_only_and_counts_clients_only_where_weights_are_uniform() {
    let lab = Lab::new();
    runs(&lab, "fixed-denominator", &["--plugin", "fedavg:weights=uniform"]);
    runs(&lab, "fixed-denominator", &["--plugin", "fedavg:denominator=500"]);
    refused(&lab, "fixed-denominator", &["--plugin", "median"], "`median` is no sum");
    let zero = &["--plugin", "fedavg:denominator=0"];
    refused(&lab, "fixed-denominator", zero, "`fedavg` has `denominator = 0`, which stands for the weights of those");
    refused(&lab, "fixed-denominator", &[], "the expected cohort is a number of clients; set `weights` to \"uniform\"");
}

#[test]
fn sampling_momentum_and_model_are_what_a_method_requires() {
    let lab = Lab::new();
    let poisson = &["--set", "federation.sampling=\"poisson\""];
    runs(&lab, "poisson-cohort", poisson);
    refused(&lab, "poisson-cohort", &[], "`federation.sampling = \"fixed\"`; set it to \"poisson\"");
    runs(&lab, "fixed-cohort", &[]);
    refused(&lab, "fixed-cohort", poisson, "`federation.sampling = \"poisson\"`; set it to \"fixed\"");
    runs(&lab, "plain-sgd", &[]);
    refused(&lab, "plain-sgd", &["--set", "train.momentum=0.9"], "`train.momentum = 0.9`; set it to 0");
    refused(&lab, "normalisation-layers", &[], "the model has none");
    runs(&lab, "root-data", &["--set", "federation.root-rows=20"]);
    runs(&lab, "no-mix", &["--plugin", "median"]);
    refused(&lab, "no-mix", &["--plugin", "nnm:f=1"], "`nnm` mixes the updates before it");
    refused(&lab, "root-data", &[], "the server has no rows of its own; set `federation.root-rows`");
    let unread = lab.colla(&small(&["--set", "federation.root-rows=20"]));
    assert_eq!(unread.code, 3, "{}", unread.stderr);
    assert!(unread.stderr.contains("config `federation.root-rows = 20`: no plugin of this run"), "{}", unread.stderr);
}

#[test]
fn a_norm_is_bounded_if_a_stage_bounds_it_and_nothing_behind_it_can_raise_it_again() {
    let lab = Lab::new();
    // A bound that no update of this run reaches.
    let far =
        r#","params":[{"name":"far","type":"float","default":1e30,"doc":"d"}],"norm":"bounds","norm_bound":"far""#;
    idle(&lab, "bounder", "normalize", far);
    idle(&lab, "keeper", "normalize", r#","norm":"keeps""#);
    idle(&lab, "raiser", "normalize", "");
    idle(&lab, "undone", "normalize", r#","max_header":8,"norm":"keeps""#);
    let stack = |names: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| ["--plugin".to_owned(), format!("{name}.wasm")]).collect()
    };
    let holds = |names: &[&str], more: &[&str]| {
        let stack = stack(names);
        let arguments: Vec<&str> = stack.iter().map(String::as_str).chain(more.iter().copied()).collect();
        runs(&lab, "norm-bound", &arguments);
    };
    holds(&["raiser", "bounder", "keeper"], &[]);
    // Downwards a compressor touches no update.
    holds(&["bounder"], &["--plugin", "qsgd:direction=down"]);
    let breaks = |names: &[&str], more: &[&str], words: &str| {
        let stack = stack(names);
        let arguments: Vec<&str> = stack.iter().map(String::as_str).chain(more.iter().copied()).collect();
        refused(&lab, "norm-bound", &arguments, words);
    };
    breaks(&["keeper"], &[], "no stage bounds the norm of an update");
    breaks(&["bounder", "raiser"], &[], "`raiser` may raise the norm behind `bounder`; leave it out");
    breaks(&["bounder"], &["--plugin", "qsgd"], "`qsgd` may raise the norm behind `bounder`");
    breaks(&["bounder"], &["--plugin", "topk:error-feedback=true"], "`topk` adds what it lost before to an update");
    breaks(&["undone", "bounder"], &[], "`undone` is undone on the server, which may raise the norm");
}

#[test]
fn rules_that_a_cohort_is_too_small_for_are_refused_before_anything_trains() {
    let lab = Lab::new();
    for (plugin, words) in [
        ("krum:f=2", "6 updates, and `f = 2` needs at least 2f + 3 = 7; use `f` of at most 1"),
        ("nnm:f=3", "6 updates, and `f = 3` is not less than half of them; use `f` of at most 2"),
    ] {
        let finished = lab.colla(&[small(&["--plugin", plugin]), vec!["--out", "refused"]].concat());
        assert_eq!(finished.code, 3, "{plugin}: {}", finished.stderr);
        let name = plugin.split(':').next().expect("a name");
        let start = format!("plugin `{name}` refuses the 6 updates of a round: ");
        assert!(finished.stderr.contains(&start) && finished.stderr.contains(words), "{}", finished.stderr);
        assert!(!finished.stderr.contains("round 1"), "{}", finished.stderr);
    }
    lab.run("enough", &small(&["--plugin", "krum:f=1", "--plugin", "nnm:f=2"]));
}
