//! Shares of a whole, and whole rows by shares.
//!
//! Where in the flow: inside the kinds that draw sizes. What it never does: lose a row.

use crate::random::Stream;

/// Cuts `n` rows at `floor(cumsum(shares)·n)`; the last part ends at `n`. `shares` sum to 1.
///
/// Each part is within one row of `share·n`. It is Flower's rule for Dirichlet shares.
pub fn cut(shares: &[f64], n: u32) -> impl Iterator<Item = u32> + '_ {
    let (mut cumulative, mut before) = (0.0, 0);
    shares.iter().enumerate().map(move |(i, share)| {
        cumulative += share;
        let end = if i + 1 == shares.len() { n } else { ((cumulative * f64::from(n)) as u32).clamp(before, n) };
        end - std::mem::replace(&mut before, end)
    })
}

/// `count` shares in the proportions exp(sigma·zᵢ), zᵢ standard normal. Sigma 0 gives equal shares.
pub fn lognormal(stream: &mut Stream, count: usize, sigma: f64) -> Vec<f64> {
    let logs: Vec<f64> = (0..count).map(|_| sigma * stream.normal()).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut shares: Vec<f64> = logs.into_iter().map(|log| libm::exp(log - largest)).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

/// `n` rows in the proportions of positive `weights`, but no part below `least`: part k is max(least, λ·weight_k), λ such
/// that the parts sum to `n`, each rounded by less than one row. `least` times the number of parts must not exceed `n`.
pub fn at_least(weights: &[f64], n: u32, least: u32) -> Vec<u32> {
    let scale = scale_above(weights, f64::from(n), f64::from(least));
    let excess: Vec<f64> = weights.iter().map(|weight| (weight * scale - f64::from(least)).max(0.0)).collect();
    let sum: f64 = excess.iter().sum();
    let rest = n - least * weights.len() as u32;
    if sum <= 0.0 {
        return equal(n as usize, weights.len()).collect();
    }
    let shares: Vec<f64> = excess.into_iter().map(|e| e / sum).collect();
    cut(&shares, rest).map(|part| least + part).collect()
}

/// λ with Σ max(least, λ·weight) = n. If the j smallest weights are raised, λ = (n − j·least) / (sum of the others);
/// the right j is the first one that leaves the next weight at or above `least`.
fn scale_above(weights: &[f64], n: f64, least: f64) -> f64 {
    let mut ascending = weights.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    // Sums from the right, so that no sum is a small difference of large ones.
    let mut others = ascending.clone();
    for i in (1..others.len()).rev() {
        others[i - 1] += others[i];
    }
    let scale = |raised: usize| (n - raised as f64 * least) / others[raised];
    let right = (0..ascending.len()).find(|&raised| scale(raised) * ascending[raised] >= least);
    right.map_or(0.0, scale)
}

/// `n` in `parts` nearly equal parts, the larger ones first.
pub fn equal(n: usize, parts: usize) -> impl Iterator<Item = u32> + Clone {
    (0..parts).map(move |i| (n / parts + usize::from(i < n % parts)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn cuts_are_the_floors_of_the_cumulated_shares() {
        // 10·(0.25, 0.5, 0.75, 1) = 2.5, 5, 7.5, 10: cuts at 2, 5, 7, 10.
        assert_eq!(cut(&[0.25; 4], 10).collect::<Vec<_>>(), [2, 3, 2, 3]);
        assert_eq!(cut(&[0.0, 1.0, 0.0], 7).collect::<Vec<_>>(), [0, 7, 0]);
        // Thirds do not sum to 1 in binary; the last part takes what is left.
        assert_eq!(cut(&[1.0 / 3.0; 3], 9).sum::<u32>(), 9);
    }

    #[test]
    fn parts_below_the_least_are_raised_at_the_cost_of_the_others() {
        // Shares of 20 by (1, 2, 7): 2, 4, 14. With at least 5 two are raised, 10 are left for the third.
        assert_eq!(at_least(&[1.0, 2.0, 7.0], 20, 1), [2, 4, 14]);
        // With at least 3: 3, 17·2/9 = 3.8, 17·7/9 = 13.2, rounded by the cuts.
        assert_eq!(at_least(&[1.0, 2.0, 7.0], 20, 3), [3, 3, 14]);
        assert_eq!(at_least(&[7.0, 1.0, 2.0], 20, 5), [10, 5, 5]);
        assert_eq!(at_least(&[1.0, 2.0, 7.0], 20, 6).iter().sum::<u32>(), 20);
        assert_eq!(at_least(&[1e-300, 1.0], 9, 4), [4, 5]);
        assert_eq!(at_least(&[3.0, 1.0], 8, 4), [4, 4]);
    }

    #[test]
    fn equal_parts_differ_by_one_at_most() {
        let parts: Vec<u32> = equal(60_000, 7).collect();
        assert_eq!(parts, [8572, 8572, 8572, 8571, 8571, 8571, 8571]);
    }

    #[test]
    fn lognormal_shares_have_the_spread_of_their_sigma() {
        let mut stream = Stream::new(3, Purpose::Partition, 0, 0);
        let logs: Vec<f64> = lognormal(&mut stream, 20_000, 1.5).into_iter().map(libm::log).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|log| (log - mean) * (log - mean)).sum::<f64>() / logs.len() as f64;
        assert!((variance.sqrt() - 1.5).abs() < 0.03, "sd {}", variance.sqrt());
        assert_eq!(lognormal(&mut stream, 4, 0.0), [0.25; 4]);
    }
}
