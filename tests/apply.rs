//! `plugin apply`: aggregation of updates from a file, held to hand-computed numbers.

use super::support::{Finished, Lab};
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
fn files_that_do_not_say_enough_are_refused_by_tensor() {
    for (change, words) in [
        (Tensors::default(), "must count from 0"),
        (Tensors(two_clients().0.split_off(1)), "tensor `num_examples` is missing"),
        (two_clients().floats("client/2/a", &[1.0, 1.0]), "tensor `client/2/b` is missing"),
        (two_clients().floats("delta/0/0/a", &[1.0, 1.0]), "give one of them"),
        (two_clients().whole("attackers", &[2]), "`attackers` names client 2"),
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
