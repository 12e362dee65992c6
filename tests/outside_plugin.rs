//! The example of a plugin outside the workspace builds, keeps the laws of its role and runs.

use super::author::{colla, in_lab};
use super::support::{Lab, small};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/outside-plugin");

#[test]
fn the_plugin_outside_the_workspace_builds_is_sound_and_steps_as_its_paper_says() {
    let lab = Lab::new();
    let built = colla(&lab, ".", &["plugin", "build", FOLDER]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let file = format!("{FOLDER}/fedmom.wasm");
    let sound = colla(&lab, ".", &["plugin", "check", &file]);
    assert_eq!(sound.code, 0, "{}{}", sound.stdout, sound.stderr);
    let run = |name: &str, plugin: &str| lab.weights(name, &small(&["--plugin", plugin]));
    let fedavg = run("fedavg", "fedavg");
    assert_eq!(run("still", &format!("{file}:momentum=0.0")), fedavg, "without momentum it is FedAvg, bit for bit");
    assert_ne!(run("moving", &file), fedavg);
    assert_ne!(run("moving-too", &file), run("heavy-ball", "fedavgm"), "Nesterov's momentum is not FedAvgM's");
}

#[test]
fn the_plugin_outside_the_workspace_is_formatted_and_passes_its_own_tests() {
    let lab = Lab::new();
    let formatted = in_lab(&lab, "cargo", FOLDER, &["fmt", "--check"]);
    assert_eq!(formatted.code, 0, "{}{}", formatted.stdout, formatted.stderr);
    let tested = in_lab(&lab, "cargo", FOLDER, &["test", "--locked", "--quiet"]);
    assert_eq!(tested.code, 0, "{}\n{}", tested.stdout, tested.stderr);
    assert!(tested.stdout.contains("3 passed") && !tested.stderr.contains("warning"), "{}", tested.stderr);
}
