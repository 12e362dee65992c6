//! Plugins of different roles stack freely; what cannot be combined is refused by name.

use super::support::{Lab, SMALL, small};

#[test]
fn five_roles_work_in_one_run() {
    let lab = Lab::new();
    let stack = ["fedprox:mu=0.01", "median", "fedadam:server-learning-rate=0.01", "clip:norm=0.1", "topk:ratio=0.1"];
    let arguments: Vec<&str> = stack.iter().flat_map(|plugin| ["--plugin", plugin]).collect();
    let run = lab.run("stack", &small(&arguments));
    let summary = run.summary();
    let names: Vec<_> = summary["plugins"].as_array().expect("plugins").iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["fedprox", "median", "fedadam", "clip", "topk"]);
    // Each of the five changes the result: leaving one out gives other weights.
    let all = &summary["weights_blake3"];
    for left_out in 0..stack.len() {
        let rest: Vec<&str> =
            (0..stack.len()).filter(|&i| i != left_out).flat_map(|i| ["--plugin", stack[i]]).collect();
        assert_ne!(all, &lab.weights(&format!("without{left_out}"), &small(&rest)), "without {}", stack[left_out]);
    }
}

#[test]
fn two_plugins_in_a_role_for_one_are_refused_by_name() {
    let lab = Lab::new();
    for (first, second, role) in [
        ("median", "trimmed-mean", "aggregate"),
        ("fedadam", "fedavgm", "server-step"),
        ("topk", "qsgd", "compress in the direction up"),
        ("topk:direction=both", "qsgd", "compress in the direction up"),
        ("topk:direction=both", "qsgd:direction=down", "compress in the direction down"),
    ] {
        let refused = lab.colla(&small(&["--plugin", first, "--plugin", second]));
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        let name = |plugin: &'static str| plugin.split(':').next().unwrap_or_default();
        let expected = format!("plugins `{}` and `{}` — both play the role {role}", name(first), name(second));
        assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().filter(|l| l.starts_with("error")).count(), 1, "{}", refused.stderr);
    }
}

#[test]
fn roles_act_in_their_own_order_however_they_are_given() {
    let lab = Lab::new();
    let weights = |name: &str, plugins: [&'static str; 2]| {
        lab.weights(name, &small(&["--plugin", plugins[0], "--plugin", plugins[1]]))
    };
    assert_eq!(weights("a", ["clip:norm=0.5", "topk:ratio=0.1"]), weights("b", ["topk:ratio=0.1", "clip:norm=0.5"]));
}

#[test]
fn compression_is_counted_in_real_bytes() {
    let lab = Lab::new();
    let bytes = |name: &str, plugin: &[&'static str]| {
        let line = lab.run(name, &small(plugin)).metrics()[1].clone();
        (line["upload_bytes"].as_u64().expect("bytes"), line["clients"].as_u64().expect("clients"))
    };
    // MLP 64-16-10: 64·16 + 16 + 16·10 + 10 = 1210 weights, one frame.
    let (plain, clients) = bytes("plain", &[]);
    assert_eq!(plain, clients * 4 * 1210);
    // QSGD at 8 bits: a byte a weight, and the frame's length and norm.
    let (quantized, _) = bytes("qsgd", &["--plugin", "qsgd:bits=8"]);
    assert_eq!(quantized, clients * (1210 + 4 + 4));
    // Top 121 of 1210: an index of two bytes and a value of four each, the frame's length and count.
    let (sparse, _) = bytes("topk", &["--plugin", "topk:ratio=0.1"]);
    assert_eq!(sparse, clients * (121 * 6 + 4 + 4));
}

#[test]
fn a_server_learning_rate_beside_a_server_step_plugin_is_refused() {
    let lab = Lab::new();
    let refused = lab.colla(&small(&["--plugin", "fedadam", "--set", "federation.server-learning-rate=0.5"]));
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("`fedadam` takes the server step"), "{}", refused.stderr);
}

#[test]
fn error_feedback_that_a_codec_cannot_bear_is_told_of_and_named_where_the_run_diverges() {
    let lab = Lab::new();
    let said = |codec: &str| {
        // All but `--quiet`.
        let more = ["--set", "federation.num-server-rounds=0", "--plugin", codec];
        let finished = lab.colla(&[&SMALL[1..], &more].concat());
        assert_eq!(finished.code, 0, "{codec}: {}", finished.stderr);
        finished.stderr.contains("note: `randk` with `error-feedback`: of a random vector it loses ")
    };
    assert!(said("randk:ratio=0.01,error-feedback=true"));
    for quiet in ["randk:ratio=0.01", "randk:ratio=0.01,error-feedback=true,unbiased=false", "topk:error-feedback=true"]
    {
        assert!(!said(quiet), "{quiet}");
    }
    let diverged = lab.colla(&["--quiet", "--plugin", "randk:ratio=0.01,error-feedback=true"]);
    assert_eq!(diverged.code, 7, "{}", diverged.stderr);
    assert!(diverged.stderr.contains("turn the `error-feedback` of `randk` off"), "{}", diverged.stderr);
}

#[test]
fn what_a_compressor_cannot_do_downwards_is_refused_with_the_reason() {
    let lab = Lab::new();
    let refused = lab.colla(&small(&["--plugin", "topk:direction=down,error-feedback=true"]));
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("what one message loses is in the next one already"), "{}", refused.stderr);
}

/// Runs with all of the stack, and shows that each plugin changes the result.
#[track_caller]
fn stacks(stack: &[&str]) {
    let lab = Lab::new();
    let with = |name: &str, plugins: &[&str]| {
        let arguments: Vec<&str> = plugins.iter().flat_map(|plugin| ["--plugin", plugin]).collect();
        lab.weights(name, &small(&arguments))
    };
    let all = with("all", stack);
    for left_out in 0..stack.len() {
        let rest: Vec<&str> =
            stack.iter().copied().enumerate().filter(|(i, _)| *i != left_out).map(|(_, p)| p).collect();
        assert_ne!(all, with(&format!("without{left_out}"), &rest), "without {}", stack[left_out]);
    }
}

#[test]
fn methods_of_all_sides_stack() {
    stacks(&["power-of-choice:d=9", "scaffold", "standardize", "powersgd:error-feedback=true"]);
    stacks(&["fedadam:server-learning-rate=0.01", "clip:norm=0.1", "topk:ratio=0.1,direction=both", "q-fedavg"]);
    stacks(&["nnm:f=1", "multi-krum:f=1", "clip:norm=0.1"]);
    stacks(&["bucketing:s=2", "meamed:f=1", "fedyogi"]);
}

#[test]
fn noise_for_privacy_stands_behind_a_bound_and_with_a_compressor_that_keeps_it() {
    let lab = Lab::new();
    let private = &["--plugin", "clip:norm=0.5", "--plugin", "topk:ratio=0.5", "--plugin", "dp-gaussian"];
    let run = lab.run("private", &small(private));
    let stored = std::fs::read_to_string(run.0.join("config.toml")).expect("the configuration");
    // 6 of 20 clients.
    assert!(stored.contains("weights = \"uniform\"") && stored.contains("denominator = 6.0"), "{stored}");
    let quiet =
        lab.weights("quiet", &small(&[&private[..4], &["--plugin", "fedavg:weights=uniform,denominator=6"]].concat()));
    assert_ne!(run.summary()["weights_blake3"], quiet);
}

#[test]
fn what_a_method_cannot_stand_beside_is_refused_with_what_to_do() {
    let lab = Lab::new();
    let poisson = "federation.sampling=\"poisson\"";
    for (arguments, words) in [
        (&["scaffold", "--set", "train.momentum=0.9"][..], "`scaffold` — it requires `plain-sgd`"),
        (&["scaffold", "--plugin", "fedavg:weights=num-examples"], "`scaffold` — it requires `uniform-weights`"),
        (&["scaffold", "--plugin", "fedavgm"], "both play the role server-step"),
        (&["powersgd:direction=both"], "it keeps `q` of the client that encodes"),
        (&["power-of-choice", "--set", poisson], "`power-of-choice` chooses the cohort"),
        (
            &["power-of-choice:d=1"],
            "`power-of-choice` refuses to choose a cohort: `d` is 1 candidates, but 6 clients train",
        ),
        (
            &["dp-tree", "--plugin", "adaptive-clip"],
            "and that of `adaptive-clip` moves from round to round; use a bound",
        ),
        (&["norm-bound", "--plugin", "nnm:f=1"], "`norm-bound` — it requires `no-mix`, but `nnm` mixes the updates"),
        (&["fednova", "--plugin", "bucketing"], "`fednova` — it requires `no-mix`, but `bucketing` mixes the updates"),
        (&["q-fedavg", "--plugin", "nnm:f=1"], "`q-fedavg` — it requires `no-mix`, but `nnm` mixes the updates"),
        (&["adaptive-clip", "--plugin", "topk"], "`adaptive-clip` — it requires `last-stage`, but `topk` changes"),
        (&["adaptive-clip", "--plugin", "clip"], "`adaptive-clip` — it requires `last-stage`, but `clip` changes"),
        (&["adaptive-clip", "--plugin", "nnm:f=1"], "`adaptive-clip` — it requires `no-mix`, but `nnm` mixes"),
        (&["dp-gaussian"], "`dp-gaussian` — it requires `norm-bound`, but no stage bounds the norm"),
        (&["dp-gaussian", "--plugin", "clip", "--plugin", "scaffold"], "uploads the vector `delta_c`"),
        (&["dp-gaussian", "--plugin", "clip", "--plugin", "standardize"], "`standardize` is undone on the server"),
        (&["dp-gaussian", "--plugin", "clip", "--plugin", "qsgd"], "`qsgd` may raise the norm behind `clip`"),
        (&["dp-gaussian", "--plugin", "clip", "--plugin", "median"], "`fixed-denominator`, but `median` is no sum"),
        (
            &["dp-gaussian", "--plugin", "clip", "--plugin", "topk:error-feedback=true"],
            "set its `error-feedback` to false",
        ),
    ] {
        let refused = lab.colla(&small(&[&["--plugin"], arguments].concat()));
        assert_eq!(refused.code, 3, "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    // A bound that could move and does not will do.
    lab.run("still", &small(&["--plugin", "dp-tree", "--plugin", "adaptive-clip:bound-learning-rate=0"]));
}

#[test]
fn a_poisson_cohort_that_is_too_small_for_a_rule_is_told_with_its_size_and_what_to_do() {
    let lab = Lab::new();
    // 20 clients, 2 of them on average: some round of these has less than the 5 that the rule needs.
    let poisson = ["--set", "federation.sampling=\"poisson\"", "--set", "federation.fraction-train=0.1"];
    let refused = lab.colla(&small(&[&["--plugin", "krum"][..], &poisson].concat()));
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    for words in [
        "error: round ",
        ": plugin `krum` refuses the ",
        " of this round: ",
        "`f = 1` needs at least 2f + 3 = 5; ",
        ", or a larger `federation.fraction-train`: Poisson cohorts vary, and have 2 clients on average",
    ] {
        assert!(refused.stderr.contains(words), "`{words}` is not in\n{}", refused.stderr);
    }
}
