//! The privacy loss distribution of the Gaussian mechanism on Poisson cohorts, add-or-remove-one.
//!
//! With P and Q the outputs with and without a client, the loss is ln P/Q drawn from P; the losses of T rounds add up,
//! so their distribution is a T-fold convolution, and δ(ε) = E[(1 − e^(ε − L))₊]. Both directions count: a client that
//! goes (P has it) and one that comes (Q has it).
//!
//! Losses are put on a grid so that δ(ε) is exact at its points and its chord, linear in e^ε, between them: the curve
//! is convex, so a chord never lies below it. The convolution is a power of the Fourier transform, over a window
//! outside which Chernoff's bound leaves next to nothing; that rest and the roundings are taken off δ. So the answer is
//! an upper bound.
//! Source: Doroshenko et al., "Connect the dots" (arXiv:2207.04380); Koskela et al. (arXiv:1906.03049).

mod convolution;
mod discretise;

use crate::error::{Fault, Kind, short};
use anyhow::Result;
use convolution::{Convolution, Tilts};
use discretise::Mechanism;
use libm::{exp, log};

/// Spacing of the losses, and what one round's spread is divided by where that is coarser.
const SPACING: f64 = 1e-4;
const STEPS_OF_SPREAD: f64 = 1000.0;
/// Largest loss of one round: e to the power of it still has a number.
const MOST_LOSS: f64 = 700.0;
/// Share of δ that may lie outside the window on either side.
const OUTSIDE: f64 = 1e-6;
/// Longest transform: 400 MB.
const MOST_POINTS: usize = 1 << 24;

/// The losses of one round on a grid.
pub struct LossDistribution {
    spacing: f64,
    /// A client that goes, a client that comes.
    directions: [Losses; 2],
    tilts: [Tilts; 2],
    convolution: Convolution,
}

/// A distribution over the losses `(first + i)·spacing`, and infinity.
struct Losses {
    first: i64,
    masses: Vec<f64>,
    infinite: f64,
}

impl LossDistribution {
    /// For 0 < `rate` ≤ 1 and a noise multiplier above 0; `None` for so little noise that a round's losses exceed
    /// 700: then no ε worth the name is left.
    pub fn new(rate: f64, noise_multiplier: f64) -> Option<Self> {
        let mechanism = Mechanism { q: rate, sigma: noise_multiplier };
        if mechanism.range().1 > MOST_LOSS {
            return None;
        }
        // A power of two times the finest, so that near noise multipliers share a grid.
        let mut spacing = SPACING;
        while spacing < mechanism.spread() / STEPS_OF_SPREAD {
            spacing *= 2.0;
        }
        let directions = [mechanism.going(spacing), mechanism.coming(spacing)];
        let tilts = directions.each_ref().map(|losses| Tilts::new(losses, spacing));
        Some(LossDistribution { spacing, directions, tilts, convolution: Convolution::default() })
    }

    /// The smallest ε ≥ 0 with which `rounds` rounds, at least 1, are (ε, `delta`)-differentially private.
    /// Errors: `Kind::Config` where the roundings of the convolution are no longer small against `delta`, and where
    /// there are too many losses for it.
    pub fn epsilon(&mut self, rounds: u64, delta: f64) -> Result<f64> {
        // A relative error of each coefficient that grows with its power, and that of the transforms.
        let rounding = 16.0 * f64::EPSILON * (rounds as f64 + 40.0);
        if rounding > 0.01 * delta {
            return Err(beyond(
                format!("a delta of {} over {rounds} rounds is too small", short(delta)),
                "a larger delta",
            ));
        }
        let outside = OUTSIDE * delta;
        let windows = [0, 1].map(|side| self.tilts[side].window(&self.directions[side], rounds, outside));
        let longest = windows.iter().map(|window| window.end - window.start).max().unwrap_or(0);
        let points = usize::try_from(longest).ok().and_then(usize::checked_next_power_of_two);
        let Some(points) = points.filter(|points| *points <= MOST_POINTS) else {
            return Err(beyond(format!("the losses of {rounds} rounds are too many"), "fewer rounds"));
        };
        let sides = self.convolution.power(&self.directions, rounds, windows.map(|window| window.start), points);
        let left = delta - 2.0 * outside - rounding;
        Ok(sides.iter().map(|side| side.epsilon(self.spacing, left)).fold(0.0, f64::max))
    }
}

fn beyond(what: String, instead: &str) -> anyhow::Error {
    Fault::new(
        Kind::Config,
        format!("{what} for the privacy loss distribution; use the accountant `rdp`, or {instead}"),
    )
}

impl Losses {
    /// The smallest ε ≥ 0 with δ(ε) ≤ `delta`, by walking down the grid. δ at a point is what lies above it, less what
    /// that is worth there: Σ p − Σ p·e^(point − loss).
    fn epsilon(&self, spacing: f64, delta: f64) -> f64 {
        if self.infinite > delta {
            return f64::INFINITY;
        }
        let shrink = exp(-spacing);
        let (mut above, mut worth, mut point) = (0.0, 0.0, 0.0);
        for (index, mass) in self.masses.iter().enumerate().rev() {
            point = (self.first + index as i64) as f64 * spacing;
            if self.infinite + above - worth > delta {
                break;
            }
            if point <= 0.0 {
                return 0.0;
            }
            // Roundings can leave less than nothing.
            above += mass.max(0.0);
            worth = (worth + mass.max(0.0)) * shrink;
            point -= spacing;
        }
        // Between this point and the next one above it, δ is linear in e^ε.
        (point + log((self.infinite + above - delta) / worth)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_of_three_losses_is_solved_by_hand() {
        // Losses 1, 2, 3 with masses ¼, ½, 1/8 and 1/8 at infinity.
        let losses = Losses { first: 1, masses: vec![0.25, 0.5, 0.125], infinite: 0.125 };
        let delta = |epsilon: f64| {
            let below = |loss: f64| (1.0 - exp(epsilon - loss)).max(0.0);
            0.125 + 0.25 * below(1.0) + 0.5 * below(2.0) + 0.125 * below(3.0)
        };
        for wanted in [0.13, 0.2, 0.3, 0.5] {
            let epsilon = losses.epsilon(1.0, wanted);
            assert!((delta(epsilon) - wanted).abs() < 1e-15, "{wanted}: {epsilon}");
        }
        assert_eq!(losses.epsilon(1.0, 0.12), f64::INFINITY);
        // δ(0) = 1/8 + ¼·(1 − e⁻¹) + ½·(1 − e⁻²) + 1/8·(1 − e⁻³) ≈ 0.834.
        assert_eq!(losses.epsilon(1.0, 0.9), 0.0);
    }
}
