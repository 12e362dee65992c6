//! Cohorts of fixed size, replace-one: an upper bound of ln A_α, with ε(α) = ln A_α/(α − 1).
//!
//! A_α ≤ 1 + C(α, 2)·q²·min(4(e^ε(2) − 1), 2e^ε(2)) + Σ_{i ≥ 3} C(α, i)·qⁱ·min(4·√(B_{2⌊i/2⌋}·B_{2⌈i/2⌉}), 2e^((i −
//! 1)ε(i))), where ε is the Gaussian mechanism's and B_k = E_{x ~ N(0, σ²)}[(e^((2x − 1)/2σ²) − 1)^k] for even k.
//! Between whole orders ln A_α is convex, so the line between its bounds is a bound.
//!
//! B_k is the k-th forward difference of e^(x(x − 1)/2σ²) at 0. Differences cancel where the noise is large; the
//! integral has only positive terms, so it is what is computed.
//! Source: Wang, Balle and Kasiviswanathan (arXiv:1808.00087), theorem 27 and corollary 10.

use crate::privacy::normal::{log_add, log_choose};
use libm::{exp, expm1, log, log1p};
use std::f64::consts::PI;

/// Largest k for which B_k is used; beyond, the other side of the minimum is.
const MOST_MOMENTS: usize = 256;
/// Up to this noise 2e^((i − 1)ε(i)) is the smaller side: e^u − 1 is as good as e^u where the moments come from.
const LITTLE_NOISE: f64 = 0.5;
/// Largest order that is asked for.
const MOST_ORDERS: usize = 1024;

/// What does not depend on the order.
pub struct Moments {
    log_q: f64,
    /// ln of the factor of C(α, i)·qⁱ, for each i from 2 on.
    factors: Vec<f64>,
}

impl Moments {
    /// For 0 < q < 1 and σ > 0.
    pub fn new(q: f64, sigma: f64) -> Self {
        let even = if sigma > LITTLE_NOISE { log_even_moments(sigma) } else { Vec::new() };
        let factors = (2..=MOST_ORDERS).map(|i| factor(i, sigma, &even)).collect();
        Moments { log_q: log(q), factors }
    }

    /// Bound of ln A_α, for α above 1.
    pub fn log_moment(&self, order: f64) -> f64 {
        let (low, share) = (order.floor(), order.fract());
        let at_low = self.at_whole_order(low as usize);
        if share == 0.0 { at_low } else { (1.0 - share) * at_low + share * self.at_whole_order(low as usize + 1) }
    }

    fn at_whole_order(&self, order: usize) -> f64 {
        let terms = (2..=order).zip(&self.factors);
        terms.fold(0.0, |sum, (i, factor)| {
            log_add(sum, factor + log_choose(order as f64, i as f64) + i as f64 * self.log_q)
        })
    }
}

/// ln of min(4·√(B·B), 2e^((i − 1)ε(i))).
fn factor(i: usize, sigma: f64, even: &[f64]) -> f64 {
    let k = i as f64;
    let plain = log(2.0) + (k - 1.0) * k / (2.0 * sigma * sigma);
    if i == 2 {
        // ln(e^(1/σ²) − 1) = ln B₂.
        let second = 1.0 / (sigma * sigma);
        return (log(4.0) + second + log1p(-exp(-second))).min(plain);
    }
    match (even.get(i / 2), even.get(i.div_ceil(2))) {
        (Some(low), Some(high)) => (log(4.0) + 0.5 * (low + high)).min(plain),
        _ => plain,
    }
}

/// ln B_k for k = 0, 2, 4 … by the trapezoidal rule. The integrand is a sum of Gaussians of width σ; steps of σ/8 leave
/// errors far below the last bit.
fn log_even_moments(sigma: f64) -> Vec<f64> {
    let step = sigma / 8.0;
    let reach = (MOST_MOMENTS as f64).sqrt() + 14.0;
    let (first, last) = (-(8.0 * reach) as i64, ((MOST_MOMENTS as f64 + reach * sigma) / step) as i64);
    // The density and ln |e^u − 1| at each point.
    let points: Vec<(f64, f64)> = (first..=last)
        .map(|i| {
            let x = i as f64 * step;
            let density = -x * x / (2.0 * sigma * sigma) + log(step / sigma) - 0.5 * log(2.0 * PI);
            (density, log_distance((2.0 * x - 1.0) / (2.0 * sigma * sigma)))
        })
        .collect();
    let moment = |k: usize| {
        if k == 0 {
            return 0.0;
        }
        let term = |&(density, distance): &(f64, f64)| density + k as f64 * distance;
        let largest = points.iter().map(term).fold(f64::NEG_INFINITY, f64::max);
        largest + log(points.iter().map(|point| exp(term(point) - largest)).sum())
    };
    (0..=MOST_MOMENTS).step_by(2).map(moment).collect()
}

/// ln |eᵘ − 1|.
fn log_distance(u: f64) -> f64 {
    if u > 1.0 { u + log1p(-exp(-u)) } else { log(expm1(u).abs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_moments_are_forward_differences() {
        // B₄ = f(4) − 4f(3) + 6f(2) − 4f(1) + f(0) with f(x) = e^(x(x − 1)/2σ²).
        for sigma in [0.7, 1.0, 2.0] {
            let f = |x: f64| exp(x * (x - 1.0) / (2.0 * sigma * sigma));
            let even = log_even_moments(sigma);
            let second = f(2.0) - 1.0;
            let fourth = f(4.0) - 4.0 * f(3.0) + 6.0 * f(2.0) - 3.0;
            assert!((exp(even[1]) / second - 1.0).abs() < 1e-12, "{sigma}");
            assert!((exp(even[2]) / fourth - 1.0).abs() < 1e-10, "{sigma}");
        }
    }

    #[test]
    fn with_much_noise_the_moments_are_those_of_a_normal_variable() {
        // e^u − 1 ≈ x/σ², of standard deviation 1/σ: B_k ≈ (k − 1)!!/σᵏ, where differences would have no digit left.
        let even = log_even_moments(1e4);
        let tenth = log(945.0) - 10.0 * log(1e4);
        assert!((even[5] - tenth).abs() < 1e-5, "{} for {tenth}", even[5]);
    }

    #[test]
    fn with_little_noise_the_plain_side_of_the_minimum_is_the_smaller_one() {
        let even = log_even_moments(LITTLE_NOISE);
        for i in 3..=MOST_MOMENTS {
            assert_eq!(factor(i, LITTLE_NOISE, &even), factor(i, LITTLE_NOISE, &[]), "{i}");
        }
    }
}
