//! One round's losses on a grid.
//!
//! x is the noised sum along the client's update, in units of the sensitivity: N(0, σ²) without the client, and with it
//! (1 − q)·N(0, σ²) + q·N(1, σ²). The loss of a client that goes is ln(1 − q + q·e^((2x − 1)/2σ²)), which grows with x.

use super::Losses;
use crate::privacy::normal::log_upper_tail;
use libm::{exp, expm1, log, log1p};

/// Standard deviations of x within which the grid lies: 10⁻²³ is beyond, on either side, and counted as the worst.
const REACH: f64 = 10.0;
/// Standard deviations that are taken for the bulk.
const BULK: f64 = 3.0;

/// The Gaussian mechanism with noise σ on Poisson cohorts with rate q.
#[derive(Clone, Copy)]
pub(super) struct Mechanism {
    pub q: f64,
    pub sigma: f64,
}

impl Mechanism {
    /// Smallest and largest loss of a client that goes, but for next to nothing.
    pub fn range(self) -> (f64, f64) {
        (self.loss(-REACH * self.sigma), self.loss(1.0 + REACH * self.sigma))
    }

    /// About the standard deviation of the losses, or more.
    pub fn spread(self) -> f64 {
        (self.loss(1.0 + BULK * self.sigma) - self.loss(-BULK * self.sigma)) / (2.0 * BULK)
    }

    /// Losses of a client that goes.
    pub fn going(self, spacing: f64) -> Losses {
        let (low, high) = self.range();
        connect(spacing, low, high, |epsilon| self.over(epsilon), |epsilon| self.under(epsilon))
    }

    /// Losses of a client that comes: P and Q change places, so δ(ε) is e^ε·(δ(−ε) − 1 + e^(−ε)) of the other.
    pub fn coming(self, spacing: f64) -> Losses {
        let (low, high) = self.range();
        let over = |epsilon: f64| exp(epsilon) * self.under(-epsilon);
        connect(spacing, -high, -low, over, |epsilon| exp(epsilon) * self.over(-epsilon))
    }

    fn loss(self, x: f64) -> f64 {
        let u = (2.0 * x - 1.0) / (2.0 * self.sigma * self.sigma);
        if u > 0.0 { u + log(self.q + (1.0 - self.q) * exp(-u)) } else { log1p(self.q * expm1(u)) }
    }

    /// δ(ε) = P[L > ε] − e^ε·Q[L > ε] of a client that goes, to full relative precision where it is small.
    fn over(self, epsilon: f64) -> f64 {
        match self.threshold(epsilon) {
            None => -expm1(epsilon),
            Some((log_excess, x)) => {
                let with = log(self.q) + log_upper_tail((x - 1.0) / self.sigma);
                (exp(with) - exp(log_excess + log_upper_tail(x / self.sigma))).max(0.0)
            }
        }
    }

    /// δ(ε) − 1 + e^ε = e^ε·Q[L ≤ ε] − P[L ≤ ε], likewise.
    fn under(self, epsilon: f64) -> f64 {
        match self.threshold(epsilon) {
            None => 0.0,
            Some((log_excess, x)) => {
                let with = log(self.q) + log_upper_tail((1.0 - x) / self.sigma);
                (exp(log_excess + log_upper_tail(-x / self.sigma)) - exp(with)).max(0.0)
            }
        }
    }

    /// ln(e^ε − 1 + q), and the x whose loss is ε; `None` where every loss is larger.
    fn threshold(self, epsilon: f64) -> Option<(f64, f64)> {
        let excess = expm1(epsilon) + self.q;
        let log_excess = log(excess);
        (excess > 0.0).then(|| (log_excess, self.sigma * self.sigma * (log_excess - log(self.q)) + 0.5))
    }
}

/// The losses on the grid whose δ(ε) connects the dots: equal to the given one at the grid's points from `low` to
/// `high`, linear in e^ε between them, from δ = 1 at e^ε = 0 to the first, and level behind the last.
///
/// The slope's change at a point, times e^ε, is the mass there. `over` is δ, `under` is δ − 1 + e^ε: the two differ by
/// what is linear in e^ε, so both have the same changes, and each keeps its digits where it is small, `over` above ε =
/// 0 and `under` below.
fn connect(spacing: f64, low: f64, high: f64, over: impl Fn(f64) -> f64, under: impl Fn(f64) -> f64) -> Losses {
    let first = ((low / spacing).floor() as i64).min(-1);
    let last = ((high / spacing).ceil() as i64).max(1);
    let at = |index: i64| index as f64 * spacing;
    let unders: Vec<f64> = (first..=0).map(|index| under(at(index))).collect();
    let overs: Vec<f64> = (-1..=last).map(|index| over(at(index))).collect();
    let (up, down) = (expm1(spacing), -expm1(-spacing));
    let inner = |d: &[f64]| (d[2] - d[1]) / up - (d[1] - d[0]) / down;
    let mut masses = vec![(unders[1] - unders[0]) / up - unders[0]];
    masses.extend(unders.windows(3).map(inner));
    masses.extend(overs.windows(3).map(inner));
    let infinite = overs[overs.len() - 1];
    masses.push((overs[overs.len() - 2] - infinite) / down);
    masses.iter_mut().for_each(|mass| *mass = mass.max(0.0));
    Losses { first, masses, infinite }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(f64, f64); 5] = [(1.0, 1.0), (0.1, 0.5), (0.01, 1.0), (0.001, 4.0), (0.3, 20.0)];

    #[test]
    fn the_masses_are_a_distribution() {
        for (q, sigma) in CASES {
            let mechanism = Mechanism { q, sigma };
            for losses in [mechanism.going(1e-3), mechanism.coming(1e-3)] {
                let sum: f64 = losses.masses.iter().sum::<f64>() + losses.infinite;
                assert!((sum - 1.0).abs() < 1e-9, "q {q}, sigma {sigma}: {sum}");
            }
        }
    }

    #[test]
    fn the_divergence_is_kept_at_the_grids_points_and_never_lower_between_them() {
        for (q, sigma) in CASES {
            let mechanism = Mechanism { q, sigma };
            let losses = mechanism.going(1e-3);
            let delta = |epsilon: f64| {
                let part = |(index, mass): (usize, &f64)| {
                    let loss = (losses.first + index as i64) as f64 * 1e-3;
                    if loss > epsilon { -mass * expm1(epsilon - loss) } else { 0.0 }
                };
                losses.infinite + losses.masses.iter().enumerate().map(part).sum::<f64>()
            };
            for epsilon in [-0.004, 0.0, 0.001, 0.002, 0.05] {
                let exact = mechanism.over(epsilon);
                assert!((delta(epsilon) - exact).abs() < 1e-10, "q {q}, sigma {sigma}, at {epsilon}");
                let between = epsilon + 0.0004;
                assert!(delta(between) > mechanism.over(between) - 1e-10, "q {q}, sigma {sigma}, at {between}");
            }
        }
    }

    #[test]
    fn both_forms_of_the_divergence_agree() {
        for (q, sigma) in CASES {
            let mechanism = Mechanism { q, sigma };
            for epsilon in [-0.5, -0.05, -0.0005, 0.0, 0.0005, 0.05, 0.5] {
                let difference = mechanism.over(epsilon) - mechanism.under(epsilon) + expm1(epsilon);
                assert!(difference.abs() < 1e-14, "q {q}, sigma {sigma}, at {epsilon}: {difference}");
            }
        }
    }

    #[test]
    fn without_sampling_it_is_the_gaussian_mechanism_of_balle_and_wang() {
        // δ(ε) = Φ(1/2σ − εσ) − e^ε·Φ(−1/2σ − εσ), arXiv:1805.06530, theorem 5.
        for (sigma, epsilon) in [(1.0, 1.0), (4.0, 0.3), (0.7, 5.0)] {
            let phi = |x: f64| exp(log_upper_tail(-x));
            let expected = phi(0.5 / sigma - epsilon * sigma) - exp(epsilon) * phi(-0.5 / sigma - epsilon * sigma);
            let found = Mechanism { q: 1.0, sigma }.over(epsilon);
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} for {expected}");
        }
    }
}
