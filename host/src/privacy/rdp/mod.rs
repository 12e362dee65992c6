//! Rényi differential privacy: ε(α) of a round at many orders α, added up over rounds, and turned into (ε, δ).
//!
//! Orders, series and conversion are those of Google's dp-accounting, whose numbers the tests hold this to.

mod poisson;
mod without_replacement;

use super::{Sampling, normal::log_add};
use libm::{expm1, log, log1p};

/// ε(α) at each of [`orders`]; infinite where an order has no bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve(Vec<f64>);

/// 1.1, 1.2 … 10.9, 11, 12 … 63, 128, 256, 512, 1024.
pub fn orders() -> impl Iterator<Item = f64> {
    let tenths = (1..100).map(|tenths| 1.0 + f64::from(tenths) / 10.0);
    tenths.chain((11..64).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0])
}

impl Curve {
    /// One round of the Gaussian mechanism on a sampled cohort. `noise_multiplier`: at least 0, infinite ε for 0.
    pub fn of_round(sampling: Sampling, noise_multiplier: f64) -> Self {
        if noise_multiplier == 0.0 {
            return Curve(orders().map(|_| f64::INFINITY).collect());
        }
        match sampling {
            Sampling::Poisson { rate } if rate < 1.0 => {
                let moment = |order| poisson::log_moment(rate, noise_multiplier, order) / (order - 1.0);
                Curve(orders().map(moment).collect())
            }
            Sampling::Fixed { cohort, population } if cohort < population => {
                let moments = without_replacement::Moments::new(sampling.rate(), noise_multiplier);
                // Drawing a cohort never costs privacy: the divergence is quasi-convex in the pair of distributions.
                let amplified = |order: f64| moments.log_moment(order) / (order - 1.0);
                Curve(orders().map(|order| amplified(order).min(gaussian(order, noise_multiplier))).collect())
            }
            Sampling::Poisson { .. } | Sampling::Fixed { .. } => Self::gaussian(noise_multiplier),
        }
    }

    /// The Gaussian mechanism on everyone: α/(2z²), for z above 0.
    pub fn gaussian(noise_multiplier: f64) -> Self {
        Curve(orders().map(|order| gaussian(order, noise_multiplier)).collect())
    }

    /// Of `rounds` rounds like this one; for curves that are linear in a weight, of that weight.
    pub fn times(&self, rounds: f64) -> Self {
        // Not 0·∞.
        Curve(self.0.iter().map(|&cost| if rounds == 0.0 { 0.0 } else { cost * rounds }).collect())
    }

    /// Of both, one after the other.
    pub fn plus(&self, other: &Self) -> Self {
        Curve(self.0.iter().zip(&other.0).map(|(a, b)| a + b).collect())
    }

    /// The smallest ε over the orders with (ε, `delta`)-differential privacy, at least 0; infinite if there is none.
    ///
    /// Source: Canonne, Kamath and Steinke (arXiv:2004.00010), proposition 12; Balle et al. (arXiv:1905.09982), theorem
    /// 21.
    pub fn epsilon(&self, delta: f64) -> f64 {
        let at = |(order, &cost): (f64, &f64)| {
            // δ ≤ √(1 − e^(−KL)), and ε(α) is no smaller than the divergence KL.
            if delta * delta + expm1(-cost) > 0.0 {
                return 0.0;
            }
            cost + log1p(-1.0 / order) - log(delta * order) / (order - 1.0)
        };
        orders().zip(&self.0).map(at).fold(f64::INFINITY, f64::min).max(0.0)
    }
}

fn gaussian(order: f64, noise_multiplier: f64) -> f64 {
    order / (2.0 * noise_multiplier * noise_multiplier)
}

/// Σ eˣ in logarithms, added from the first on.
fn log_sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(f64::NEG_INFINITY, log_add)
}
