//! What rounds cost, told by `colla-host privacy`'s accountants, and what is not accounted for.

use super::*;
use crate::{
    error::exit_code,
    plugin,
    privacy::{self, epsilon_of_gaussians},
};

const CLIENTS: usize = 40;

fn plugins(specs: &[&str]) -> Vec<Plugin> {
    let load = |spec: &&str| plugin::load(&plugin::parse_spec(spec).unwrap(), &[]).unwrap();
    specs.iter().map(load).collect()
}

fn config(poisson: bool, rate: f64, settings: config::Privacy) -> Config {
    let mut config = Config::default();
    config.federation.fraction_train = rate;
    config.federation.sampling = if poisson { config::Sampling::Poisson } else { config::Sampling::Fixed };
    config.privacy = Some(settings);
    config
}

fn tracked(specs: &[&str], config: &Config) -> Ledger {
    match Accounting::of(&plugins(specs), config, CLIENTS) {
        Some(Accounting::Tracked(ledger)) => ledger,
        Some(Accounting::Untracked(terms)) => panic!("{specs:?}: {terms:?}"),
        None => panic!("{specs:?} have no noise"),
    }
}

/// Leads a ledger through these rounds of the run.
fn led(ledger: &mut Ledger, config: &Config, rounds: std::ops::RangeInclusive<u64>) -> Vec<f64> {
    rounds
        .map(|round| {
            ledger.foresee(&crate::client::sample(&config.federation, config.seed, round, CLIENTS)).unwrap();
            ledger.spend();
            ledger.epsilon()
        })
        .collect()
}

fn of(accountant: Accountant) -> config::Privacy {
    config::Privacy { accountant, ..config::Privacy::default() }
}

#[test]
fn rounds_of_noise_cost_what_the_accountants_say() {
    let specs = ["clip", "dp-gaussian:noise-multiplier=1.3", "fedavg"];
    for (poisson, accountant) in [(true, Accountant::Rdp), (true, Accountant::Pld), (false, Accountant::Rdp)] {
        let config = config(poisson, 0.1, of(accountant));
        let sampling = match poisson {
            true => Sampling::Poisson { rate: 0.1 },
            false => Sampling::Fixed { cohort: 4, population: CLIENTS },
        };
        let expected = (1..=6).map(|rounds| privacy::epsilon(accountant, sampling, 1.3, rounds, 1e-5).unwrap());
        assert_eq!(led(&mut tracked(&specs, &config), &config, 1..=6), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_noisy_count_is_paid_for_as_andrew_and_others_prove() {
    // Noise of 0.25·m clients, m = 4: σ_b = 1. Poisson: z⁻² = z_Δ⁻² + (2σ_b)⁻²; with z = 1.2, z_Δ = (z⁻² −
    // (2σ_b)⁻²)^(−½) = 1.5.
    let specs = ["adaptive-clip:count-noise=0.25", "dp-gaussian:noise-multiplier=1.5"];
    let poisson = config(true, 0.1, config::Privacy::default());
    let expected = privacy::epsilon(Accountant::Rdp, Sampling::Poisson { rate: 0.1 }, 1.2, 5, 1e-5).unwrap();
    let found = led(&mut tracked(&specs, &poisson), &poisson, 1..=5)[4];
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} for {expected}");
    // A client that is replaced moves the count by 1: z⁻² = 1.5⁻² + 1.
    let fixed = config(false, 0.1, config::Privacy::default());
    let sampling = Sampling::Fixed { cohort: 4, population: CLIENTS };
    let z = (1.0f64 / (1.0 / 2.25 + 1.0)).sqrt();
    let expected = privacy::epsilon(Accountant::Rdp, sampling, z, 5, 1e-5).unwrap();
    let found = led(&mut tracked(&specs, &fixed), &fixed, 1..=5)[4];
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} for {expected}");
    // A count without noise tells everything.
    let silent = ["adaptive-clip:count-noise=0", "dp-gaussian"];
    assert_eq!(led(&mut tracked(&silent, &poisson), &poisson, 1..=1), [f64::INFINITY]);
}

#[test]
fn a_tree_costs_its_released_nodes_and_local_noise_the_participations() {
    // Everyone takes part in all rounds. The first four release [1], [1, 2], [3], [1..4]: Σ c² = 1, 5, 6, 22.
    let all = config(true, 1.0, config::Privacy::default());
    let gaussians = |noise, squares| epsilon_of_gaussians(Accountant::Rdp, noise, squares, 1e-5).unwrap();
    let tree = led(&mut tracked(&["clip", "dp-tree:noise-multiplier=5", "fedavg"], &all), &all, 1..=4);
    assert_eq!(tree, [1, 5, 6, 22].map(|squares| gaussians(5.0, squares)));
    // Two updates of norm C are up to 2C apart.
    let local = led(&mut tracked(&["local-dp:noise-multiplier=5", "fedavg"], &all), &all, 1..=3);
    assert_eq!(local, [1, 2, 3].map(|rounds| gaussians(2.5, rounds)));
    let sampled = config(true, 0.1, config::Privacy::default());
    let local = led(&mut tracked(&["local-dp:noise-multiplier=5", "fedavg"], &sampled), &sampled, 1..=9);
    assert!(local[8] < gaussians(2.5, 9), "nobody took part nine times: {local:?}");
}

#[test]
fn a_ledger_that_is_led_through_the_rounds_done_goes_on_as_one_that_never_stopped() {
    for specs in [
        &["clip", "dp-gaussian", "fedavg"][..],
        &["adaptive-clip", "dp-gaussian"],
        &["clip", "dp-tree:restart=5", "fedavg"],
        &["local-dp", "fedavg"],
    ] {
        for poisson in [true, false] {
            let config = config(poisson, 0.1, config::Privacy::default());
            let whole = led(&mut tracked(specs, &config), &config, 1..=12);
            let mut resumed = tracked(specs, &config);
            led(&mut resumed, &config, 1..=7);
            assert_eq!(led(&mut resumed, &config, 8..=12), whole[7..], "{specs:?}");
        }
    }
}

#[test]
fn a_budget_is_spent_before_the_round_that_would_exceed_it() {
    let specs = ["clip", "dp-gaussian", "fedavg"];
    let costs = led(
        &mut tracked(&specs, &config(true, 0.1, config::Privacy::default())),
        &config(true, 0.1, of(Accountant::Rdp)),
        1..=4,
    );
    let config = config(true, 0.1, config::Privacy { epsilon: Some(costs[2]), ..config::Privacy::default() });
    let mut ledger = tracked(&specs, &config);
    for round in 1..=3 {
        ledger.foresee(&[]).unwrap();
        ledger.check().unwrap_or_else(|error| panic!("round {round} is within the budget: {error}"));
        ledger.spend();
    }
    ledger.foresee(&[]).unwrap();
    let error = ledger.check().unwrap_err();
    assert_eq!(exit_code(&error), 9);
    let words = format!("round 4 would bring epsilon to {:.4} at delta 1e-5, above `privacy.epsilon", costs[3]);
    assert!(error.to_string().contains(&words), "{error}");
}

#[test]
fn what_lets_something_past_the_noise_is_not_tracked_and_told() {
    for (specs, words) in [
        (&["power-of-choice", "clip", "dp-gaussian", "fedavg"][..], "`power-of-choice` chooses the cohort"),
        (&["clip", "dp-gaussian", "dp-tree", "fedavg"], "`dp-gaussian` and `dp-tree` both add noise"),
        (&["clip", "dp-gaussian", "fedavg", "fedexp"], "`fedexp` can read of each client what no noise covers"),
        (&["adaptive-clip", "dp-tree"], "the count that `adaptive-clip` releases each round"),
        (&["standardize", "local-dp", "fedavg"], "`standardize` uploads a header"),
        (&["local-dp", "scaffold", "fedavg"], "`scaffold` uploads the vector `delta_c` without noise"),
        (&["local-dp", "q-fedavg"], "`q-fedavg` can read losses of each client"),
    ] {
        let settings = config::Privacy { epsilon: Some(3.0), ..config::Privacy::default() };
        let mut config = config(false, 0.1, settings);
        let Some(Accounting::Untracked(terms)) = Accounting::of(&plugins(specs), &config, CLIENTS) else {
            panic!("{specs:?} is tracked");
        };
        let why = terms.untracked.unwrap();
        assert!(why.contains(words), "{specs:?}: {why}");
        let refused = settle(&plugins(specs), &mut config).unwrap_err();
        assert_eq!(exit_code(&refused), 3);
        assert!(refused.to_string().ends_with(&format!("the budget cannot be kept, because {why}")), "{refused}");
    }
}

#[test]
fn the_section_belongs_to_runs_with_noise_and_the_accountant_to_its_cohorts() {
    let mut quiet = Config::default();
    settle(&plugins(&["clip", "fedavg"]), &mut quiet).unwrap();
    assert_eq!(quiet, Config::default(), "without noise nothing changes");
    assert!(Accounting::of(&plugins(&["clip", "adaptive-clip"]), &quiet, CLIENTS).is_none(), "a count hides nobody");
    settle(&plugins(&["clip", "dp-gaussian", "fedavg"]), &mut quiet).unwrap();
    assert_eq!(quiet.privacy, Some(config::Privacy::default()), "what is used is stored");

    let refused = settle(&plugins(&["clip", "fedavg"]), &mut config(false, 0.1, of(Accountant::Rdp))).unwrap_err();
    assert!(refused.to_string().contains("config `[privacy]` — no plugin of this run adds noise"), "{refused}");
    let fixed = |specs| settle(&plugins(specs), &mut config(false, 0.1, of(Accountant::Pld)));
    let refused = fixed(&["clip", "dp-gaussian", "fedavg"]).unwrap_err();
    assert!(
        format!("{refused:#}")
            .contains("config `privacy.accountant = \"pld\"`: no pair of data sets is proven to be the worst"),
        "{refused:#}"
    );
    fixed(&["clip", "dp-tree", "fedavg"]).unwrap();
    fixed(&["local-dp", "fedavg"]).unwrap();
}
