//! The WASM and the native form of one source agree bit for bit.

use super::support::{Lab, SMALL, SMALL_NORMED, native, small};

#[test]
fn every_shipped_plugin_gives_the_same_bytes_as_wasm_and_native() {
    let lab = Lab::new();
    for plugin in [
        "fedavg:weights=uniform",
        "fedavg-rows",
        "q-fedavg:q=0.5",
        "fednova:weights=uniform",
        "norm-bound:norm=0.3",
        "fedprox:mu=0.3",
        "fedavgm",
        "fedadam:server-learning-rate=0.02",
        "fedadagrad:server-learning-rate=0.02,beta1=0.3",
        "fedyogi:server-learning-rate=0.02",
        "fedexp:epsilon=1e-6",
        "trimmed-mean:beta=0.2",
        "median",
        "meamed:f=2",
        "sign-majority:weights=num-examples",
        "geometric-median",
        "krum:neighbours=n-f-1",
        "multi-krum:f=1,m=2,weights=num-examples",
        "bulyan:f=1",
        "mda:f=2,weights=num-examples",
        "centered-clip:tau=0.3,iterations=3",
        "fltrust",
        "nnm",
        "bucketing:s=4",
        "clip:norm=0.7",
        "topk:ratio=0.05,error-feedback=true",
        "qsgd:bits=5,error-feedback=true",
        "scaffold:server-learning-rate=0.8",
        "ditto:lambda=0.3",
        "fedbn",
        "feddyn:alpha=0.3",
        "powersgd:rank=1,error-feedback=true",
        "standardize",
        "power-of-choice:d=15",
        "dp-gaussian:noise-multiplier=0.01",
        "dp-tree:noise-multiplier=0.01",
        "layer-clip:norm=0.5",
        "adaptive-clip:norm=0.5",
        "center",
        "local-dp:noise-multiplier=0.01",
        "randk:ratio=0.3",
        "threshold:threshold=0.005,send=signs,error-feedback=true",
        "quantize:bits=5,range=symmetric",
        "half",
        "signsgd:error-feedback=true",
        "terngrad:clip=2.5",
        "eden:bits=3",
        "count-sketch:ratio=0.5,rows=3",
        "sign-flip:of=honest-mean,scale=3",
        "alie",
        "ipm:epsilon=1.5",
        "gaussian:sd=0.1,mode=add",
        "scale",
        "label-flip:flip=targeted,source=3,target=7",
    ] {
        let (name, parameters) = plugin.split_once(':').unwrap_or((plugin, ""));
        let (path, hash) = native(name);
        let file = format!("{}{}{parameters}", path.display(), if parameters.is_empty() { "" } else { ":" });
        let allow = format!("--allow-native={hash}");
        // What the plugin needs beside itself.
        let others: &[&str] = match name {
            "dp-gaussian" | "dp-tree" => &["--plugin", "clip:norm=0.7"],
            "sign-flip" | "alie" | "ipm" | "gaussian" | "scale" | "label-flip" => &["--set", "attack.fraction=0.3"],
            "fltrust" => &["--set", "federation.root-rows=50"],
            // Ten clients a round.
            "bulyan" => &["--set", "federation.fraction-train=0.5"],
            _ => &[],
        };
        let base = if name == "fedbn" { SMALL_NORMED } else { SMALL };
        let run = |form: &str, more: &[&str]| lab.weights(&format!("{name}-{form}"), &[base, others, more].concat());
        let wasm = run("wasm", &["--plugin", plugin]);
        let native = run("native", &["--plugin", &file, &allow]);
        assert_eq!(wasm, native, "{plugin}");
    }
}

#[test]
fn a_native_plugin_is_refused_until_its_hash_is_approved() {
    let lab = Lab::new();
    let (path, hash) = native("fedavg");
    let path = path.to_str().expect("a path in UTF-8");
    let refused = lab.colla(&small(&["--plugin", path]));
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("--allow-native={hash}")), "{}", refused.stderr);
    lab.write("self-approved.toml", format!("[host]\nallow-native = [\"{hash}\"]\n[[plugin]]\npath = \"{path}\"\n"));
    let own = lab.colla(&["self-approved.toml"]);
    assert_eq!(own.code, 3, "an experiment cannot approve its own native code: {}", own.stderr);
    assert!(own.stderr.contains("allow-native"), "{}", own.stderr);
    let other = lab.colla(&small(&["--plugin", path, &format!("--allow-native={}", "0".repeat(64))]));
    assert_eq!(other.code, 5, "{}", other.stderr);
}
