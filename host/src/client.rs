//! Virtual clients: who takes part in a round, and the little that is kept of each between rounds.
//!
//! Where in the flow: between the partition and the schedule. A client is its rows, what plugins keep of it
//! and a seed; a million of them cost nothing until they train. What it never does: hold a model or data.

mod room;
mod states;
mod store;
pub mod stragglers;

use crate::{
    config::{Federation, Sampling},
    random::{Purpose, Stream},
};

pub use room::WorstCase;
pub use states::{ClientStates, SlotId};

/// The server where it plays a client's part: on its own data, and as the sender of the weights. No client of a partition
/// has this id; with 1 more, as streams are keyed, it still fits their 32 bits.
pub const SERVER: ClientId = ClientId(u32::MAX - 1);

/// Identity of a virtual client: its position in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == SERVER { f.write_str("of the server") } else { self.0.fmt(f) }
    }
}

/// Clients of a fixed-size cohort: `max(1, ⌊C·K + 10⁻⁹⌋)` of `num_clients`.
pub fn cohort_size(fraction: f64, num_clients: usize) -> usize {
    ((fraction * num_clients as f64 + 1e-9) as usize).clamp(1, num_clients)
}

/// More clients than a round will have: the mean of Poisson cohorts plus six standard deviations.
pub fn largest_cohort(config: &Federation, num_clients: usize) -> usize {
    let (q, n) = (config.fraction_train, num_clients as f64);
    match config.sampling {
        Sampling::Fixed => cohort_size(q, num_clients),
        Sampling::Poisson => ((q * n + 6.0 * (n * q * (1.0 - q)).sqrt()) as usize + 1).min(num_clients),
    }
}

/// Clients of a cohort on average: C·K of Poisson cohorts, else [`cohort_size`].
pub fn expected_cohort(config: &Federation, num_clients: usize) -> f64 {
    match config.sampling {
        Sampling::Fixed => cohort_size(config.fraction_train, num_clients) as f64,
        Sampling::Poisson => config.fraction_train * num_clients as f64,
    }
}

/// The cohort of one round, ascending; a pure function of seed and round.
///
/// `fixed`: a uniform subset of [`cohort_size`] clients. `poisson`: each client independently with probability C,
/// so the cohort may be empty; drawn by geometric gaps, in time proportional to the cohort, not to K.
pub fn sample(config: &Federation, seed: u64, round: u64, num_clients: usize) -> Vec<ClientId> {
    let mut stream = Stream::new(seed, Purpose::Cohort, round, 0);
    match config.sampling {
        Sampling::Fixed => choose(&mut stream, cohort_size(config.fraction_train, num_clients), num_clients),
        Sampling::Poisson => poisson(&mut stream, config.fraction_train, num_clients),
    }
}

/// The clients whose own rows are evaluated in a round: a uniform subset for `fraction` below 1.
pub fn sample_for_evaluation(fraction: f64, seed: u64, round: u64, num_clients: usize) -> Vec<ClientId> {
    let mut stream = Stream::new(seed, Purpose::EvaluationCohort, round, 0);
    choose(&mut stream, cohort_size(fraction, num_clients), num_clients)
}

fn choose(stream: &mut Stream, size: usize, num_clients: usize) -> Vec<ClientId> {
    stream.choose(num_clients as u64, size).into_iter().map(|id| ClientId(id as u32)).collect()
}

/// P(gap = g) = (1 − q)^g·q, so ⌊ln U / ln(1 − q)⌋ clients are skipped before the next one.
fn poisson(stream: &mut Stream, q: f64, num_clients: usize) -> Vec<ClientId> {
    let ln_keep = libm::log1p(-q);
    let mut cohort = Vec::new();
    let mut next = 0.0;
    loop {
        let u = 1.0 - stream.uniform();
        next += if q < 1.0 { libm::floor(libm::log(u) / ln_keep) } else { 0.0 };
        if next >= num_clients as f64 {
            return cohort;
        }
        cohort.push(ClientId(next as u32));
        next += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federation(fraction_train: f64, sampling: Sampling) -> Federation {
        Federation { fraction_train, sampling, ..Federation::default() }
    }

    #[test]
    fn a_fixed_cohort_has_the_documented_size() {
        for (fraction, clients, size) in [(0.1, 100, 10), (0.29, 100, 29), (1e-6, 100, 1), (1.0, 7, 7), (0.1, 1, 1)] {
            assert_eq!(cohort_size(fraction, clients), size, "{fraction} of {clients}");
            let cohort = sample(&federation(fraction, Sampling::Fixed), 1, 1, clients);
            assert_eq!(cohort.len(), size);
            assert!(cohort.windows(2).all(|w| w[0] < w[1]) && cohort.iter().all(|c| c.index() < clients));
        }
    }

    #[test]
    fn every_client_is_included_with_frequency_c_under_both_samplings() {
        // Binomial(4000, 0.1): mean 400, sd 19; 5 sd = 95.
        for sampling in [Sampling::Fixed, Sampling::Poisson] {
            let config = federation(0.1, sampling);
            let mut counts = vec![0u32; 50];
            for round in 0..4000 {
                sample(&config, 9, round, 50).iter().for_each(|c| counts[c.index()] += 1);
            }
            assert!(counts.iter().all(|&c| c.abs_diff(400) < 95), "{sampling:?}: {counts:?}");
        }
    }

    #[test]
    fn poisson_cohort_sizes_have_variance_nq_1_minus_q() {
        // N = 1000, q = 0.05: mean 50, variance 47.5; the sample variance of 4000 rounds has sd 1.06.
        let config = federation(0.05, Sampling::Poisson);
        let sizes: Vec<f64> = (0..4000).map(|round| sample(&config, 5, round, 1000).len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / 4000.0;
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 3999.0;
        assert!((mean - 50.0).abs() < 0.55 && (variance - 47.5).abs() < 5.3, "mean {mean}, variance {variance}");
        assert_eq!(sample(&federation(1.0, Sampling::Poisson), 5, 1, 10).len(), 10);
    }
}
