//! What robust rules have in common: Krum's scores, selections and their weights, medians and the values around them.
//!
//! Where in the flow: called by authors inside DECIDE, on the [`Gram`] matrix, and inside REDUCE, on columns sorted by
//! [`crate::math::reduce_sorted`]. What it never does: draw, or depend on anything but its arguments.

use crate::math::{LANES, wide_mean};
use crate::{Error, Gram, Parameters, Result};
use std::array::from_fn;

/// The scores of Blanchard et al. (arXiv:1703.02757, section 4): the sum of an update's squared distances to the others
/// nearest to it, of which there are n − f − 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Krum {
    /// Hostile updates that there may be.
    pub f: usize,
    /// Updates that are no neighbours besides the f farthest: 2 in the paper, the update itself and one more; 1 in ByzFL.
    pub spared: usize,
}

impl Krum {
    /// Reads the parameters `f` (int) and `neighbours` (`n-f-2` or `n-f-1`).
    pub fn create(parameters: &Parameters) -> Result<Self> {
        let spared = if parameters.choice("neighbours")? == "n-f-2" { 2 } else { 1 };
        Ok(Krum { f: count(parameters, "f")?, spared })
    }

    /// Errors: `E_ARG` if `n` updates are fewer than `factor`·f + 3; the message says what to do.
    pub fn require(&self, n: usize, factor: usize) -> Result<()> {
        let (f, least) = (self.f, self.f.saturating_mul(factor).saturating_add(3));
        if n >= least {
            return Ok(());
        }
        let largest = n.saturating_sub(3) / factor;
        let advice = if n < 3 { "use larger cohorts".into() } else { format!("use `f` of at most {largest}") };
        Err(Error::argument(format!("{n} updates, and `f = {f}` needs at least {factor}f + 3 = {least}; {advice}")))
    }

    /// The score of each of these rows among them, n = `rows.len()`: its n − f − `spared` smallest squared distances to
    /// the others, but at least one, added to 0 in ascending order.
    ///
    /// Shapes: at least two rows; the result has one score for each, in their order.
    pub fn scores(&self, gram: &Gram<'_>, rows: &[usize]) -> Vec<f64> {
        let neighbours = rows.len().saturating_sub(self.f + self.spared).max(1);
        let score = |&i: &usize| {
            let others = rows.iter().filter(|&&j| j != i);
            let mut distances: Vec<f64> = others.map(|&j| gram.dist2(i, j)).collect();
            distances.sort_by(f64::total_cmp);
            distances.iter().take(neighbours).fold(0.0, |sum, distance| sum + distance)
        };
        rows.iter().map(score).collect()
    }
}

/// The parameter `name` (int) as a count. Errors: `E_CONFIG` if it is negative.
pub fn count(parameters: &Parameters, name: &str) -> Result<usize> {
    let value = parameters.i64(name)?;
    usize::try_from(value).map_err(|_| Error::config(format!("`{name}` is {value}; use 0 or more")))
}

/// Errors: `E_ARG` unless fewer than half of `n` updates are hostile.
pub fn require_minority(n: usize, f: usize) -> Result<()> {
    if f < n.div_ceil(2) {
        return Ok(());
    }
    let advice = format!("use `f` of at most {}", n.saturating_sub(1) / 2);
    Err(Error::argument(format!("{n} updates, and `f = {f}` is not less than half of them; {advice}")))
}

/// Indices of the `m` lowest scores, ties to the lower index; in ascending order of the index.
pub fn lowest(scores: &[f64], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Stable, so equal scores stay in the order of their indices.
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order.truncate(m);
    order.sort_unstable();
    order
}

/// What each row counts in a mean over `selected` rows, which are in ascending order: 1/m, or its share nᵢ / Σ nⱼ of their
/// examples, which are added to 0 in that order; 0 for all other rows.
///
/// Shapes: `coefficients` has a place for each row of `examples`. Errors: `E_NUMERIC` if shares are asked for and the
/// selected rows stand for no examples.
pub fn mean_of(selected: &[usize], examples: &[f64], by_examples: bool, coefficients: &mut [f64]) -> Result<()> {
    coefficients.fill(0.0);
    if !by_examples {
        selected.iter().for_each(|&i| coefficients[i] = 1.0 / selected.len() as f64);
        return Ok(());
    }
    let total = selected.iter().fold(0.0, |sum, &i| sum + examples[i]);
    if total <= 0.0 {
        let problem = "the selected updates stand for no examples (behind a mix none do); use `weights = \"uniform\"`";
        return Err(Error::numeric(problem));
    }
    selected.iter().for_each(|&i| coefficients[i] = examples[i] / total);
    Ok(())
}

/// The median of sorted columns: the value in the middle, of an even number of values their [`mean`], in `f32`.
///
/// Shapes: at least one row of values.
pub fn median(sorted: &[[f32; LANES]]) -> [f32; LANES] {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { mean(&sorted[middle - 1..=middle]) } else { sorted[middle] }
}

/// The mean of each column of these values, added to 0 in their order and divided by their number, in `f32`; where that
/// leaves the range of `f32`, as of values near 3·10³⁸, in `f64`.
///
/// Shapes: at least one row of values.
pub fn mean(values: &[[f32; LANES]]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for values in values {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    let mut means = sums.map(|sum| sum / values.len() as f32);
    if means.iter().any(|mean| !mean.is_finite()) {
        for lane in (0..LANES).filter(|&lane| !sums[lane].is_finite()) {
            means[lane] = wide_mean(values.iter().map(|values| values[lane]));
        }
    }
    means
}

/// The mean of the `count` values of each sorted column that are nearest to its [`median`], added to 0 in ascending order
/// and divided by `count`, in `f32`, or in `f64` as [`mean`] does. Of two values equally near the lower one counts.
///
/// The nearest values stand side by side, so the window of `count` values starts at the lowest and moves up while the value
/// above it is nearer than its lowest one; differences from the median are in `f32`.
///
/// Shapes: `count` is from 1 to the number of values (panics otherwise).
pub fn mean_around_median(sorted: &[[f32; LANES]], count: usize) -> [f32; LANES] {
    assert!((1..=sorted.len()).contains(&count), "from 1 to all values around the median");
    let median = median(sorted);
    let mut sums = [0.0; LANES];
    // In which columns the window has moved past place `at`: in each, up to some place and from there on not.
    let passed = |at: usize| -> [bool; LANES] {
        let (low, high) = (sorted[at], sorted[at + count]);
        from_fn(|lane| median[lane] - low[lane] > high[lane] - median[lane])
    };
    // Which values of place `j` are in the window.
    let inside = |j: usize| -> [bool; LANES] {
        let reached = if j < count { [true; LANES] } else { passed(j - count) };
        let left_behind = if j + count < sorted.len() { passed(j) } else { [false; LANES] };
        from_fn(|lane| reached[lane] & !left_behind[lane])
    };
    for (j, values) in sorted.iter().enumerate() {
        let inside = inside(j);
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += if inside[lane] { values[lane] } else { 0.0 };
        }
    }
    let mut means = sums.map(|sum| sum / count as f32);
    if means.iter().any(|mean| !mean.is_finite()) {
        for lane in (0..LANES).filter(|&lane| !sums[lane].is_finite()) {
            let nearest = (0..sorted.len()).filter(|&j| inside(j)[lane]);
            means[lane] = wide_mean(nearest.map(|j| sorted[j][lane]));
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(values: &[f32]) -> Vec<[f32; LANES]> {
        values.iter().map(|&value| [value; LANES]).collect()
    }

    #[test]
    fn medians_are_the_middle_or_the_mean_of_the_two_there() {
        assert_eq!(median(&columns(&[1.0, 2.0, 9.0]))[0], 2.0);
        assert_eq!(median(&columns(&[1.0, 2.0, 4.0, 9.0]))[LANES - 1], 3.0);
        assert_eq!(median(&columns(&[7.0]))[0], 7.0);
    }

    #[test]
    fn means_of_values_at_the_end_of_the_range_are_in_it() {
        let far = f32::MAX;
        for values in [&[far, far][..], &[-far, -far], &[0.75 * far, far, far], &[-far, 1.0, far, far, far, far]] {
            let exact = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
            assert_eq!(mean(&columns(values))[3], exact as f32, "{values:?}");
        }
        assert_eq!(median(&columns(&[-far, 0.5 * far, far, far]))[7], 0.75 * far);
        assert_eq!(mean_around_median(&columns(&[-1.0, far, far, far]), 3)[0], far);
        // One column at the end changes no other one, and what is not finite stays so.
        let mut mixed = columns(&[1.0, 2.0]);
        (mixed[0][4], mixed[1][4], mixed[1][5]) = (far, far, f32::INFINITY);
        let means = mean(&mixed);
        assert_eq!((means[3], means[4], means[5]), (1.5, far, f32::INFINITY));
    }

    #[test]
    fn the_nearest_values_are_averaged_and_of_two_equally_near_the_lower_one_counts() {
        let around = |values: &[f32], count| mean_around_median(&columns(values), count)[5];
        // Median 3: nearest are 3, then 4, then 1.
        assert_eq!(around(&[0.0, 1.0, 3.0, 4.0, 100.0], 3), (1.0 + 3.0 + 4.0) / 3.0);
        assert_eq!(around(&[0.0, 1.0, 3.0, 4.0, 100.0], 2), 3.5);
        // 1 and 5 are equally near to 3.
        assert_eq!(around(&[-9.0, 1.0, 3.0, 5.0, 9.0], 2), 2.0);
        assert_eq!(around(&[-9.0, 1.0, 3.0, 5.0, 9.0], 5), 1.8);
    }

    #[test]
    fn the_window_is_that_of_sorting_by_distance() {
        for salt in 0..200usize {
            let mut values: Vec<f32> = (0..9).map(|i| ((i * 37 + salt * 101 + i * i * salt) % 29) as f32).collect();
            values.sort_by(f32::total_cmp);
            let middle = values[4];
            let mut nearest = values.clone();
            nearest.sort_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs()).then(a.total_cmp(b)));
            for count in 1..=9 {
                // Whole numbers, so the order of the sum does not matter.
                let expected = nearest[..count].iter().sum::<f32>() / count as f32;
                assert_eq!(mean_around_median(&columns(&values), count)[0], expected, "{values:?}, {count}");
            }
        }
    }

    #[test]
    fn a_minority_is_less_than_half() {
        assert!(require_minority(5, 2).is_ok() && require_minority(1, 0).is_ok());
        let refused = require_minority(4, 2).unwrap_err();
        assert_eq!(refused.message, "4 updates, and `f = 2` is not less than half of them; use `f` of at most 1");
    }
}
