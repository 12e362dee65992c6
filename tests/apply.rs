//! `plugin apply`: aggregation of updates from a file, held to hand-computed numbers.

use super::support::{Finished, Lab, small};
use super::wat::{OK, manifest, plugin};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

/// A safetensors file of named tensors.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn floats(mut self, name: &str, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.push((name.into(), Dtype::F32, vec![values.len()], bytes));
        self
    }

    fn whole(mut self, name: &str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.push((name.into(), Dtype::I64, vec![values.len()], bytes));
        self
    }

    fn doubles(mut self, name: &str, values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.push((name.into(), Dtype::F64, vec![values.len()], bytes));
        self
    }

    /// Without the tensors of this name.
    fn without(mut self, name: &str) -> Self {
        self.0.retain(|tensor| tensor.0 != name);
        self
    }

    fn write(&self, lab: &Lab) {
        // Views borrow, so they are made where they are used.
        let views = self.0.iter().map(|(name, dtype, shape, bytes)| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        let views: Vec<(String, TensorView<'_>)> = views.collect();
        lab.write("in.safetensors", serialize(views, None).expect("a file"));
    }
}

/// Two clients with three weights; the first has three times as many examples.
fn two_clients() -> Tensors {
    Tensors::default()
        .whole("num_examples", &[30, 10])
        .floats("global/a", &[1.0, 2.0])
        .floats("global/b", &[-1.0])
        .floats("client/0/a", &[2.0, 2.0])
        .floats("client/0/b", &[-1.0])
        .floats("client/1/a", &[1.0, 6.0])
        .floats("client/1/b", &[3.0])
}

fn apply(lab: &Lab, arguments: &[&str]) -> Finished {
    lab.colla(&[&["plugin", "apply"], arguments, &["--updates", "in.safetensors", "--out", "out.safetensors"]].concat())
}

#[track_caller]
fn result(lab: &Lab, arguments: &[&str]) -> Vec<(String, Vec<f32>)> {
    let finished = apply(lab, arguments);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let bytes = std::fs::read(lab.path().join("out.safetensors")).expect("the result");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, tensor)| (name, floats(tensor.data()))).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

fn tensor(name: &str, values: &[f32]) -> (String, Vec<f32>) {
    (name.into(), values.to_vec())
}

#[test]
fn fedavg_of_two_clients_is_the_hand_computed_mean() {
    let lab = Lab::new();
    two_clients().write(&lab);
    // Updates (1, 0, 0) and (0, 4, 4) with weights 3/4 and 1/4 move (1, 2, -1) by (0.75, 1, 1).
    assert_eq!(result(&lab, &[]), [tensor("a", &[1.75, 3.0]), tensor("b", &[0.0])]);
    assert_eq!(result(&lab, &["fedavg:weights=uniform"])[0], tensor("a", &[1.5, 4.0]));
    // A median of two is their mean.
    assert_eq!(result(&lab, &["median"]), [tensor("a", &[1.5, 4.0]), tensor("b", &[1.0])]);
}

#[test]
fn every_stage_acts() {
    let lab = Lab::new();
    two_clients().write(&lab);
    // Clipped to norm 1, (0, 4, 4) becomes (0, 1, 1)/sqrt(2); compressed to 1 of 3 elements, the first of equal ones is kept.
    let half = 0.25 * std::f32::consts::FRAC_1_SQRT_2;
    let clipped = result(&lab, &["clip:norm=1"]);
    assert!((clipped[0].1[1] - 2.0 - half).abs() < 1e-6 && (clipped[1].1[0] + 1.0 - half).abs() < 1e-6, "{clipped:?}");
    let finished = apply(&lab, &["clip:norm=1", "topk:ratio=0.3", "--format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&finished.stdout).expect("one JSON object");
    assert_eq!((&line["round"], &line["accepted"], &line["weight_sum"]), (&1.into(), &2.into(), &40.0.into()));
    assert!(line["upload_bytes"].as_u64().expect("bytes") > 0);
    let kept = result(&lab, &["clip:norm=1", "topk:ratio=0.3"]);
    assert_eq!((kept[1].clone(), kept[0].1[0]), (tensor("b", &[-1.0]), 1.75));
}

#[test]
fn rounds_follow_each_other_with_the_state_of_the_server() {
    let lab = Lab::new();
    Tensors::default()
        .whole("num_examples", &[1, 1])
        .floats("delta/0/0/w", &[2.0])
        .floats("delta/0/1/w", &[4.0])
        .floats("delta/1/0/w", &[1.0])
        .floats("delta/1/1/w", &[1.0])
        .write(&lab);
    // Momentum 0.5: v = 3 and w = 3, then v = 0.5*3 + 1 = 2.5 and w = 5.5.
    let rounds = result(&lab, &["fedavgm:momentum=0.5"]);
    assert_eq!(rounds, [tensor("1/w", &[3.0]), tensor("2/w", &[5.5])]);
}

#[test]
fn a_client_that_is_not_finite_is_refused_or_left_out_and_named() {
    let lab = Lab::new();
    let mut broken = two_clients();
    broken.0[3].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    broken.write(&lab);
    let refused = apply(&lab, &[]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(refused.stderr.contains("client 0") && refused.stderr.contains("quarantine"), "{}", refused.stderr);
    let finished = apply(&lab, &["--on-bad-update", "quarantine"]);
    assert!(finished.stdout.contains("1 clients (left out: 0)"), "{}", finished.stdout);
    assert_eq!(result(&lab, &["--on-bad-update", "quarantine"])[0], tensor("a", &[1.0, 6.0]));
    two_clients().write(&lab);
    assert_eq!(apply(&lab, &["--update-bound", "3.9"]).code, 7);
    assert_eq!(apply(&lab, &["--update-bound", "4"]).code, 0);
}

#[test]
fn as_many_threads_as_a_run_may_have_and_no_more() {
    let lab = Lab::new();
    two_clients().write(&lab);
    let refused = apply(&lab, &["--threads", "1025"]);
    assert_eq!((refused.code, refused.stderr.trim()), (2, "error: `--threads 1025`: must be at most 1024"));
}

#[test]
fn files_that_do_not_say_enough_are_refused_by_tensor() {
    for (change, words) in [
        (Tensors::default(), "must count from 0"),
        (Tensors(two_clients().0.split_off(1)), "tensor `num_examples` is missing"),
        (two_clients().floats("client/2/a", &[1.0, 1.0]), "tensor `client/2/b` is missing"),
        (two_clients().floats("delta/0/0/a", &[1.0, 1.0]), "give one of them"),
        (two_clients().whole("attackers", &[2]), "`attackers` names client 2"),
        (two_clients().floats("client/3/zz", &[1.0]), "the clients [0, 1, 3]; they must count from 0"),
        (two_clients().without("num_examples").whole("num_examples", &[3, -1]), "`num_examples` is -1 at index 1"),
        (
            two_clients().without("num_examples").whole("num_examples", &[1 << 52, 1 << 52]),
            "`num_examples` sums to 9007199254740992; the sum must be below 2^53",
        ),
    ] {
        let lab = Lab::new();
        change.write(&lab);
        let finished = apply(&lab, &[]);
        assert_eq!(finished.code, 4, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "`{words}` is not in {}", finished.stderr);
    }
    let lab = Lab::new();
    two_clients().write(&lab);
    let finished = apply(&lab, &["fedprox"]);
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    assert!(finished.stderr.contains("nothing is trained here"), "{}", finished.stderr);
}

/// The arguments are refused with this exit code and these words.
#[track_caller]
fn refused(lab: &Lab, arguments: &[&str], code: i32, words: &[&str]) {
    let finished = apply(lab, arguments);
    assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
    for part in words {
        assert!(finished.stderr.contains(part), "{arguments:?}: `{part}` is not in {}", finished.stderr);
    }
}

#[test]
fn a_noise_plugin_settles_the_mean_as_in_a_run() {
    let lab = Lab::new();
    two_clients().write(&lab);
    // Clipped updates (1, 0, 0) and (0, 1, 1)/sqrt(2) count the same and are divided by the 2 clients, without noise.
    let stack = ["clip:norm=1", "dp-gaussian:noise-multiplier=0"];
    let [a, b] = &result(&lab, &stack)[..] else { panic!("two tensors") };
    let half = 0.5 * std::f32::consts::FRAC_1_SQRT_2;
    for (given, expected) in [(a.1[0], 1.5), (a.1[1], 2.0 + half), (b.1[0], -1.0 + half)] {
        assert!((given - expected).abs() < 1e-6, "{given} is not {expected}");
    }
    let finished = apply(&lab, &[&stack[..], &["--format", "json"]].concat());
    let line: serde_json::Value = serde_json::from_str(&finished.stdout).expect("one JSON object");
    assert_eq!((&line["weight_sum"], &line["denominator"]), (&2.0.into(), &2.0.into()));
    // With noise too, it is the sum that the user would have had to ask for.
    let settled = result(&lab, &["clip:norm=1", "dp-gaussian"]);
    assert_eq!(settled, result(&lab, &["clip:norm=1", "dp-gaussian", "fedavg:weights=uniform,denominator=2"]));
    // Of 2 clients one is left out; what the sum is divided by does not tell.
    let mut broken = two_clients();
    broken.0[5].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    broken.write(&lab);
    let rest = result(&lab, &[&stack[..], &["--on-bad-update", "quarantine"]].concat());
    assert!((rest[0].1[0] - 1.5).abs() < 1e-6, "{rest:?}");
}

#[test]
fn a_composition_that_a_run_refuses_is_refused_with_the_same_words() {
    let lab = Lab::new();
    two_clients().write(&lab);
    for rule in ["norm-bound", "fednova"] {
        let words = format!("plugin `{rule}` — it requires `no-mix`, but `nnm` mixes the updates before it");
        refused(&lab, &["nnm:f=0", rule], 3, &[&words]);
    }
    for stack in [
        &["dp-gaussian"][..],
        &["clip:norm=1", "median", "dp-gaussian"],
        &["clip:norm=1", "standardize", "dp-gaussian"],
        &["clip:norm=1", "topk:error-feedback=true", "dp-gaussian"],
        &["clip:norm=1", "fedavg:weights=num-examples", "dp-gaussian"],
    ] {
        let run: Vec<&str> = stack.iter().flat_map(|plugin| ["--plugin", plugin]).collect();
        let run = lab.colla(&small(&run));
        let start = run.stderr.find("plugin `dp-gaussian` — it requires `").expect("a refusal of the run");
        let why = run.stderr[start..].lines().next().expect("a line");
        assert_eq!(run.code, 3);
        refused(&lab, stack, 3, &[why]);
    }
}

#[test]
fn too_few_updates_for_a_rule_are_refused_as_in_a_run() {
    let lab = Lab::new();
    two_clients().write(&lab);
    let words = "plugin `krum` refuses the 2 updates of this round: 2 updates, and `f = 3` needs at least 2f + 3 = 9; use \
                 larger cohorts";
    refused(&lab, &["krum:f=3"], 3, &[words]);
}

#[test]
fn requirements_about_training_do_not_apply_and_root_data_is_what_the_file_holds() {
    let lab = Lab::new();
    let requiring = |requirement: &str| {
        let manifest = manifest("normalize", &format!(r#","requires":["{requirement}"]"#));
        lab.write("hostile.wasm", plugin(&manifest, OK, OK));
    };
    two_clients().write(&lab);
    for requirement in ["plain-sgd", "poisson-cohort", "fixed-cohort", "normalisation-layers"] {
        requiring(requirement);
        assert_eq!(result(&lab, &["hostile.wasm"])[0], tensor("a", &[1.75, 3.0]), "{requirement}");
    }
    requiring("root-data");
    refused(&lab, &["hostile.wasm"], 3, &["it requires `root-data`, but the file has no `root/<name>`"]);
    two_clients().floats("root/a", &[1.0, 2.0]).floats("root/b", &[0.0]).write(&lab);
    assert_eq!(result(&lab, &["hostile.wasm"])[0], tensor("a", &[1.75, 3.0]));
}

#[test]
fn a_rule_that_needs_losses_is_refused_without_them_and_with_losses_that_are_none() {
    let lab = Lab::new();
    two_clients().write(&lab);
    refused(
        &lab,
        &["q-fedavg"],
        4,
        &["plugin `q-fedavg`", "`loss-before`", "the file has no `losses`; add this tensor"],
    );
    two_clients().doubles("losses", &[1.0, 0.0]).write(&lab);
    assert_eq!(apply(&lab, &["q-fedavg"]).code, 0);
    for (losses, words) in [
        ([1.0, -0.5], "`losses` is -0.5 at index 1"),
        ([f64::NAN, 1.0], "`losses` is NaN at index 0"),
        ([1.0, f64::INFINITY], "`losses` is inf at index 1"),
    ] {
        two_clients().doubles("losses", &losses).write(&lab);
        refused(&lab, &[], 4, &[words, "finite and at least 0"]);
    }
}

#[test]
fn a_rule_that_needs_steps_is_refused_without_them() {
    let lab = Lab::new();
    two_clients().write(&lab);
    refused(&lab, &["fednova"], 4, &["plugin `fednova`", "the file has no `steps`; add this tensor"]);
    // aₖ = nₖ/τₖ = 10, 10 and the denominator is 40²/(30·3 + 10·1) = 16: (1, 0, 0) and (0, 4, 4) count 10/16 each.
    two_clients().whole("steps", &[3, 1]).write(&lab);
    assert_eq!(result(&lab, &["fednova"]), [tensor("a", &[1.625, 4.5]), tensor("b", &[1.5])]);
}

#[test]
fn updates_are_not_overwritten() {
    let lab = Lab::new();
    two_clients().write(&lab);
    let arguments = ["plugin", "apply", "--updates", "in.safetensors", "--out", "./in.safetensors"];
    let before = std::fs::read(lab.path().join("in.safetensors")).expect("the updates");
    let finished = lab.colla(&arguments);
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    assert!(finished.stderr.contains("it is the file of the updates; name another"), "{}", finished.stderr);
    assert_eq!(std::fs::read(lab.path().join("in.safetensors")).expect("the updates"), before);
}

/// One weight of two clients in the rounds 0 and 1.
fn two_rounds() -> Tensors {
    let file = Tensors::default().whole("num_examples", &[1, 1]);
    let file = file.floats("delta/0/0/w", &[2.0]).floats("delta/0/1/w", &[4.0]);
    file.floats("delta/1/0/w", &[1.0]).floats("delta/1/1/w", &[2.0])
}

#[test]
fn results_count_the_rounds_done() {
    let lab = Lab::new();
    two_rounds().write(&lab);
    assert_eq!(result(&lab, &[]), [tensor("1/w", &[3.0]), tensor("2/w", &[4.5])]);
    let lines = apply(&lab, &[]).stdout;
    let starts: Vec<&str> = lines.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(starts, ["round 1", "round 2"]);
    for (file, others) in
        [(two_rounds().floats("delta/1/2/w", &[1.0]), "[0, 1, 2]"), (two_rounds().without("delta/1/1/w"), "[0]")]
    {
        file.write(&lab);
        let words = format!("`delta/1/…` has the clients {others}, `delta/0/…` has [0, 1]");
        refused(&lab, &[], 4, &[&words]);
    }
    let third = |round: &str| {
        let name = |client: usize| format!("delta/{round}/{client}/w");
        two_rounds().floats(&name(0), &[1.0]).floats(&name(1), &[1.0])
    };
    third("3").write(&lab);
    refused(&lab, &[], 4, &["the rounds [0, 1, 3]; they must count from 0 or from 1 without a gap"]);
    third("2").write(&lab);
    assert_eq!(result(&lab, &[]).len(), 3);
    Tensors::default().whole("num_examples", &[1]).floats("delta/first/0/w", &[1.0]).write(&lab);
    refused(&lab, &[], 4, &["`delta/…` names no round"]);
}

#[test]
fn a_tensor_that_is_not_read_is_named() {
    let lab = Lab::new();
    for (file, name) in [
        (two_clients().doubles("loss", &[1.0, 1.0]), "loss"),
        (two_clients().floats("client/1/zz", &[1.0]), "client/1/zz"),
        (two_clients().floats("client/01/a", &[1.0, 1.0]), "client/01/a"),
        (two_rounds().floats("delta/1/1/zz", &[1.0]), "delta/1/1/zz"),
        (two_clients().floats("root/a", &[1.0, 1.0]).floats("root/b", &[1.0]).floats("root/c", &[1.0]), "root/c"),
    ] {
        file.write(&lab);
        refused(&lab, &[], 4, &[&format!("tensor `{name}` is not read")]);
    }
    two_clients().whole("attackers", &[1]).write(&lab);
    refused(&lab, &[], 4, &["tensor `attackers` — no plugin plays the role attack"]);
    assert_eq!(apply(&lab, &["sign-flip"]).code, 0);
}

#[test]
fn an_attack_on_training_is_refused() {
    let lab = Lab::new();
    two_clients().whole("attackers", &[1]).write(&lab);
    refused(&lab, &["label-flip"], 3, &["plugin `label-flip` — it changes how hostile clients train"]);
}

#[test]
fn a_compressor_of_the_downlink_is_refused() {
    let lab = Lab::new();
    two_clients().write(&lab);
    for direction in ["down", "both"] {
        let words = format!("plugin `qsgd` — it has `direction = \"{direction}\"`, and nothing goes down");
        refused(&lab, &[&format!("qsgd:direction={direction}")], 3, &[&words]);
    }
    assert_eq!(apply(&lab, &["qsgd:direction=up"]).code, 0);
}

#[test]
fn weights_of_the_server_are_finite() {
    let lab = Lab::new();
    two_clients().without("global/a").floats("global/a", &[1.0, f32::INFINITY]).write(&lab);
    refused(&lab, &[], 4, &["tensor `global/a` gives inf at index 1"]);
    two_clients().floats("root/a", &[1.0, 1.0]).floats("root/b", &[f32::NAN]).write(&lab);
    refused(&lab, &[], 4, &["tensor `root/b` gives NaN at index 0"]);
}

#[test]
fn norms_that_six_decimals_do_not_show_are_printed_with_an_exponent() {
    let lab = Lab::new();
    for (update, words) in [
        (0.0, "norm 0.000000"),
        (2.0_f32.powi(-20), "norm 9.536743e-7"),
        (0.5, "norm 0.500000"),
        (2.0_f32.powi(30), "norm 1.073742e9"),
    ] {
        Tensors::default().whole("num_examples", &[1]).floats("client/0/w", &[update]).write(&lab);
        let stdout = apply(&lab, &[]).stdout;
        assert!(stdout.contains(words), "`{words}` is not in {stdout}");
    }
}

#[test]
fn a_client_without_examples_counts_for_nothing() {
    let lab = Lab::new();
    two_clients().without("num_examples").whole("num_examples", &[0, 10]).write(&lab);
    assert_eq!(result(&lab, &[]), [tensor("a", &[1.0, 6.0]), tensor("b", &[3.0])]);
}
