//! Reports drawn from made-up runs. Each is also left in `target/report-samples/` for people to look at.

use super::*;
use crate::{
    plugin::Role,
    random::{Purpose, Stream},
    record::{PluginRecord, PrivacyTerms, Spread},
    train::Layout,
};
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path};

fn plugin(name: &str, kinds: &[Role], parameters: &[(&str, serde_json::Value)]) -> PluginRecord {
    PluginRecord {
        name: name.into(),
        version: "1.0.0".into(),
        source: "shipped".into(),
        form: "wasm".into(),
        blake3: blake3::hash(name.as_bytes()).to_hex().to_string(),
        kinds: kinds.to_vec(),
        parameters: parameters.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
    }
}

fn info(num_clients: usize, rounds: u64, class_counts: Vec<Vec<u32>>) -> RunInfo {
    RunInfo {
        config: crate::config::Config::default(),
        data: "optdigits".into(),
        model: "mlp [64]".into(),
        num_weights: 4810,
        num_clients,
        rounds,
        threads: 2,
        device: None,
        plugins: vec![
            plugin("fedprox", &[Role::Client], &[("mu", json!(0.1))]),
            plugin("topk", &[Role::Compress], &[("ratio", json!(0.01)), ("error-feedback", json!(true))]),
        ],
        privacy: None,
        notes: Vec::new(),
        class_counts,
    }
}

fn counts(num_clients: usize, classes: usize, alpha: f64, rows: f64) -> Vec<Vec<u32>> {
    let spread = |class| Stream::new(1, Purpose::Partition, class, 0).dirichlet(&vec![alpha; num_clients]);
    let shares: Vec<Vec<f64>> = (0..classes as u64).map(spread).collect();
    (0..num_clients).map(|client| shares.iter().map(|class| (class[client] * rows) as u32).collect()).collect()
}

fn rounds(last: u64) -> Vec<RoundRecord> {
    let mut noise = Stream::new(2, Purpose::Cohort, 0, 0);
    let record = |round: u64| {
        let progress = 1.0 - libm::exp(-(round as f64) / 7.0);
        let accuracy = 0.09 + 0.83 * progress + 0.015 * noise.normal() * progress;
        let mean = accuracy - 0.02;
        RoundRecord {
            round,
            seconds: 0.4,
            test_accuracy: Some(accuracy),
            test_loss: Some(2.3 - 1.95 * progress + 0.03 * noise.normal()),
            train_loss: (round > 0).then_some(1.4 - 1.1 * progress + 0.06 * noise.normal()),
            clients: 10,
            upload_bytes: 192_400,
            download_bytes: 192_400,
            client_accuracy: Some(Spread {
                mean,
                sd: 0.1,
                min: 0.0,
                p10: (mean - 0.12).max(0.0),
                median: mean,
                p90: mean + 0.06,
                max: 1.0,
            }),
            ..Default::default()
        }
    };
    (0..=last).map(record).collect()
}

fn outcome(num_clients: u64) -> Outcome {
    let mut noise = Stream::new(3, Purpose::Cohort, 0, 0);
    Outcome {
        complete: true,
        weights: vec![0.5; 4],
        layout: Layout::default(),
        client_accuracy: (0..num_clients)
            .map(|client| (client, (0.86 + 0.1 * noise.normal()).clamp(0.0, 1.0)))
            .collect(),
        personal_accuracy: Vec::new(),
        client_rows: "training rows",
        clients_trained: 500,
        train_seconds: 11.0,
        kernel: "flex, avx512".into(),
    }
}

#[track_caller]
fn draw(name: &str, info: &RunInfo, rounds: &[RoundRecord], outcome: &Outcome) -> String {
    let summary = Summary::new(Some(info), rounds, Some(outcome), 21.4);
    let config = crate::config::Config::default().to_toml().unwrap();
    let page = html(&Run { info, rounds, outcome, summary: &summary, config: &config }).unwrap();
    assert!(!page.contains("<script") && !page.contains("NaN") && !page.contains(" src="), "{name}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-samples");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.html")), &page).unwrap();
    page
}

#[test]
fn a_usual_run_has_every_section() {
    let page = draw("usual", &info(100, 50, counts(100, 10, 0.1, 380.0)), &rounds(50), &outcome(100));
    assert_eq!(page.matches("<svg ").count(), 4);
    for text in
        ["Last 10 rounds", "on its own training rows", "fedprox 1.0.0", "mu = 0.1", "[federation]", "10th to 90th"]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn personal_models_are_drawn_over_the_common_one_with_both_means() {
    let common = outcome(4);
    let mut outcome = Outcome { client_accuracy: vec![(0, 0.5), (1, 0.25), (2, 0.75), (3, 0.5)], ..common };
    outcome.personal_accuracy = vec![(0, 1.0), (1, 0.75), (2, 0.75), (3, 1.0)];
    let mut rounds = rounds(3);
    let both = rounds.len() - 1;
    rounds[both].personal_accuracy = Some(Spread { mean: 0.875, sd: 0.125, ..Spread::default() });
    let page = draw("personal", &info(4, 3, counts(4, 10, 0.5, 300.0)), &rounds, &outcome);
    assert!(page.contains("mean over clients 50.00 %"), "the common model's");
    assert!(page.contains("personal models, mean 87.50 %"));
    assert!(page.contains("<dt>Personal models</dt><dd>87.50 %</dd>"));
    assert!(!draw("impersonal", &info(4, 3, Vec::new()), &rounds[..2], &outcome_without(&outcome)).contains("ersonal"));
}

fn outcome_without(outcome: &Outcome) -> Outcome {
    Outcome { personal_accuracy: Vec::new(), ..outcome.clone() }
}

#[test]
fn epsilon_is_shown_with_what_it_means_or_why_there_is_none() {
    let terms = PrivacyTerms {
        mechanism: "gaussian",
        noise: 1.0,
        accountant: "rdp",
        delta: 1e-6,
        budget: None,
        sampling: "poisson",
        adjacency: "add-or-remove-one",
        statement: "the weights, for a client that comes or goes".into(),
        untracked: None,
    };
    let private = |terms| RunInfo { privacy: Some(terms), ..info(4, 3, Vec::new()) };
    let mut records = rounds(3);
    records.iter_mut().for_each(|record| record.epsilon = Some(2.5));
    let page = draw("private", &private(terms.clone()), &records, &outcome(4));
    assert!(
        page.contains("<dt>Epsilon</dt><dd>2.500</dd><p>delta 1e-6; the weights, for a client that comes or goes</p>")
    );
    let untracked = PrivacyTerms { untracked: Some("`x` reads norms".into()), ..terms };
    let page = draw("untracked", &private(untracked), &rounds(3), &outcome(4));
    assert!(page.contains("<dt>Epsilon</dt><dd>–</dd><p>not tracked: `x` reads norms</p>"));
    assert!(!draw("public", &info(4, 3, Vec::new()), &rounds(3), &outcome(4)).contains("psilon"));
}

#[test]
fn runs_with_stragglers_show_how_many_arrived_and_how_many_were_late() {
    let mut records = rounds(3);
    records[2..].iter_mut().for_each(|record| (record.clients, record.stragglers) = (1, Some(9)));
    let page = draw("stragglers", &info(10, 3, Vec::new()), &records, &outcome(10));
    assert!(page.contains("<th>Clients</th><th>Stragglers</th>"));
    assert_eq!((page.matches("<td>1</td><td>9</td>").count(), page.matches("<td>10</td><td>–</td>").count()), (2, 2));
    assert!(!draw("punctual", &info(10, 3, Vec::new()), &rounds(3), &outcome(10)).contains("Stragglers"));
}

#[test]
fn thousands_of_clients_are_counted_in_bins_and_the_first_are_shown() {
    let page = draw("many", &info(5000, 500, counts(5000, 62, 1.0, 20_000.0)), &rounds(500), &outcome(5000));
    assert!(page.contains("the first 300 of 5,000 clients"));
    assert!(page.contains("</i>5,000 clients</span>"));
    assert!(page.len() < 4_000_000, "{} bytes", page.len());
}

#[test]
fn one_client_and_one_round_make_a_page() {
    let page = draw("one", &info(1, 1, counts(1, 2, 1.0, 50.0)), &rounds(1), &outcome(1));
    assert!(page.contains("1 client,") && page.contains("Last 1 round<") && page.contains(", 1 round,"));
}

#[test]
fn no_rounds_and_no_measurements_are_said_in_words() {
    let page = draw("empty", &info(10, 0, Vec::new()), &[], &outcome(0));
    for text in ["No round was evaluated", "No loss was measured", "own rows were not evaluated", "too many clients"] {
        assert!(page.contains(text), "{text}");
    }
    let page = draw("round-zero", &info(10, 0, Vec::new()), &rounds(0), &outcome(0));
    assert!(page.matches("<circle").count() == 2, "round 0 is a dot in both charts");
}

#[test]
fn numbers_that_are_not_finite_break_the_line_and_nothing_else() {
    let mut records = rounds(20);
    records[7].test_accuracy = Some(f64::NAN);
    records[7].test_loss = Some(f64::INFINITY);
    records[9].train_loss = Some(f64::NAN);
    let mut outcome = outcome(20);
    outcome.client_accuracy[3].1 = f64::NAN;
    let page = draw("not-finite", &info(20, 20, counts(20, 10, 0.5, 300.0)), &records, &outcome);
    assert_eq!(page.matches("<polyline fill=\"none\" opacity=\"1\" stroke=\"#2563EB\"").count(), 4);
}

#[test]
fn what_comes_from_outside_is_escaped() {
    let mut info = info(3, 1, Vec::new());
    info.data = "<b>\"data\" & 'more'</b>".into();
    info.plugins[0].name = "<img>".into();
    info.plugins[0].parameters = BTreeMap::from([("<i>".into(), json!("</td>"))]);
    let page = draw("escaped", &info, &rounds(1), &outcome(3));
    assert!(page.contains("&lt;b&gt;&quot;data&quot; &amp; &#39;more&#39;&lt;/b&gt;"));
    assert!(!page.contains("<img>") && !page.contains("<b>") && !page.contains("</td>\""));
}
