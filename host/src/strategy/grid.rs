//! Sums that do not depend on order: the exact grid.
//!
//! Float addition rounds, so its result depends on the order of the terms, hence on the schedule. Here each product is
//! first rounded in `f64` to a multiple of 2⁻ᵠ, with q so small that every partial sum of a round is exactly
//! representable. Exact addition is associative: any order, thread count or merge tree gives the same bits.
//!
//! Rounding to the grid: (v + M) − M with M = 1.5·2^(52−q), valid for |v| ≤ 2^(51−q).
//! Error: each term is off by at most 2^-(q+1), so a weighted mean of K updates by at most K·2⁻⁴⁵ for bound 2⁶.

use crate::error::{Fault, Kind};
use crate::registers::Registers;
use anyhow::Result;
use pulp::{Simd, WithSimd};

/// The grid of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    magic: f64,
    /// Largest |x| that may be folded.
    bound: f32,
}

impl Grid {
    /// A grid for terms `weight·x` with Σ|weight| ≤ `total_weight` and |x| ≤ `bound`.
    /// Errors: `Kind::Config` when the product of the two is not a finite number in the range of normal floats.
    pub fn new(total_weight: f64, bound: f64) -> Result<Self> {
        let largest = (total_weight * bound).max(f64::MIN_POSITIVE);
        let magic = magic(largest);
        if !largest.is_finite() || !magic.is_finite() {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "aggregation weights — their sum {total_weight:e} times the bound {bound} is too large; use smaller weights"
                ),
            ));
        }
        Ok(Grid { magic, bound: bound as f32 })
    }

    /// Nearest multiple of the grid's step.
    #[inline(always)]
    pub fn round(&self, value: f64) -> f64 {
        (value + self.magic) - self.magic
    }
}

/// M of the grid for sums of magnitude `largest` at most: 1.5·2^(e+2) where 2^e ≤ `largest` < 2^(e+1), so that every partial
/// sum of rounded terms is exact. 0 for 0, which rounds nothing.
#[inline(always)]
pub fn magic(largest: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    6.0 * f64::from_bits(largest.to_bits() & EXPONENT)
}

/// A partial sum over clients, P values on the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSum {
    grid: Grid,
    sums: Vec<f64>,
}

impl GridSum {
    pub fn new(grid: Grid, len: usize) -> Self {
        GridSum { grid, sums: vec![0.0; len] }
    }

    /// Adds `weight · update`. The magnitude of every element must be within the grid's bound; the caller has checked that.
    pub fn fold(&mut self, weight: f64, update: &[f32]) {
        debug_assert!(update.iter().all(|x| x.abs() <= self.grid.bound));
        Registers::widest().dispatch(Folding { grid: self.grid, weight, update, sums: &mut self.sums });
    }

    /// Adds another agent's partial sum of the same round.
    pub fn merge(&mut self, other: &GridSum) {
        debug_assert_eq!(self.grid, other.grid);
        Registers::widest().run(
            #[inline(always)]
            || self.sums.iter_mut().zip(&other.sums).for_each(|(sum, x)| *sum += x),
        );
    }

    /// `sum / denominator`, rounded once to `f32`.
    pub fn mean(&self, denominator: f64) -> Vec<f32> {
        Registers::widest().run(
            #[inline(always)]
            || self.sums.iter().map(|sum| (sum / denominator) as f32).collect(),
        )
    }
}

/// The inner loop, compiled for the processor's vectors; it is elementwise, so their width changes nothing.
struct Folding<'a> {
    grid: Grid,
    weight: f64,
    update: &'a [f32],
    sums: &'a mut [f64],
}

impl WithSimd for Folding<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (sum, &x) in self.sums.iter_mut().zip(self.update) {
            *sum += self.grid.round(self.weight * f64::from(x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn clients(count: usize, len: usize) -> Vec<(f64, Vec<f32>)> {
        let mut stream = Stream::new(3, Purpose::Cohort, 0, 0);
        (0..count)
            .map(|_| (1.0 + stream.below(600) as f64, (0..len).map(|_| (stream.normal() * 3.0) as f32).collect()))
            .collect()
    }

    #[test]
    fn any_order_and_any_merge_tree_gives_the_same_bits() {
        let clients = clients(45, 257);
        let grid = Grid::new(clients.iter().map(|c| c.0).sum(), 64.0).unwrap();
        let sum_of = |part: &[(f64, Vec<f32>)]| {
            let mut sum = GridSum::new(grid, 257);
            part.iter().for_each(|(w, x)| sum.fold(*w, x));
            sum
        };
        let forward = sum_of(&clients);
        let mut stream = Stream::new(4, Purpose::Cohort, 0, 0);
        for _ in 0..20 {
            let mut shuffled = clients.clone();
            stream.shuffle(&mut shuffled);
            let cut = stream.below(45) as usize;
            let (mut left, right) = (sum_of(&shuffled[..cut]), sum_of(&shuffled[cut..]));
            left.merge(&right);
            assert_eq!(left, forward);
        }
    }

    #[test]
    fn the_mean_is_within_the_documented_error_of_the_true_one() {
        let clients = clients(45, 257);
        let total: f64 = clients.iter().map(|c| c.0).sum();
        let mut sum = GridSum::new(Grid::new(total, 64.0).unwrap(), 257);
        clients.iter().for_each(|(w, x)| sum.fold(*w, x));
        for (i, sum) in sum.sums.iter().enumerate() {
            // i128 fixed point is an exact oracle: weights are integers, f32 values times 2⁴⁰ are too (for these sizes).
            let exact: i128 = clients.iter().map(|(w, x)| *w as i128 * (f64::from(x[i]) * 2f64.powi(60)) as i128).sum();
            let exact = exact as f64 / 2f64.powi(60);
            assert!((sum - exact).abs() / total <= 45.0 * 2f64.powi(-45), "{sum} {exact}");
        }
    }

    #[test]
    fn terms_at_the_very_bound_stay_exact() {
        // 1000 clients of weight 1 at the bound: the sum is 64000 exactly, and a half-step is kept.
        let mut sum = GridSum::new(Grid::new(1000.0, 64.0).unwrap(), 1);
        (0..1000).for_each(|_| sum.fold(1.0, &[64.0]));
        assert_eq!(sum.mean(1000.0), [64.0]);
    }
}
