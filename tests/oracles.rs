//! Rules and attacks against numbers that others computed: Flower, SciPy and ByzFL (`tests/vectors/oracles`).
//!
//! The real binary aggregates the oracle's updates with `plugin apply`; what it writes must lie within the tolerance of
//! each vector. A rule that no plugin plays is named here, so that none is passed over in silence.

use super::support::Lab;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Rules of ByzFL that no shipped plugin plays. `geomedian_smoothed` is three steps from the origin and not the median.
const NOT_PLAYED_BYZFL: &[&str] = &["geomedian_smoothed", "monna", "caf", "arc+trmean_f3"];
/// ByzFL's results are sums in another order.
const BYZFL_RELATIVE: f64 = 1e-5;
const BYZFL_ABSOLUTE: f64 = 1e-6;

type Tensors = BTreeMap<String, Vec<f64>>;

fn vectors(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oracles").join(file)
}

fn json(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(vectors(file)).expect("a vector file")).expect("JSON")
}

/// All tensors of floats of a file, as `f64`.
fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a safetensors file");
    let file = SafeTensors::deserialize(&bytes).expect("a whole safetensors file");
    let mut all = Tensors::new();
    for (name, view) in file.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => {
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
            }
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            _ => continue,
        };
        all.insert(name, values);
    }
    all
}

/// `plugin apply`, and what it prints and writes.
#[track_caller]
fn applied(lab: &Lab, updates: &Path, plugins: &[String], more: &[&str]) -> (String, Tensors) {
    let updates = updates.to_str().expect("a path in UTF-8");
    let plugins: Vec<&str> = plugins.iter().map(String::as_str).collect();
    let fixed = ["--updates", updates, "--out", "new.safetensors", "--format", "json"];
    let finished = lab.colla(&[&["plugin", "apply"], &plugins[..], &fixed, more].concat());
    assert_eq!(finished.code, 0, "{plugins:?}: {}", finished.stderr);
    (finished.stdout, tensors(&lab.path().join("new.safetensors")))
}

/// The plugins that play a rule of `aggregation.json`.
fn plugins(rule: &str, given: &Value) -> Option<Vec<String>> {
    let number = |name: &str| given[name].as_f64().expect("a parameter");
    let one = |text: String| Some(vec![text]);
    match rule.split_once('.').filter(|(set, _)| set.starts_with("finite")).map_or(rule, |(_, rule)| rule) {
        "fedavg" => one("fedavg".into()),
        "median" => one("median".into()),
        "qfedavg" => one(format!("q-fedavg:q={},client-learning-rate={}", number("q"), number("client_lr"))),
        "geomedian" => one("geometric-median".into()),
        "clipped_mean" => Some(vec![format!("clip:norm={}", number("clip")), "fedavg:weights=uniform".into()]),
        "fedavgm" => one(format!("fedavgm:server-learning-rate={},momentum={}", number("lr"), number("momentum"))),
        "fedadam" => one(format!(
            "fedadam:server-learning-rate={},beta1={},beta2={},tau={},initial-v=0,bias-correction=true",
            number("eta"),
            number("beta1"),
            number("beta2"),
            number("tau")
        )),
        // Flower's own code starts v at 0.
        "fedyogi" => one(format!(
            "fedyogi:server-learning-rate={},beta1={},beta2={},tau={},initial-v=0",
            number("eta"),
            number("beta1"),
            number("beta2"),
            number("tau")
        )),
        "fedadagrad" => {
            one(format!("fedadagrad:server-learning-rate={},tau={},initial-v=0", number("eta"), number("tau")))
        }
        "bulyan_f2" => one(format!("bulyan:f={},selection=multi-krum", number("f"))),
        "bulyan_paper_f2" => one(format!("bulyan:f={}", number("f"))),
        krum if krum.starts_with("multikrum") => {
            one(format!("multi-krum:f={},m={},weights=num-examples", number("f"), number("m")))
        }
        trimmed if trimmed.starts_with("trimmed_") => {
            one(format!("trimmed-mean:beta={}", &trimmed["trimmed_".len()..]))
        }
        _ => None,
    }
}

fn check(what: &str, given: &[f64], expected: &[f64], absolute: f64, relative: f64) {
    assert_eq!(given.len(), expected.len(), "{what}");
    for (i, (given, expected)) in given.iter().zip(expected).enumerate() {
        let allowed = absolute + relative * expected.abs();
        assert!((given - expected).abs() <= allowed, "{what}, element {i}: {given} instead of {expected}");
    }
}

/// Compares all rules of a case and returns how many were compared.
fn check_case(case: &str) -> usize {
    let all = json("aggregation.json");
    let case = all["cases"].as_array().expect("cases").iter().find(|found| found["case"] == case).expect("the case");
    let name = case["case"].as_str().expect("a name");
    let (updates, expected) =
        (vectors(&format!("{name}.in.safetensors")), tensors(&vectors(&format!("{name}.out.safetensors"))));
    let (lab, mut compared) = (Lab::new(), 0);
    for rule in case["rules"].as_array().expect("rules") {
        let rule_name = rule["rule"].as_str().expect("a name");
        let plugins = plugins(rule_name, &rule["params"]).unwrap_or_else(|| panic!("no plugin plays {rule_name}"));
        let quarantine: &[&str] = match rule_name.split('.').next() {
            Some("finite_only") => &["--on-bad-update", "quarantine"],
            Some("finite_and_norm_bound") => &["--on-bad-update", "quarantine", "--update-bound", "1e6"],
            _ => &[],
        };
        let (report, given) = applied(&lab, &updates, &plugins, quarantine);
        if let Some(dropped) = rule["params"].get("dropped") {
            let report: Value = serde_json::from_str(&report).expect("a report");
            assert_eq!(report["left_out"], *dropped, "{name}, {rule_name}");
        }
        let (absolute, relative) =
            (rule["atol_vs_f64"].as_f64().expect("a tolerance"), rule["rtol_vs_f64"].as_f64().unwrap_or(0.0));
        let of_rule =
            expected.iter().filter(|(key, _)| key.starts_with(&format!("{rule_name}/")) && key.contains("/f64/"));
        let mut layers = 0;
        for (key, expected) in of_rule {
            let layer = key.strip_prefix(&format!("{rule_name}/")).unwrap_or(key).replace("f64/", "");
            check(&format!("{name}, {rule_name}, {layer}"), &given[&layer], expected, absolute, relative);
            layers += 1;
        }
        assert!(layers > 0, "{name}, {rule_name} has vectors");
        if let Some(objective) = rule["objective"].as_f64() {
            let ours = mean_distance(&given, &tensors(&updates));
            assert!(ours <= objective * (1.0 + 1e-6), "{name}, {rule_name}: {ours} instead of {objective}");
        }
        compared += 1;
    }
    compared
}

/// What the geometric median minimises.
fn mean_distance(point: &Tensors, updates: &Tensors) -> f64 {
    let of_client = |k: usize| -> Option<f64> {
        let layer = |(name, values): (&String, &Vec<f64>)| -> Option<f64> {
            let client = updates.get(&format!("client/{k}/{name}"))?;
            Some(values.iter().zip(client).map(|(a, b)| (a - b) * (a - b)).sum())
        };
        point.iter().map(layer).sum::<Option<f64>>().map(f64::sqrt)
    };
    let distances: Vec<f64> = (0..).map_while(of_client).collect();
    distances.iter().sum::<f64>() / distances.len() as f64
}

#[test]
fn aggregation_agrees_with_flower_and_scipy() {
    // FedAvg, median, three trimmed means, two Multi-Krums, q-FedAvg, geometric median, clipped mean; two Bulyans.
    assert_eq!(check_case("t5"), 10);
    assert_eq!(check_case("m11"), 12);
}

#[test]
fn clients_that_are_not_finite_or_beyond_the_bound_are_left_out_as_if_they_had_not_come() {
    assert_eq!(check_case("q10"), 6);
}

#[test]
fn server_optimizers_agree_with_flower_over_five_rounds() {
    assert_eq!(check_case("opt5"), 4);
}

/// The flat updates of ByzFL's input, one for each client.
fn byzfl_updates(oracle: &Value) -> Vec<Vec<f64>> {
    let input = tensors(&vectors("b15.in.safetensors"));
    let layers: Vec<&str> = oracle["layers"].as_array().expect("layers").iter().filter_map(Value::as_str).collect();
    let flat =
        |group: &str| layers.iter().flat_map(|layer| input[&format!("{group}/{layer}")].clone()).collect::<Vec<_>>();
    let start = flat("global");
    let update = |k: usize| flat(&format!("client/{k}")).iter().zip(&start).map(|(w, s)| w - s).collect();
    (0..15).map(update).collect()
}

/// Updates of one round as a file for `plugin apply`, with one example each and these attackers.
fn write_updates(lab: &Lab, updates: &[Vec<f64>], attackers: &[i64]) -> PathBuf {
    let bytes: Vec<Vec<u8>> =
        updates.iter().map(|update| update.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()).collect();
    let counts: Vec<u8> = updates.iter().flat_map(|_| 1i64.to_le_bytes()).collect();
    let hostile: Vec<u8> = attackers.iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = |dtype, len, bytes| TensorView::new(dtype, vec![len], bytes).expect("a tensor");
    let mut all = HashMap::from([("num_examples".to_owned(), view(Dtype::I64, updates.len(), &counts[..]))]);
    if !attackers.is_empty() {
        all.insert("attackers".into(), view(Dtype::I64, attackers.len(), &hostile[..]));
    }
    for (k, bytes) in bytes.iter().enumerate() {
        all.insert(format!("delta/0/{k}/u"), view(Dtype::F32, updates[k].len(), &bytes[..]));
    }
    lab.write("updates.safetensors", safetensors::serialize(all, None).expect("a file"))
}

#[test]
fn robust_rules_agree_with_byzfl() {
    let (oracle, expected) = (json("byzfl.json"), tensors(&vectors("byzfl.out.safetensors")));
    let updates = byzfl_updates(&oracle);
    let (lab, mut compared) = (Lab::new(), 0);
    let file = write_updates(&lab, &updates, &[]);
    for rule in oracle["aggregators"].as_array().expect("aggregators") {
        let name = rule["name"].as_str().expect("a name");
        let plugins: &[&str] = match name {
            "mean" => &["fedavg:weights=uniform"],
            "median" => &["median"],
            // 3 of 15 at each end.
            "trmean_f3" => &["trimmed-mean:beta=0.2"],
            "krum_n-f" => &["krum:f=3,neighbours=n-f-1"],
            "centered_clipping" => &["centered-clip:tau=1,iterations=5"],
            "mda" => &["mda:f=3"],
            "meamed" => &["meamed:f=3"],
            "multikrum_n-f" => &["multi-krum:f=3,neighbours=n-f-1"],
            "nnm+trmean_f3" => &["nnm:f=3", "trimmed-mean:beta=0.2"],
            "clip_c1+mean" => &["clip:norm=1", "fedavg:weights=uniform"],
            _ => {
                assert!(NOT_PLAYED_BYZFL.contains(&name), "{name} is neither played nor named as missing");
                continue;
            }
        };
        let plugins: Vec<String> = plugins.iter().map(|&plugin| plugin.to_owned()).collect();
        let (_, given) = applied(&lab, &file, &plugins, &[]);
        check(name, &given["1/u"], &expected[&format!("agg/{name}")], BYZFL_ABSOLUTE, BYZFL_RELATIVE);
        compared += 1;
    }
    assert_eq!(compared, 10);
}

#[test]
fn krum_gives_one_of_the_updates_bit_for_bit_and_multi_krum_of_all_their_uniform_mean() {
    let updates = byzfl_updates(&json("byzfl.json"));
    let lab = Lab::new();
    let file = write_updates(&lab, &updates, &[]);
    let after = |plugin: &str| applied(&lab, &file, &[plugin.to_owned()], &[]).1["1/u"].clone();
    for f in [0, 3, 6] {
        let chosen = after(&format!("krum:f={f}"));
        // The file's start is zero, and the updates in it are these in `f32`.
        assert!(
            updates.iter().any(|update| update.iter().map(|&x| f64::from(x as f32)).eq(chosen.iter().copied())),
            "{f}"
        );
    }
    check("all", &after("multi-krum:f=3,m=15"), &after("fedavg:weights=uniform"), 1e-7, 1e-6);
}

#[test]
fn attacks_agree_with_byzfl() {
    let (oracle, expected) = (json("byzfl.json"), tensors(&vectors("byzfl.out.safetensors")));
    let attackers: Vec<i64> = oracle["attackers"].as_array().expect("ids").iter().filter_map(Value::as_i64).collect();
    let updates = byzfl_updates(&oracle);
    let lab = Lab::new();
    let file = write_updates(&lab, &updates, &attackers);
    for (name, plugin) in [
        ("signflip", "sign-flip:of=honest-mean"),
        ("ipm_tau2", "sign-flip:of=honest-mean,scale=2"),
        ("ipm_tau2", "ipm:epsilon=2"),
        ("alie_tau1.5", "alie:z=1.5"),
    ] {
        let (_, given) = applied(&lab, &file, &[plugin.to_owned(), "fedavg:weights=uniform".into()], &[]);
        // The mean of 15 updates of which all attackers send the same: what it is follows from the honest ones.
        let honest = (0..updates.len()).filter(|&k| !attackers.contains(&(k as i64)));
        let mut sent: Vec<f64> = given["1/u"].iter().map(|mean| mean * updates.len() as f64).collect();
        honest.for_each(|k| sent.iter_mut().zip(&updates[k]).for_each(|(sum, x)| *sum -= x));
        sent.iter_mut().for_each(|sum| *sum /= attackers.len() as f64);
        check(name, &sent, &expected[&format!("attack/{name}")], BYZFL_ABSOLUTE, BYZFL_RELATIVE);
    }
}
