//! Federations whose rounds have closed forms: fixed points on unlike quadratics, what error feedback owes to clients that
//! missed rounds, what one client can do to a round under a bound.
//!
//! Client k minimises ½·Σⱼ bₖⱼ·(wⱼ − cₖⱼ)², so τ steps at the rate η take w to c + (1 − ηb)^τ·(w − c) in each coordinate: it
//! moves by −q·(w − c) with q = 1 − (1 − ηb)^τ. A mean with the weights a of such updates rests at Σ aqc / Σ aq. Everything
//! below drives the real rounds, with a model of a user's own.

use super::support::Last;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor};
use colla::client::sample;
use colla::config::{self, BatchSize, Cache, ClientEvaluation, Config, PartitionKind, Sampling};
use colla::data::Dataset;
use colla::run::Experiment;
use colla::train::{BurnModel, LocalModel, burn};
use std::array::from_fn;
use std::sync::Arc;

/// Coordinates of w, each an output for the host, which counts classes.
const D: usize = 3;

/// The point w itself, at the origin before round 1.
#[derive(Module, Debug)]
struct Point {
    w: Param<Tensor<1>>,
}

impl Point {
    fn new(device: &Device) -> Self {
        Point { w: Initializer::Zeros.init([D], device) }
    }
}

impl LocalModel for Point {
    /// √b·(w − c) for rows of √b and c.
    fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let (roots, centres) = (rows.clone().narrow(1, 0, D), rows.narrow(1, D, D));
        (self.w.val().reshape([1, D]) - centres) * roots
    }

    fn loss(&self, logits: Tensor<2>, _labels: Tensor<1, Int>) -> Option<Tensor<1>> {
        let [rows, _] = logits.dims();
        Some(logits.square().sum_dim(1).reshape([rows]) * 0.5)
    }
}

/// One client's objective, and how many rows repeat it.
#[derive(Clone, Copy)]
struct Bowl {
    /// √b, chosen so that b is exact.
    roots: [f32; D],
    centre: [f32; D],
    rows: usize,
}

impl Bowl {
    fn curvature(&self, j: usize) -> f64 {
        f64::from(self.roots[j]).powi(2)
    }

    /// q of `steps` steps in coordinate j.
    fn moved(&self, j: usize, rate: f64, steps: usize) -> f64 {
        1.0 - (1.0 - rate * self.curvature(j)).powi(steps as i32)
    }
}

/// Three clients that agree about nothing: where one is steep, another is flat.
const UNLIKE: [Bowl; 3] = [
    Bowl { roots: [0.5, 2.0, 1.5], centre: [-1.0, 3.0, 1.0], rows: 3 },
    Bowl { roots: [1.0, 1.0, 0.5], centre: [4.0, -2.0, -1.5], rows: 1 },
    Bowl { roots: [2.0, 0.5, 1.0], centre: [0.5, 1.0, 2.0], rows: 2 },
];

/// Where a mean rests in which each client pulls with this weight.
fn rest(clients: &[Bowl], pull: impl Fn(usize, usize) -> f64) -> [f64; D] {
    from_fn(|j| {
        let pulls: Vec<f64> = (0..clients.len()).map(|k| pull(k, j)).collect();
        let pulled = pulls.iter().zip(clients).map(|(pull, client)| pull * f64::from(client.centre[j]));
        pulled.sum::<f64>() / pulls.iter().sum::<f64>()
    })
}

/// The minimum of the uniform mean of the objectives.
fn uniform_optimum() -> [f64; D] {
    rest(&UNLIKE, |k, j| UNLIKE[k].curvature(j))
}

/// Everyone takes part, in one batch of all rows, without evaluation: the settings that a case then changes.
fn settings(rounds: usize, rate: f64, steps: usize) -> Config {
    let mut config = Config::default();
    config.partition.kind = PartitionKind::Natural;
    config.partition.cache = Cache::Off;
    config.federation.fraction_train = 1.0;
    config.federation.num_server_rounds = rounds;
    config.train.learning_rate = rate;
    config.train.batch_size = BatchSize::Full;
    config.train.local_steps = Some(steps);
    config.evaluate.clients = ClientEvaluation::Never;
    config
}

fn plugin(name: &str, parameters: &[(&str, toml::Value)]) -> config::Plugin {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    config::Plugin { parameters, ..config::Plugin::shipped(name) }
}

/// w after all rounds.
#[track_caller]
fn run(mut config: Config, clients: &[Bowl], plugins: Vec<config::Plugin>) -> [f32; D] {
    let one = |client: &Bowl| [client.roots, client.centre].concat();
    let all: Vec<f32> = clients.iter().flat_map(|client| one(client).repeat(client.rows)).collect();
    let of: Vec<u32> = clients.iter().zip(0..).flat_map(|(client, id)| vec![id; client.rows]).collect();
    let names = (0..clients.len()).map(|id| format!("bowl {id}")).collect();
    let labels = vec![0; of.len()];
    let data = Dataset::from_arrays("bowls", vec![2 * D], D, (all, labels), (one(&clients[0]), vec![0]))
        .and_then(|data| data.with_clients(names, of, None))
        .expect("the data");
    config.plugins = plugins;
    let model = BurnModel::new(Point::new).expect("the model");
    let mut last = Last::default();
    Experiment::new(config, Arc::new(data), Arc::new(model)).expect("an experiment").run(&mut last).expect("a run");
    last.0.expect("an outcome").weights.try_into().expect("one weight for each coordinate")
}

fn apart(a: [f64; D], b: [f64; D]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[track_caller]
fn rests_at(found: [f32; D], expected: [f64; D], what: &str) {
    let off = apart(found.map(f64::from), expected);
    assert!(off < 2e-5, "{what}: {found:?} instead of {expected:?}, {off} apart");
}

#[test]
fn fedavg_rests_where_the_closed_form_says_and_not_at_the_optimum() {
    let uniform = plugin("fedavg", &[("weights", "uniform".into())]);
    for steps in [1, 5] {
        for (plugins, counts) in [(vec![], true), (vec![uniform.clone()], false)] {
            let weight = |k: usize| if counts { UNLIKE[k].rows as f64 } else { 1.0 };
            let biased = rest(&UNLIKE, |k, j| weight(k) * UNLIKE[k].moved(j, 0.1, steps));
            let optimum = rest(&UNLIKE, |k, j| weight(k) * UNLIKE[k].curvature(j));
            rests_at(
                run(settings(200 / steps + 40, 0.1, steps), &UNLIKE, plugins),
                biased,
                &format!("{steps} steps, {counts}"),
            );
            // With one step FedAvg is gradient descent.
            let bias = apart(biased, optimum);
            assert!(if steps == 1 { bias < 1e-12 } else { bias > 0.05 }, "{steps} steps: {bias}");
        }
    }
}

#[test]
fn scaffold_and_feddyn_rest_at_the_optimum_of_the_uniform_mean() {
    for (what, method) in [
        ("scaffold", plugin("scaffold", &[])),
        ("scaffold, half a step", plugin("scaffold", &[("server-learning-rate", 0.5.into())])),
        ("feddyn", plugin("feddyn", &[("alpha", 1.0.into())])),
    ] {
        rests_at(run(settings(150, 0.1, 5), &UNLIKE, vec![method]), uniform_optimum(), what);
    }
}

/// Epochs of single rows: 3, 1 and 2 rows make 6, 2 and 4 steps.
#[test]
fn fednova_is_biased_as_the_closed_form_says_and_its_bias_vanishes_with_the_learning_rate_alone() {
    let steps = |k: usize| 2 * UNLIKE[k].rows;
    let optimum = rest(&UNLIKE, |k, j| UNLIKE[k].rows as f64 * UNLIKE[k].curvature(j));
    let found = [(0.05, 50), (0.005, 380)].map(|(rate, rounds)| {
        let mut config = settings(rounds, rate, 1);
        config.train.local_steps = None;
        config.train.local_epochs = 2;
        config.train.batch_size = BatchSize::Rows(1);
        let moved = |k: usize, j: usize| UNLIKE[k].moved(j, rate, steps(k));
        let normalised = rest(&UNLIKE, |k, j| UNLIKE[k].rows as f64 / steps(k) as f64 * moved(k, j));
        rests_at(run(config.clone(), &UNLIKE, vec![plugin("fednova", &[])]), normalised, &format!("rate {rate}"));
        let plain = rest(&UNLIKE, |k, j| UNLIKE[k].rows as f64 * moved(k, j));
        rests_at(run(config, &UNLIKE, vec![]), plain, &format!("fedavg, rate {rate}"));
        [apart(normalised, optimum), apart(plain, optimum)]
    });
    let [[coarse, _], [fine, of_fedavg]] = found;
    assert!((8.0..14.0).contains(&(coarse / fine)), "ten times the rate, about ten times the bias: {coarse}, {fine}");
    assert!(of_fedavg > 10.0 * fine, "FedAvg's stays: {of_fedavg} beside {fine}");
}

/// One step at the rate 1 with b = 1 goes to the centre, so a client's update is c − w. Centres are dyadic and cohorts have two
/// clients, so every sum is exact, and so is the comparison.
#[test]
fn with_error_feedback_what_is_sent_telescopes_over_rounds_that_a_client_missed() {
    let centres: [[f32; D]; 5] =
        [[8.0, 1.0, -2.0], [-4.0, 2.0, 1.0], [0.5, -3.0, 4.0], [2.0, 2.5, -0.5], [-1.0, -6.0, 3.0]];
    let clients = centres.map(|centre| Bowl { roots: [1.0; D], centre, rows: 1 });
    let mut config = settings(11, 1.0, 1);
    config.federation.fraction_train = 0.4;
    // One of three values is sent.
    let send = |feedback: bool| {
        let feedback = ("error-feedback", feedback.into());
        vec![plugin("topk", &[("ratio", 0.5.into()), feedback]), plugin("fedavg", &[("weights", "uniform".into())])]
    };
    let (mut w, mut owed, mut rounds_of) = ([0.0f64; D], [[0.0f64; D]; 5], [0; 5]);
    let (mut updates, mut sent) = ([0.0f64; D], [0.0f64; D]);
    for round in 1..=11 {
        let mut mean = [0.0; D];
        for client in sample(&config.federation, config.seed, round, 5) {
            let k = client.index();
            let update: [f64; D] = from_fn(|j| f64::from(centres[k][j]) - w[j]);
            let mut left: [f64; D] = from_fn(|j| owed[k][j] + update[j]);
            let largest = (1..D).fold(0, |best, j| if left[j].abs() > left[best].abs() { j } else { best });
            mean[largest] += left[largest] / 2.0;
            sent[largest] += left[largest];
            left[largest] = 0.0;
            owed[k] = left;
            rounds_of[k] += 1;
            updates.iter_mut().zip(update).for_each(|(sum, update)| *sum += update);
        }
        w.iter_mut().zip(mean).for_each(|(w, mean)| *w += mean);
    }
    assert!(rounds_of.iter().any(|&rounds| (1..11).contains(&rounds)), "somebody missed rounds: {rounds_of:?}");
    for j in 0..D {
        assert_eq!(sent[j] + owed.iter().map(|owed| owed[j]).sum::<f64>(), updates[j], "nothing is lost");
    }
    assert_eq!(run(config.clone(), &clients, send(true)).map(f64::from), w);
    assert_ne!(run(config, &clients, send(false)).map(f64::from), w);
}

/// A bound of S on each update of m clients: replacing one moves their mean by at most 2S/m, and adding or removing one
/// moves a sum with the fixed denominator qN by at most S/(qN). Both are reached.
#[test]
fn no_client_moves_a_bounded_round_further_than_the_sensitivity_that_noise_is_scaled_to() {
    let [a, b, c] = UNLIKE;
    let crowd = |last: [f32; D]| [a, b, c, Bowl { roots: [1.0; D], centre: last, rows: 1 }];
    let (clip, noise) =
        (plugin("clip", &[("norm", 0.25.into())]), plugin("dp-gaussian", &[("noise-multiplier", 0.0.into())]));
    let after = |sampling: Sampling, last: [f32; D]| {
        let mut config = settings(1, 0.5, 1);
        config.federation.sampling = sampling;
        // Clients may train as far as they like before the clip.
        config.federation.update_bound = 1e5;
        run(config, &crowd(last), vec![clip.clone(), noise.clone()])
    };
    let distance =
        |a: [f32; D], b: [f32; D]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    // A client at rest sends zeros, which under a fixed denominator is as if it were not there.
    let (east, west, rest) = ([1e3, 0.0, 0.0], [-1e3, 0.0, 0.0], [0.0; D]);
    for (sampling, one, other, sensitivity) in
        [(Sampling::Fixed, east, west, 2.0 * 0.25 / 4.0), (Sampling::Poisson, east, rest, 0.25 / 4.0)]
    {
        let other = after(sampling, other);
        let moved = distance(after(sampling, one), other);
        assert!((moved / sensitivity - 1.0).abs() < 1e-5, "{sampling:?}: {moved} for {sensitivity}");
        for last in [[0.01, 0.02, 0.03], [0.3, -1e5, 0.0]] {
            let moved = distance(after(sampling, last), other);
            assert!(moved <= sensitivity * (1.0 + 1e-5), "{sampling:?}, {last:?}: {moved}");
        }
    }
}

/// With v₀ = 0 and β₁ = 0, √v is √(1 − β₂)·|Δ| in round 1: as τ goes to 0, every coordinate moves by η/√(1 − β₂) along the
/// sign of the mean update, for Adam and Yogi alike.
#[test]
fn the_first_steps_of_fedadam_and_fedyogi_follow_the_sign_of_the_mean_update() {
    let mean = run(settings(1, 0.1, 2), &UNLIKE, vec![]);
    assert!(mean.iter().all(|&moved| moved > 0.0), "{mean:?}");
    let mirrored = UNLIKE.map(|bowl| Bowl { centre: [bowl.centre[0], -bowl.centre[1], bowl.centre[2]], ..bowl });
    for name in ["fedadam", "fedyogi"] {
        let parameters =
            [("server-learning-rate", 0.25), ("beta1", 0.0), ("beta2", 0.75), ("tau", 1e-12), ("initial-v", 0.0)];
        let step = plugin(name, &parameters.map(|(name, value)| (name, value.into())));
        rests_at(run(settings(1, 0.1, 2), &UNLIKE, vec![step.clone()]), [0.5, 0.5, 0.5], name);
        rests_at(run(settings(1, 0.1, 2), &mirrored, vec![step]), [0.5, -0.5, 0.5], name);
    }
}

/// The received weights are what a first step starts from, so a proximal term has no gradient there, however strong.
#[test]
fn one_local_step_of_fedprox_is_fedavgs_and_more_are_the_closed_form_of_the_steeper_bowl() {
    let prox = |mu: f64| vec![plugin("fedprox", &[("mu", mu.into())])];
    assert_eq!(run(settings(7, 0.1, 1), &UNLIKE, prox(5.0)), run(settings(7, 0.1, 1), &UNLIKE, vec![]));
    // From w, τ steps on b and μ go to the minimum (bc + μw)/(b + μ) by the share 1 − (1 − η(b + μ))^τ.
    let pull = |k: usize, j: usize| {
        let (b, mu) = (UNLIKE[k].curvature(j), 2.0);
        let share = 1.0 - (1.0 - 0.1 * (b + mu)).powi(5);
        UNLIKE[k].rows as f64 * share * b / (b + mu)
    };
    rests_at(run(settings(100, 0.1, 5), &UNLIKE, prox(2.0)), rest(&UNLIKE, pull), "fedprox");
}

/// What the closed forms above rest on.
#[test]
fn one_client_alone_takes_the_steps_of_the_closed_form() {
    let [bowl, ..] = UNLIKE;
    let expected = from_fn(|j| bowl.moved(j, 0.1, 5) * f64::from(bowl.centre[j]));
    rests_at(run(settings(1, 0.1, 5), &[bowl], vec![]), expected, "five steps");
}
