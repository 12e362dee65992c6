//! Differential-privacy accounting: which (ε, δ) so many rounds of noise come to.
//!
//! A round is the Gaussian mechanism on a drawn cohort: the clients' clipped updates are summed, and the sum gets noise
//! with a standard deviation of `noise multiplier × sensitivity`. What a client's presence changes, and by how much, is
//! the adjacency: in a Poisson cohort a client comes or goes (sensitivity C), in a cohort of fixed size one is replaced
//! by another (2C). Two accountants answer for both: Rényi differential privacy ([`rdp`]), which is fast and loose at
//! small noise, and the privacy loss distribution ([`pld`]), which is tight and knows Poisson cohorts only.
//! Where in the flow: below everything; the ledger of a run and `colla-host privacy` ask it.
//! What it never does: draw noise, or look at a run. All mathematics is `libm`'s, so that answers have the same bits on
//! every machine.

mod calibrate;
mod fft;
mod normal;
pub mod pld;
pub mod rdp;

#[cfg(test)]
mod tests;

pub use calibrate::{LEAST_MULTIPLIER, noise_multiplier};

use crate::error::{Fault, Kind};
use anyhow::Result;
use serde::{Deserialize, Serialize, Serializer};

/// How a round's cohort is drawn, hence the adjacency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// Each client takes part independently with probability `rate`, in (0, 1]; add-or-remove-one.
    Poisson { rate: f64 },
    /// `cohort` of `population` clients without replacement, 1 ≤ cohort ≤ population; replace-one.
    Fixed { cohort: usize, population: usize },
}

impl Sampling {
    /// Probability that a client takes part in a round.
    pub fn rate(self) -> f64 {
        match self {
            Sampling::Poisson { rate } => rate,
            Sampling::Fixed { cohort, population } => cohort as f64 / population as f64,
        }
    }

    /// The word of configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Sampling::Poisson { .. } => "poisson",
            Sampling::Fixed { .. } => "fixed",
        }
    }

    /// Which data sets count as neighbours.
    pub fn adjacency(self) -> &'static str {
        match self {
            Sampling::Poisson { .. } => "add-or-remove-one",
            Sampling::Fixed { .. } => "replace-one",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accountant {
    /// Rényi differential privacy.
    #[default]
    Rdp,
    /// Privacy loss distribution.
    Pld,
}

impl Accountant {
    /// The word of configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Accountant::Rdp => "rdp",
            Accountant::Pld => "pld",
        }
    }

    /// Errors: why this accountant has no answer for cohorts drawn so, and what to do.
    pub fn accepts(self, sampling: Sampling) -> Result<(), String> {
        match (self, sampling) {
            (Accountant::Pld, Sampling::Fixed { .. }) => Err(
                "no pair of data sets is proven to be the worst for cohorts of fixed size, so there is no privacy loss \
                 distribution to compose; use the accountant `rdp`, or Poisson cohorts"
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}

/// The smallest known ε with which `rounds` rounds are (ε, `delta`)-differentially private.
///
/// `noise_multiplier`: standard deviation of the noise over the sensitivity, finite and at least 0; with 0, ε is
/// infinite. `delta`: in (0, 1).
/// Infinite too where `pld` would have losses above 700 in a round.
/// Errors: `Kind::Config` where [`Accountant::accepts`] refuses, and where the numbers are beyond the precision of the
/// convolution.
pub fn epsilon(
    accountant: Accountant,
    sampling: Sampling,
    noise_multiplier: f64,
    rounds: u64,
    delta: f64,
) -> Result<f64> {
    accountant.accepts(sampling).map_err(|why| Fault::new(Kind::Config, why))?;
    match (accountant, sampling) {
        _ if rounds == 0 => Ok(0.0),
        _ if noise_multiplier == 0.0 => Ok(f64::INFINITY),
        (Accountant::Pld, Sampling::Poisson { rate }) => {
            let losses = pld::LossDistribution::new(rate, noise_multiplier);
            losses.map_or(Ok(f64::INFINITY), |mut losses| losses.epsilon(rounds, delta))
        }
        _ => Ok(rdp::Curve::of_round(sampling, noise_multiplier).times(rounds as f64).epsilon(delta)),
    }
}

/// The smallest known ε with `delta` of Gaussian mechanisms without sampling, one after the other.
///
/// `squares`: the sum of their squared sensitivities, in units of the one that `noise_multiplier` is measured by.
///
/// Errors: as [`epsilon`].
pub fn epsilon_of_gaussians(accountant: Accountant, noise_multiplier: f64, squares: u64, delta: f64) -> Result<f64> {
    match accountant {
        _ if squares == 0 => Ok(0.0),
        _ if noise_multiplier == 0.0 => Ok(f64::INFINITY),
        Accountant::Rdp => Ok(rdp::Curve::gaussian(noise_multiplier).times(squares as f64).epsilon(delta)),
        // Together they are one mechanism with less noise.
        Accountant::Pld => {
            let together = noise_multiplier / (squares as f64).sqrt();
            epsilon(accountant, Sampling::Poisson { rate: 1.0 }, together, 1, delta)
        }
    }
}

/// Writes ε into JSON: `"inf"` where it is infinite, since a null could be taken for "not known".
pub fn serialize_epsilon<S: Serializer>(epsilon: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if epsilon.is_finite() { serializer.serialize_f64(*epsilon) } else { serializer.serialize_str("inf") }
}

/// As [`serialize_epsilon`], for an ε that need not be there.
pub fn serialize_known_epsilon<S: Serializer>(epsilon: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epsilon {
        Some(epsilon) => serialize_epsilon(epsilon, serializer),
        None => serializer.serialize_none(),
    }
}
