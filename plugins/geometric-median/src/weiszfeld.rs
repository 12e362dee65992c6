//! The search for the median, in the coefficients of the point. All sums are in the order of the rows.

use colla_plugin_sdk::Gram;

/// Below this share of the inner products that it is the difference of, a squared distance is rounding.
const ROUNDING: f64 = 1.0 / (1u64 << 50) as f64;

pub struct Search<'a> {
    pub gram: &'a Gram<'a>,
    /// Weights of the distances; they sum to 1.
    pub alpha: &'a [f64],
}

impl Search<'_> {
    /// Coefficients of the median, which sum to 1; after `max_iterations` steps those of the point reached.
    /// `tolerance`: length of the last step in units of the harmonic mean of the distances.
    pub fn median(&self, max_iterations: usize, tolerance: f64) -> Vec<f64> {
        let best = self.best_row();
        let Some(mut point) = self.leave(best) else { return self.row(best) };
        for _ in 1..max_iterations {
            let weights = self.pulls(&self.distances(&point));
            let total = sum(&weights);
            let next: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            let moved: Vec<f64> = next.iter().zip(&point).map(|(new, old)| new - old).collect();
            point = next;
            // The harmonic mean of the distances, 1/total: unlike the mean it stays small where a few rows are far away.
            if self.norm(&moved) * total <= tolerance {
                break;
            }
        }
        point
    }

    /// The row with the smallest weighted sum of distances; the first of equals.
    fn best_row(&self) -> usize {
        let of_row = |i: usize| (0..self.rows()).fold(0.0, |sum, k| sum + self.alpha[k] * self.gram.dist2(i, k).sqrt());
        let sums: Vec<f64> = (0..self.rows()).map(of_row).collect();
        (0..sums.len()).fold(0, |best, i| if sums[i] < sums[best] { i } else { best })
    }

    /// The step of Vardi and Zhang away from a row, or `None` where the row is the median: where the pull R of the other
    /// rows, Σ αₖ·(xₖ − x)/‖xₖ − x‖, is no stronger than the weight η of the rows at x. Else v = (1 − η/‖R‖)·T + (η/‖R‖)·x
    /// with T the Weiszfeld step on the others.
    fn leave(&self, row: usize) -> Option<Vec<f64>> {
        let gram = self.gram;
        let apart = |k: usize| gram.dist2(row, k) > ROUNDING * (gram.product(row, row) + gram.product(k, k));
        let distance = |k: usize| if apart(k) { gram.dist2(row, k).sqrt() } else { 0.0 };
        let weights = self.pulls(&(0..self.rows()).map(distance).collect::<Vec<_>>());
        let here = (0..self.rows()).filter(|&k| !apart(k)).fold(0.0, |sum, k| sum + self.alpha[k]);
        let total = sum(&weights);
        let mut pull = weights.clone();
        pull[row] -= total;
        let strength = self.norm(&pull);
        if strength <= here * (1.0 + 1e-12) {
            return None;
        }
        let stays = here / strength;
        let mut point: Vec<f64> = weights.iter().map(|weight| (1.0 - stays) * weight / total).collect();
        point[row] += stays;
        Some(point)
    }

    /// ‖v − xₖ‖ for every row. Where v is a row up to rounding, the distance is what rounding leaves of it.
    fn distances(&self, point: &[f64]) -> Vec<f64> {
        let products = self.products(point);
        let norm2 = dot(point, &products);
        let of_row = |(k, product): (usize, &f64)| {
            let own = self.gram.product(k, k);
            (norm2 - 2.0 * product + own).max(ROUNDING * (norm2 + own)).sqrt()
        };
        products.iter().enumerate().map(of_row).collect()
    }

    /// αₖ / ‖v − xₖ‖, the weights of the rows in a Weiszfeld step.
    fn pulls(&self, distances: &[f64]) -> Vec<f64> {
        let pull = |(alpha, distance): (&f64, &f64)| if *distance > 0.0 { alpha / distance } else { 0.0 };
        self.alpha.iter().zip(distances).map(pull).collect()
    }

    /// ‖Σ cₖ·xₖ‖ of coefficients that sum to 0, for which the origin of the matrix does not matter.
    fn norm(&self, coefficients: &[f64]) -> f64 {
        dot(coefficients, &self.products(coefficients)).max(0.0).sqrt()
    }

    /// G·c.
    fn products(&self, coefficients: &[f64]) -> Vec<f64> {
        let of_row = |i: usize| (0..self.rows()).fold(0.0, |sum, k| sum + self.gram.product(i, k) * coefficients[k]);
        (0..self.rows()).map(of_row).collect()
    }

    fn row(&self, which: usize) -> Vec<f64> {
        (0..self.rows()).map(|k| if k == which { 1.0 } else { 0.0 }).collect()
    }

    fn rows(&self) -> usize {
        self.alpha.len()
    }
}

fn sum(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |sum, value| sum + value)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y)
}
