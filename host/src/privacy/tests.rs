//! Laws, closed forms, and the numbers of dp-accounting (`tests/vectors/oracles/dp_epsilon.json`).

use super::{normal::log_upper_tail, *};
use crate::error::exit_code;
use libm::exp;
use serde_json::Value;

const DELTA: f64 = 1e-5;

fn poisson(rate: f64) -> Sampling {
    Sampling::Poisson { rate }
}

fn rdp(sampling: Sampling, noise: f64, rounds: u64) -> f64 {
    epsilon(Accountant::Rdp, sampling, noise, rounds, DELTA).unwrap()
}

fn pld(rate: f64, noise: f64, rounds: u64) -> f64 {
    epsilon(Accountant::Pld, poisson(rate), noise, rounds, DELTA).unwrap()
}

/// The Gaussian mechanism's smallest ε: δ(ε) = Φ(1/2σ − εσ) − e^ε·Φ(−1/2σ − εσ), solved by bisection
/// (arXiv:1805.06530).
fn analytic_gaussian(sigma: f64) -> f64 {
    let phi = |x: f64| log_upper_tail(-x);
    let delta =
        |epsilon: f64| exp(phi(0.5 / sigma - epsilon * sigma)) - exp(epsilon + phi(-0.5 / sigma - epsilon * sigma));
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if delta(middle) > DELTA { low = middle } else { high = middle }
    }
    high
}

#[test]
fn every_row_of_the_oracle_holds_within_two_percent_in_each_of_its_columns() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oracles/dp_epsilon.json");
    let oracle: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let orders: Vec<f64> = serde_json::from_value(oracle["rdp_orders_default"].clone()).unwrap();
    assert_eq!(rdp::orders().collect::<Vec<_>>(), orders);
    let mut compared = 0;
    for row in oracle["rows"].as_array().unwrap() {
        let number = |name: &str| row[name].as_f64().unwrap();
        let (noise, q, delta) = (number("noise_multiplier"), number("q"), number("delta"));
        let rounds = row["rounds"].as_u64().unwrap();
        // The row without noise names neither.
        let whole = |name: &str, default: f64| row[name].as_f64().unwrap_or(default) as usize;
        let fixed = Sampling::Fixed { cohort: whole("cohort", q * 1e4), population: whole("population", 1e4) };
        let columns = [
            ("rdp_poisson", Accountant::Rdp, poisson(q)),
            ("pld_poisson", Accountant::Pld, poisson(q)),
            ("rdp_wor", Accountant::Rdp, fixed),
        ];
        for (column, accountant, sampling) in columns {
            if row.get(column).is_none() {
                continue;
            }
            let found = epsilon(accountant, sampling, noise, rounds, delta).unwrap();
            // Null stands for infinity.
            let holds = match row[column].as_f64() {
                Some(expected) => (found / expected - 1.0).abs() < 0.02,
                None => found == f64::INFINITY,
            };
            assert!(holds, "{column} of z {noise}, q {q}, {rounds} rounds: {found} for {}", row[column]);
            compared += 1;
        }
    }
    assert_eq!(compared, 61 * 2 + 57, "every column of every row was compared");
}

#[test]
fn epsilon_grows_with_rounds_and_rate_and_falls_with_noise() {
    let rises = |values: Vec<f64>| assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{values:?}");
    let answers: [&dyn Fn(f64, f64, u64) -> f64; 3] =
        [&|q, z, t| rdp(poisson(q), z, t), &|q, z, t| pld(q, z, t), &|q, z, t| {
            rdp(Sampling::Fixed { cohort: (q * 1000.0) as usize, population: 1000 }, z, t)
        }];
    for answer in answers {
        rises([1, 2, 10, 100, 1000].map(|t| answer(0.02, 1.1, t)).to_vec());
        rises([0.005, 0.02, 0.1, 0.4, 1.0].map(|q| answer(q, 1.1, 50)).to_vec());
        rises([8.0, 3.0, 1.5, 1.0, 0.7].map(|z| answer(0.05, z, 50)).to_vec());
    }
}

#[test]
fn without_sampling_the_loss_distribution_is_the_analytic_gaussian() {
    for sigma in [0.7, 1.0, 4.0, 20.0] {
        let (found, expected) = (pld(1.0, sigma, 1), analytic_gaussian(sigma));
        assert!(found >= expected && found < expected * 1.0005, "sigma {sigma}: {found} for {expected}");
    }
}

#[test]
fn rounds_without_sampling_are_one_round_with_less_noise() {
    for (noise, rounds) in [(4.0, 10u64), (20.0, 500), (3.0, 100)] {
        let once = noise / (rounds as f64).sqrt();
        let (found, expected) = (pld(1.0, noise, rounds), analytic_gaussian(once));
        assert!(found >= expected && found < expected * 1.0005, "{rounds} of {noise}: {found} for {expected}");
        assert!((rdp(poisson(1.0), noise, rounds) / rdp(poisson(1.0), once, 1) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_loss_distribution_is_never_looser_than_renyi() {
    for q in [0.001, 0.03, 0.3, 1.0] {
        for noise in [0.6, 1.0, 2.5, 10.0] {
            for rounds in [1, 30, 700] {
                let (tight, loose) = (pld(q, noise, rounds), rdp(poisson(q), noise, rounds));
                assert!(tight <= loose, "q {q}, noise {noise}, {rounds} rounds: {tight} > {loose}");
            }
        }
    }
}

#[test]
fn a_cohort_of_everyone_is_no_sampling_and_fewer_never_cost_more() {
    let of = |cohort| rdp(Sampling::Fixed { cohort, population: 100 }, 1.0, 10);
    assert_eq!(of(100), rdp(poisson(1.0), 1.0, 10));
    assert!((1..100).all(|cohort| of(cohort) <= of(100)));
}

#[test]
fn no_noise_is_infinite_and_no_round_is_free() {
    for (accountant, sampling) in [
        (Accountant::Rdp, poisson(0.1)),
        (Accountant::Pld, poisson(0.1)),
        (Accountant::Rdp, Sampling::Fixed { cohort: 3, population: 30 }),
    ] {
        assert_eq!(epsilon(accountant, sampling, 0.0, 5, DELTA).unwrap(), f64::INFINITY);
        assert_eq!(epsilon(accountant, sampling, 0.01, 5, DELTA).unwrap().is_finite(), accountant == Accountant::Rdp);
        assert_eq!(epsilon(accountant, sampling, 1.0, 0, DELTA).unwrap(), 0.0);
    }
}

#[test]
fn the_noise_for_a_target_reaches_it_and_hardly_less_noise_does_not() {
    let fixed = Sampling::Fixed { cohort: 10, population: 1000 };
    for (accountant, sampling, target) in [
        (Accountant::Rdp, poisson(0.01), 2.0),
        (Accountant::Rdp, poisson(0.01), 0.05),
        (Accountant::Rdp, fixed, 8.0),
        (Accountant::Pld, poisson(0.01), 2.0),
        (Accountant::Pld, poisson(0.2), 50.0),
    ] {
        let found = noise_multiplier(accountant, sampling, target, 200, DELTA).unwrap();
        let with = |noise| epsilon(accountant, sampling, noise, 200, DELTA).unwrap();
        assert!(with(found) <= target, "{accountant:?}, {sampling:?}: {found} gives {}", with(found));
        assert!(with(found * 0.9998) > target, "{accountant:?}, {sampling:?}: {found} is more than it takes");
    }
    // Half of 1.0 and less again: still enough for a huge ε, and the search ends.
    assert_eq!(noise_multiplier(Accountant::Rdp, poisson(1.0), 1e9, 1, DELTA).unwrap(), LEAST_MULTIPLIER);
}

#[test]
fn what_has_no_answer_is_refused_with_what_to_do() {
    let refused = |accountant, sampling, noise, rounds, delta, words: &str| {
        let error = epsilon(accountant, sampling, noise, rounds, delta).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(exit_code(&error), 3);
    };
    let fixed = Sampling::Fixed { cohort: 10, population: 1000 };
    refused(Accountant::Pld, fixed, 1.0, 1, DELTA, "use the accountant `rdp`, or Poisson cohorts");
    refused(Accountant::Pld, poisson(0.1), 1.0, 1, 1e-13, "a delta of 1e-13 over 1 rounds is too small");
    let unreachable = noise_multiplier(Accountant::Rdp, poisson(1.0), 1e-9, 1_000_000, 1e-12).unwrap_err();
    let words = "no noise multiplier up to 16777216 gives an epsilon of 1e-9 with a delta of 1e-12";
    assert!(unreachable.to_string().contains(words), "{unreachable}");
}

#[test]
fn infinity_is_a_word_in_json() {
    #[derive(Serialize)]
    struct Answer {
        #[serde(serialize_with = "serialize_epsilon")]
        epsilon: f64,
    }
    assert_eq!(serde_json::to_string(&Answer { epsilon: f64::INFINITY }).unwrap(), r#"{"epsilon":"inf"}"#);
    assert_eq!(serde_json::to_string(&Answer { epsilon: 1.5 }).unwrap(), r#"{"epsilon":1.5}"#);
}
