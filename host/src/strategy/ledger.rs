//! The privacy ledger: what the noise of a run has cost so far, and whether the next round can be paid for.
//!
//! Plugins say in their manifests which noise they add (`privacy`); the host knows the cohorts. The ledger is always
//! one round ahead, so that a budget ends a run before the round that would exceed it. Cohorts are functions of the run
//! seed, so a ledger that is led through the rounds done stands where the run does.
//! Where in the flow: beside the round loop, which tells it each cohort before the round.
//! What it never does: guess. Where a composition lets something past the noise, ε is not tracked, with the reason.

mod cost;
mod nodes;
mod reasons;

use crate::{
    client::{ClientId, cohort_size},
    config::{self, Config},
    error::{Fault, Kind},
    plugin::{NoiseMechanism, Plugin},
    privacy::{self, Accountant, Sampling},
    record::PrivacyTerms,
};
use anyhow::{Context, Result};
use cost::{Cost, Participations, Rounds, Tree};
use reasons::{NoiseOf, untracked};

/// Adds `[privacy]` to the configuration of a run with noise.
///
/// Errors: `Kind::Config` for the section without noise, for a budget that cannot be kept because ε is not tracked, for
/// an accountant that has no answer for the run's cohorts.
pub fn settle(plugins: &[Plugin], config: &mut Config) -> Result<()> {
    let refuse = |message: String| Err(Fault::new(Kind::Config, message));
    let Some(noise) = NoiseOf::the_run(plugins) else {
        return match config.privacy {
            None => Ok(()),
            Some(_) => refuse(
                "config `[privacy]` — no plugin of this run adds noise that could be accounted for; add `clip` and \
                 `dp-gaussian`, or leave the section out"
                    .into(),
            ),
        };
    };
    let settings = config.privacy.get_or_insert_default();
    let (accountant, delta) = (settings.accountant, settings.delta);
    if let (Some(budget), Some(why)) = (settings.epsilon, untracked(plugins)) {
        return refuse(format!("config `privacy.epsilon = {budget}` — the budget cannot be kept, because {why}"));
    }
    // Trees and local noise count participations instead of drawing on the sampling.
    if noise.mechanism != NoiseMechanism::Gaussian {
        return Ok(());
    }
    // What the accountant cannot do for all rounds must not end the run in the last of them. Of how many clients a cohort
    // is drawn does not matter to that.
    let (sampling, rounds) = (sampling(config, 1), config.federation.num_server_rounds as u64);
    let answer = privacy::epsilon(accountant, sampling, noise.amount, rounds, delta);
    answer.map(drop).with_context(|| format!("config `privacy.accountant = \"{}\"`", accountant.name()))
}

/// What is said of a run's privacy.
pub enum Accounting {
    Tracked(Ledger),
    Untracked(PrivacyTerms),
}

/// The account of one run.
pub struct Ledger {
    terms: PrivacyTerms,
    accountant: Accountant,
    cost: Cost,
    /// Rounds that are done.
    rounds: u64,
    /// ε of the rounds that are done, and with the next one.
    spent: f64,
    next: f64,
}

impl Accounting {
    /// `None` where no plugin adds noise. `config`: as [`settle`] left it.
    pub fn of(plugins: &[Plugin], config: &Config, num_clients: usize) -> Option<Self> {
        let (noise, settings) = (NoiseOf::the_run(plugins)?, config.privacy.clone().unwrap_or_default());
        let sampling = sampling(config, num_clients);
        let mut terms = terms(&noise, &settings, sampling);
        if let Some(why) = untracked(plugins) {
            terms.untracked = Some(why);
            return Some(Accounting::Untracked(terms));
        }
        let multiplier = noise.amount;
        let cost = match noise.mechanism {
            NoiseMechanism::Tree => Cost::Tree(Tree::new(multiplier, noise.rounds_of_a_tree, noise.completed)),
            // Any update may stand in the place of any other, up to 2C away.
            NoiseMechanism::LocalGaussian => Cost::Local(Participations::new(multiplier / 2.0)),
            NoiseMechanism::Gaussian | NoiseMechanism::Count => {
                Cost::Rounds(Rounds::new(multiplier, noise.count, sampling, num_clients))
            }
        };
        Some(Accounting::Tracked(Ledger::new(terms, settings.accountant, cost)))
    }

    pub fn terms(&self) -> &PrivacyTerms {
        match self {
            Accounting::Tracked(ledger) => &ledger.terms,
            Accounting::Untracked(terms) => terms,
        }
    }
}

impl Ledger {
    fn new(terms: PrivacyTerms, accountant: Accountant, cost: Cost) -> Self {
        Ledger { terms, accountant, cost, rounds: 0, spent: 0.0, next: 0.0 }
    }

    /// Enters the round behind the last one, in which `cohort` takes part. Errors: those of the accountant.
    pub fn foresee(&mut self, cohort: &[ClientId]) -> Result<()> {
        self.cost.add(cohort);
        self.next = self.cost.epsilon(self.accountant, self.terms.delta)?;
        Ok(())
    }

    /// The round that was foreseen is done.
    pub fn spend(&mut self) {
        self.rounds += 1;
        self.spent = self.next;
    }

    /// ε of the rounds that are done.
    pub fn epsilon(&self) -> f64 {
        self.spent
    }

    /// Errors: `Kind::Budget` if the round that is foreseen would exceed the budget.
    pub fn check(&self) -> Result<()> {
        let PrivacyTerms { delta, budget: Some(budget), .. } = self.terms else { return Ok(()) };
        if self.next <= budget {
            return Ok(());
        }
        let (done, next) = (self.rounds, self.rounds + 1);
        let rounds = if done == 1 { "round is done and recorded" } else { "rounds are done and recorded" };
        Err(Fault::new(
            Kind::Budget,
            format!(
                "the privacy budget — round {next} would bring epsilon to {:.4} at delta {delta:e}, above `privacy.epsilon = \
                 {budget}`; {done} {rounds}, with epsilon {:.4}; for more, raise the budget or the noise",
                self.next, self.spent
            ),
        ))
    }
}

fn sampling(config: &Config, population: usize) -> Sampling {
    let rate = config.federation.fraction_train;
    match config.federation.sampling {
        config::Sampling::Poisson => Sampling::Poisson { rate },
        config::Sampling::Fixed => Sampling::Fixed { cohort: cohort_size(rate, population), population },
    }
}

fn terms(noise: &NoiseOf, settings: &config::Privacy, sampling: Sampling) -> PrivacyTerms {
    let neighbours = match sampling {
        Sampling::Poisson { .. } => "a client that comes or goes (add-or-remove-one)",
        Sampling::Fixed { .. } => "a client that is replaced by another (replace-one)",
    };
    let drawn = match sampling {
        Sampling::Poisson { rate } => format!("each client is drawn into a round by itself with probability {rate}"),
        Sampling::Fixed { cohort, population } => format!("a round draws {cohort} of {population} clients"),
    };
    let count = if noise.count.is_some() { ", the noisy count behind the clipping bound included" } else { "" };
    let (of_what, adjacency) = match noise.mechanism {
        NoiseMechanism::Gaussian | NoiseMechanism::Count => {
            (format!("the weights after each round, for {neighbours}: {drawn}{count}"), sampling.adjacency())
        }
        NoiseMechanism::Tree => (
            format!(
                "the weights after each round, for {neighbours} and takes part in the rounds in which the client of this run with \
                 the most costly rounds did"
            ),
            sampling.adjacency(),
        ),
        NoiseMechanism::LocalGaussian => (
            "the updates of the client that took part most often, against the server, for any other updates in their place"
                .into(),
            "replace-one",
        ),
    };
    PrivacyTerms {
        mechanism: noise.mechanism.name(),
        noise: noise.amount,
        accountant: settings.accountant.name(),
        delta: settings.delta,
        budget: settings.epsilon,
        sampling: sampling.name(),
        adjacency,
        statement: format!(
            "{of_what}; losses and accuracies are not covered; simulated, for the noise comes from a seed that anyone can read"
        ),
        untracked: None,
    }
}

#[cfg(test)]
mod tests;
