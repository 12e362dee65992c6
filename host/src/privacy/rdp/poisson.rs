//! Poisson cohorts, add-or-remove-one: ln A_α with A_α = E_{x ~ N(0, σ²)}[(1 − q + q·e^((2x − 1)/2σ²))^α]; ε(α) is ln
//! A_α/(α − 1).
//!
//! Source: Mironov, Talwar and Zhang (arXiv:1908.10530), section 3.3, as dp-accounting computes it.

use super::log_sum;
use crate::privacy::normal::{log_add, log_choose, log_upper_tail};
use libm::{log, log1p};

/// Terms of the series at a fractional order. An order whose series has not settled by then is left out, as in
/// dp-accounting: that costs tightness where ε is large anyway (noise multipliers below 1 over many rounds), never
/// validity.
const MOST_TERMS: u32 = 1000;
/// Terms below e⁻³⁰ of the sum end a series.
const NEGLIGIBLE: f64 = 30.0;

/// ln A_α for 0 < q < 1 and σ > 0; infinite for an order that is left out.
pub fn log_moment(q: f64, sigma: f64, order: f64) -> f64 {
    if order.fract() == 0.0 { at_whole_order(q, sigma, order as u32) } else { at_fraction(q, sigma, order) }
}

/// Σᵢ C(α, i)·qⁱ·(1 − q)^(α − i)·e^((i² − i)/2σ²).
fn at_whole_order(q: f64, sigma: f64, order: u32) -> f64 {
    let alpha = f64::from(order);
    log_sum((0..=order).map(|i| {
        let i = f64::from(i);
        log_choose(alpha, i) + i * log(q) + (alpha - i) * log1p(-q) + (i * i - i) / (2.0 * sigma * sigma)
    }))
}

/// The integral cut at z₀, where both summands of the base are equal, and each side expanded in a binomial series.
/// Terms beyond α alternate in sign; they are added by magnitude, which bounds the sum from above.
fn at_fraction(q: f64, sigma: f64, alpha: f64) -> f64 {
    let (log_q, log_rest, variance) = (log(q), log1p(-q), sigma * sigma);
    let cut = variance * log(1.0 / q - 1.0) + 0.5;
    let (mut below, mut above) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut last = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for i in 0..MOST_TERMS {
        let i = f64::from(i);
        let (j, coefficient) = (alpha - i, log_choose(alpha, i));
        let term = |k: f64, distance: f64| {
            let tail = log_upper_tail(distance / sigma);
            coefficient + k * log_q + (alpha - k) * log_rest + (k * k - k) / (2.0 * variance) + tail
        };
        let next = (term(i, i - cut), term(j, cut - j));
        below = log_add(below, next.0);
        above = log_add(above, next.1);
        let total = log_add(below, above);
        let falling = next.0 < last.0 && next.1 < last.1;
        if falling && next.0.max(next.1) < total - NEGLIGIBLE {
            return total;
        }
        last = next;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use libm::exp;
    use std::f64::consts::PI;

    /// The integral itself, by the trapezoidal rule, which converges exponentially fast here.
    fn integral(q: f64, sigma: f64, alpha: f64) -> f64 {
        let step = sigma / 40.0;
        let points = ((alpha + 40.0 * sigma) / step) as i64;
        log_sum((-1600..points).map(|i| {
            let x = i as f64 * step;
            let u = (2.0 * x - 1.0) / (2.0 * sigma * sigma);
            let base = log_add(log1p(-q), log(q) + u);
            alpha * base - x * x / (2.0 * sigma * sigma) - log(sigma) - 0.5 * log(2.0 * PI) + log(step)
        }))
    }

    #[test]
    fn both_series_are_the_integral() {
        for (q, sigma) in [(0.01, 1.0), (0.1, 2.0), (0.3, 4.0), (0.001, 0.8)] {
            // At fractions the terms that alternate leave a gap.
            for (alpha, gap) in [(2.0, 1e-9), (3.0, 1e-9), (8.0, 1e-9), (32.0, 1e-9), (2.7, 0.2), (10.9, 1e-4)] {
                let ratio = log_moment(q, sigma, alpha) / integral(q, sigma, alpha);
                assert!((-1e-9..gap).contains(&(ratio - 1.0)), "q {q}, sigma {sigma}, alpha {alpha}: {ratio}");
            }
        }
    }

    #[test]
    fn order_two_has_a_closed_form() {
        // A₂ = 1 + q²·(e^(1/σ²) − 1).
        let (q, sigma) = (0.2, 1.3);
        let expected = 1.0 + q * q * (exp(1.0 / (sigma * sigma)) - 1.0);
        assert!((exp(log_moment(q, sigma, 2.0)) - expected).abs() < 1e-12);
    }

    #[test]
    fn an_order_that_does_not_settle_is_left_out() {
        assert_eq!(log_moment(0.1, 0.5, 1.1), f64::INFINITY);
    }
}
