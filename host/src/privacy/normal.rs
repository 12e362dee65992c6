//! The normal distribution's tail, and sums of numbers of which only the logarithms are at hand.

use libm::{erfc, exp, log, log1p};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Beyond this many standard deviations `erfc` nears the end of the range of `f64`.
const FAR: f64 = 35.0;

/// ln P[X > x] for a standard normal X.
pub fn log_upper_tail(x: f64) -> f64 {
    if x < 0.0 {
        return log1p(-0.5 * erfc(-x * FRAC_1_SQRT_2));
    }
    if x < FAR {
        return log(0.5 * erfc(x * FRAC_1_SQRT_2));
    }
    // The asymptotic series; its next term is below 10⁻¹² here.
    let y = 1.0 / (x * x);
    -0.5 * x * x - log(x) - 0.5 * log(2.0 * PI) + log1p(y * (-1.0 + y * (3.0 + y * (-15.0 + 105.0 * y))))
}

/// ln(eᵃ + eᵇ).
pub fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high == f64::INFINITY { high } else { high + log1p(exp(low - high)) }
}

/// ln |C(n, k)| for real n ≥ 0; the sign of the generalised coefficient is dropped.
pub fn log_choose(n: f64, k: f64) -> f64 {
    libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_that_of_tables_and_has_no_seam() {
        // P[X > 1] and P[X > −1].
        assert!((exp(log_upper_tail(1.0)) - 0.158_655_253_931_457_05).abs() < 1e-15);
        assert!((exp(log_upper_tail(-1.0)) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((log_upper_tail(0.0) - log(0.5)).abs() < 1e-15);
        let (before, behind) = (log_upper_tail(FAR - 1e-9), log_upper_tail(FAR));
        assert!((before - behind - 35.03e-9).abs() < 1e-10, "{before} {behind}");
    }

    #[test]
    fn binomial_coefficients_are_those_of_pascal() {
        assert!((exp(log_choose(10.0, 3.0)) - 120.0).abs() < 1e-9);
        // C(½, 3) = ½·(−½)·(−3/2)/6 = 1/16.
        assert!((exp(log_choose(0.5, 3.0)) - 0.0625).abs() < 1e-12);
    }

    #[test]
    fn logarithms_add_like_their_numbers() {
        assert!((log_add(log(3.0), log(4.0)) - log(7.0)).abs() < 1e-15);
        assert_eq!(log_add(f64::NEG_INFINITY, 2.0), 2.0);
        assert_eq!(log_add(f64::INFINITY, f64::INFINITY), f64::INFINITY);
        assert!((log_add(1000.0, 1000.0) - 1000.0 - log(2.0)).abs() < 1e-12);
    }
}
