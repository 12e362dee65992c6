//! What rounds cost under each mechanism.

use super::nodes::Nodes;
use crate::{
    client::ClientId,
    privacy::{Accountant, Sampling, epsilon_of_gaussians, pld::LossDistribution, rdp::Curve},
};
use anyhow::Result;
use std::collections::HashMap;

pub(super) enum Cost {
    Rounds(Rounds),
    Tree(Tree),
    Local(Participations),
}

impl Cost {
    pub fn add(&mut self, cohort: &[ClientId]) {
        match self {
            Cost::Rounds(rounds) => rounds.add(cohort.len()),
            Cost::Tree(tree) => tree.nodes.add(cohort),
            Cost::Local(participations) => participations.add(cohort),
        }
    }

    /// ε of the rounds so far. Errors: those of the accountant.
    pub fn epsilon(&mut self, accountant: Accountant, delta: f64) -> Result<f64> {
        match self {
            Cost::Rounds(rounds) => rounds.epsilon(accountant, delta),
            Cost::Tree(tree) => epsilon_of_gaussians(accountant, tree.noise, tree.nodes.most(), delta),
            Cost::Local(participations) => {
                epsilon_of_gaussians(accountant, participations.noise, participations.most, delta)
            }
        }
    }
}

/// Fresh noise on each round's aggregate, and perhaps on a count.
pub(super) struct Rounds {
    /// z of the aggregate.
    noise: f64,
    /// σ_b over the expected cohort.
    count: Option<f64>,
    sampling: Sampling,
    /// Clients of a Poisson cohort on average.
    expected: f64,
    /// Rounds by the noise multiplier that they amount to. There is one but where empty clients make cohorts of fixed
    /// size smaller.
    stretches: Vec<Stretch>,
}

struct Stretch {
    noise: f64,
    rounds: u64,
    curve: Option<Curve>,
    /// Made for the first answer; then `None` inside for too little noise.
    losses: Option<Option<LossDistribution>>,
}

impl Rounds {
    pub fn new(noise: f64, count: Option<f64>, sampling: Sampling, num_clients: usize) -> Self {
        let expected = sampling.rate() * num_clients as f64;
        Rounds { noise, count, sampling, expected, stretches: Vec::new() }
    }

    fn add(&mut self, cohort: usize) {
        let noise = self.multiplier(cohort);
        match self.stretches.iter_mut().find(|stretch| stretch.noise == noise) {
            Some(stretch) => stretch.rounds += 1,
            None => self.stretches.push(Stretch { noise, rounds: 1, curve: None, losses: None }),
        }
    }

    /// The noise multiplier z of one Gaussian mechanism that is worth both noises: z⁻² = z_Δ⁻² + (s/σ_b)⁻², with s how
    /// far a client moves the count of ±½: ½ if it comes or goes, 1 if it is replaced.
    /// Source: Andrew et al. (arXiv:1905.03871), theorem 1.
    fn multiplier(&self, cohort: usize) -> f64 {
        let Some(count) = self.count else { return self.noise };
        let (expected, moved) = match self.sampling {
            Sampling::Poisson { .. } => (self.expected, 0.5),
            // What plugins are told to expect.
            Sampling::Fixed { .. } => (cohort as f64, 1.0),
        };
        let count = count * expected / moved;
        if self.noise == 0.0 || count == 0.0 {
            return 0.0;
        }
        1.0 / (1.0 / (self.noise * self.noise) + 1.0 / (count * count)).sqrt()
    }

    fn epsilon(&mut self, accountant: Accountant, delta: f64) -> Result<f64> {
        if self.stretches.iter().any(|stretch| stretch.noise == 0.0) {
            return Ok(f64::INFINITY);
        }
        match (accountant, self.sampling) {
            (Accountant::Pld, Sampling::Poisson { rate }) => {
                // Poisson cohorts have one expected size, so there is one stretch.
                let Some(stretch) = self.stretches.first_mut() else { return Ok(0.0) };
                let losses = stretch.losses.get_or_insert_with(|| LossDistribution::new(rate, stretch.noise));
                losses.as_mut().map_or(Ok(f64::INFINITY), |losses| losses.epsilon(stretch.rounds, delta))
            }
            _ => {
                let curves = self.stretches.iter_mut().map(|stretch| {
                    let curve = stretch.curve.get_or_insert_with(|| Curve::of_round(self.sampling, stretch.noise));
                    curve.times(stretch.rounds as f64)
                });
                let sum = curves.reduce(|sum, curve| sum.plus(&curve));
                Ok(sum.map_or(0.0, |sum| sum.epsilon(delta)))
            }
        }
    }
}

/// Noise of the nodes of trees over the rounds.
pub(super) struct Tree {
    noise: f64,
    nodes: Nodes,
}

impl Tree {
    pub fn new(noise: f64, rounds: u64, completed: bool) -> Self {
        Tree { noise, nodes: Nodes::new(rounds, completed) }
    }
}

/// Noise on each upload.
pub(super) struct Participations {
    noise: f64,
    rounds: HashMap<ClientId, u64>,
    most: u64,
}

impl Participations {
    pub fn new(noise: f64) -> Self {
        Participations { noise, rounds: HashMap::new(), most: 0 }
    }

    fn add(&mut self, cohort: &[ClientId]) {
        for &client in cohort {
            let rounds = self.rounds.entry(client).or_default();
            *rounds += 1;
            self.most = self.most.max(*rounds);
        }
    }
}
