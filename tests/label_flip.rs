//! Hostile clients that train on flipped labels: the same as if their rows were so labelled, and nothing else is.

use super::support::{Lab, RunDir, small};
use safetensors::{SafeTensors, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FLIPPED: &[&str] = &["--plugin", "label-flip"];

/// The data of [`sites`]: four clients, three classes.
fn clients_csv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/methods/clients.csv")
}

/// The same file with other labels in the training rows of these clients.
fn flipped_by_hand(lab: &Lab, name: &str, file: &Path, clients: &[u32], flip: impl Fn(u32) -> u32) -> PathBuf {
    let text = std::fs::read_to_string(file).expect("the clients' rows");
    let line = |line: &str| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let hostile = clients.iter().any(|client| cells[0] == format!("site{client}"));
        if hostile && cells[1] == "train" {
            cells[2] = flip(cells[2].parse().expect("a label")).to_string();
        }
        cells.join(",")
    };
    lab.write(name, text.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// Three rounds of three of the four clients of a file, with momentum-free SGD in small batches.
fn sites(file: &Path, more: &[&str]) -> Vec<String> {
    let settings = [
        format!("data.path={file:?}"),
        "data.client=\"client\"".into(),
        "data.features=\"none\"".into(),
        "partition.kind=\"natural\"".into(),
        "model.name=\"logistic\"".into(),
        "train.local-epochs=2".into(),
        "federation.fraction-train=0.75".into(),
        "federation.num-server-rounds=3".into(),
    ];
    let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    std::iter::once("--quiet".to_owned()).chain(settings).chain(more.iter().map(|word| word.to_string())).collect()
}

fn run(lab: &Lab, name: &str, arguments: &[String]) -> RunDir {
    lab.run(name, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What other plugins see of a client besides its update is that of its flipped labels too: losses before and in training,
/// control variates, personal models.
const METHODS: [&[&str]; 8] = [
    &[],
    &["--plugin", "q-fedavg:q=2"],
    &["--plugin", "scaffold", "--plugin", "fedavg:weights=uniform"],
    &["--plugin", "ditto:lambda=0.5"],
    &["--plugin", "power-of-choice"],
    &["--plugin", "median", "--set", "host.threads=3"],
    &["--plugin", "topk:ratio=0.3,error-feedback=true", "--set", "host.threads=1"],
    &["--set", "stragglers.share=0.5", "--set", "train.momentum=0.9"],
];

/// Its name, the plugin, and what it makes of a label.
type Flip<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(u32) -> u32);

#[test]
fn flipping_is_training_on_a_file_that_was_flipped_by_hand() {
    let lab = Lab::new();
    let file = clients_csv();
    let targeted: &[&str] = &["--plugin", "label-flip:flip=targeted,source=2,target=0"];
    let (reverse, target) = (|label| 2 - label, |label| if label == 2 { 0 } else { label });
    let flips: [Flip<'_>; 2] = [("reverse", FLIPPED, &reverse), ("targeted", targeted, &target)];
    for (flip, plugin, by_hand) in flips {
        let made = flipped_by_hand(&lab, &format!("{flip}.csv"), &file, &[1, 3], by_hand);
        for (index, method) in METHODS.iter().enumerate() {
            let attack = [method, plugin, &["--set", "attack.clients=[1,3]"]].concat();
            let attacked = run(&lab, &format!("{flip}-attacked-{index}"), &sites(&file, &attack));
            let by_hand = run(&lab, &format!("{flip}-by-hand-{index}"), &sites(&made, method));
            assert_eq!(attacked.weights(), by_hand.weights(), "{flip}, {method:?}");
            for (ours, theirs) in attacked.metrics().iter().zip(by_hand.metrics()) {
                assert_eq!(ours["train_loss"], theirs["train_loss"], "{flip}, {method:?}");
                assert_eq!(ours["test_accuracy"], theirs["test_accuracy"], "{flip}, {method:?}");
            }
            let honest = run(&lab, &format!("{flip}-honest-{index}"), &sites(&file, method));
            assert_ne!(attacked.weights(), honest.weights(), "{flip}, {method:?}");
        }
    }
}

#[test]
fn flipping_labels_that_were_flipped_by_hand_gives_the_true_ones_back() {
    let lab = Lab::new();
    let made = flipped_by_hand(&lab, "flipped.csv", &clients_csv(), &[0, 2], |label| 2 - label);
    let attack = [FLIPPED, &["--set", "attack.clients=[0,2]"]].concat();
    let twice = run(&lab, "twice", &sites(&made, &attack));
    assert_eq!(twice.weights(), run(&lab, "honest", &sites(&clients_csv(), &[])).weights());
}

#[test]
fn with_nobody_hostile_the_run_is_fedavg_bit_for_bit() {
    let lab = Lab::new();
    for (index, method) in [&[][..], &["--plugin", "scaffold", "--plugin", "fedavg:weights=uniform"]].iter().enumerate()
    {
        let spared = lab
            .run(&format!("spared-{index}"), &[&small(method)[..], FLIPPED, &["--set", "attack.fraction=0"]].concat());
        assert_eq!(spared.weights(), lab.run(&format!("plain-{index}"), &small(method)).weights());
        assert!(spared.metrics()[1..].iter().all(|line| line["attackers"] == 0));
    }
}

/// The model of a run, all zeros.
fn zeros(lab: &Lab, of: &RunDir) -> String {
    let bytes = std::fs::read(of.0.join("model.safetensors")).expect("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let nothing = vec![0u8; bytes.len()];
    let zeros = tensors.tensors().into_iter().map(|(name, tensor)| {
        let data = &nothing[..tensor.data().len()];
        (name, TensorView::new(tensor.dtype(), tensor.shape().to_vec(), data).expect("a tensor"))
    });
    let file = safetensors::serialize(zeros.collect::<BTreeMap<_, _>>(), None).expect("a safetensors file");
    format!("model.init={:?}", lab.write("zeros.safetensors", file))
}

/// Softmax and sigmoid from zero weights are odd in the labels, so two classes that are swapped for everybody negate the
/// model, and whatever was right is wrong.
#[test]
fn with_everybody_hostile_and_two_classes_the_model_learns_the_opposite() {
    let lab = Lab::new();
    let hospitals = |more: &[&str]| {
        let settings = ["data.name=\"heart-disease\"", "partition.kind=\"natural\"", "model.name=\"logistic\""];
        let rest = ["federation.fraction-train=1.0", "train.batch-size=4", "train.learning-rate=0.01"];
        let set = settings.into_iter().chain(rest).flat_map(|setting| ["--set", setting]);
        ["--quiet", "--rounds", "5"]
            .into_iter()
            .chain(set)
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let zeros = zeros(&lab, &run(&lab, "start", &hospitals(&[])));
    let honest = run(&lab, "honest", &hospitals(&["--set", &zeros]));
    let attack = [FLIPPED, &["--set", "attack.fraction=1", "--set", &zeros]].concat();
    let flipped = run(&lab, "flipped", &hospitals(&attack));
    let apart = honest.weights().iter().zip(flipped.weights()).map(|(a, b)| (a + b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-5, "{apart}");
    let accuracies = |run: &RunDir| {
        let last = run.metrics().pop().expect("a round");
        // The clients' own rows are evaluated with their true labels.
        [&last["test_accuracy"], &last["client_accuracy"]["mean"]].map(|value| value.as_f64().expect("an accuracy"))
    };
    let (right, wrong) = (accuracies(&honest), accuracies(&flipped));
    for (right, wrong) in right.into_iter().zip(wrong) {
        assert!(right > 0.6 && (right + wrong - 1.0).abs() < 1e-9, "{right} and {wrong}");
    }
    assert_eq!(flipped.metrics()[1]["attackers"], 4);
}

#[test]
fn hostile_clients_keep_to_what_stages_bound() {
    let lab = Lab::new();
    let private = ["--plugin", "clip:norm=1", "--plugin", "dp-gaussian", "--set", "attack.fraction=0.3"];
    lab.run("private", &[&small(&private)[..], FLIPPED].concat());
    let refused = lab.colla(&[&small(&private)[..], &["--plugin", "sign-flip"]].concat());
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("`sign-flip` plays the role attack"), "{}", refused.stderr);
}

#[test]
fn flips_that_cannot_be_are_refused_before_the_first_round() {
    let lab = Lab::new();
    let hostile = ["--set", "attack.fraction=0.3"];
    for (plugin, more, words) in [
        ("label-flip:flip=targeted,source=10", &hostile[..], "refuses to plan for a hostile client: `source = 10`"),
        ("label-flip:flip=targeted,source=1", &hostile, "two different classes below 10"),
        ("label-flip:flip=mirrored", &hostile, "it must be one of: reverse, targeted"),
        ("label-flip", &[], "plugin `label-flip` attacks — but nobody is hostile"),
    ] {
        let refused = lab.colla(&[&small(&["--plugin", plugin])[..], more].concat());
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(refused.stderr.contains(words), "{}\nlacks: {words}", refused.stderr);
        assert!(!refused.stderr.contains("round 1"), "{}", refused.stderr);
    }
    // An honest run of the same settings needs no plan.
    let spared = ["--plugin", "label-flip:flip=targeted,source=10", "--set", "attack.fraction=0"];
    lab.run("spared", &small(&spared));
}
