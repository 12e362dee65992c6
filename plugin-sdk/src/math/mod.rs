//! Kernels on slices that are fast as WASM and natively and give the same bits in both.
//!
//! Where in the flow: called by authors inside REDUCE, APPLY and STEP. All are elementwise over parameters: element `i`
//! of the result depends on element `i` of the inputs and on nothing else, so neither range size nor vector width matters.
//! Precision: `f32`, without fused multiply-add; a mean of K rows is within about K·2⁻²⁴ of the exact one.
//! (Weighted sums of whole cohorts are the host's, on its exact grid; these kernels are for rules over rows.)
//! What they never do: call the platform's mathematics. [`libm`] is exported for `exp`, `ln`, `pow` and the like, whose
//! standard-library versions differ between platforms; `sqrt`, `abs` and `floor` are exact everywhere.

mod sorted;

pub use libm;
pub use sorted::{LANES, reduce_sorted};

use crate::{Error, Result};

/// Uniform mean: `out[i] = (x₁[i] + x₂[i] + …) / K`, summed in the order of the rows; where the sum leaves the range of
/// `f32`, as of values near 3·10³⁸, in `f64`.
///
/// Shapes: at least one row, each as long as `out` (panics otherwise).
pub fn mean(rows: &[&[f32]], out: &mut [f32]) {
    let count = rows.len() as f32;
    fold(rows, out, |sum, _, x| sum + x, |sum| sum / count);
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        // Without a branch in each column: magnitudes are in the order of their bits, and infinity's come after all finite ones.
        let largest = out.iter().fold(0, |largest, mean| mean.abs().to_bits().max(largest));
        if largest >= f32::INFINITY.to_bits() {
            for (lane, mean) in out.iter_mut().enumerate().filter(|(_, mean)| !mean.is_finite()) {
                *mean = wide_mean(rows.iter().map(|row| row[block * LANES + lane]));
            }
        }
    }
}

/// The mean of these values in `f64`, rounded to `f32`: for those whose sum is beyond `f32`.
#[cold]
pub(crate) fn wide_mean(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value), count + 1.0));
    (sum / count) as f32
}

/// Weighted mean: `out[i] = Σₖ cₖ·xₖ[i]` with `cₖ = wₖ / Σw` rounded to `f32`, summed in the order of the rows.
///
/// Shapes: as many weights as rows, each row as long as `out` (panics otherwise).
/// Errors: `E_NUMERIC` if Σw is not positive and finite.
pub fn weighted_mean(rows: &[&[f32]], weights: &[f64], out: &mut [f32]) -> Result<()> {
    assert_eq!(rows.len(), weights.len(), "one weight per row");
    let sum: f64 = weights.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return Err(Error::numeric(format!("the weights of the rows sum to {sum}, which nothing can be divided by")));
    }
    let shares: Vec<f32> = weights.iter().map(|weight| (weight / sum) as f32).collect();
    fold(rows, out, |sum, row, x| sum + shares[row] * x, |sum| sum);
    Ok(())
}

/// `values[i] *= factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    // In blocks of known length: a loop over the slice alone is not vectorised for WASM.
    let (blocks, tail) = values.as_chunks_mut::<LANES>();
    blocks.iter_mut().for_each(|block| block.iter_mut().for_each(|value| *value *= factor));
    tail.iter_mut().for_each(|value| *value *= factor);
}

/// The largest factor, at most 1, that brings a vector of Euclidean norm `norm` to a norm of at most `bound`.
///
/// Below 1 it is taken 2⁻²² smaller than `bound / norm`, so that the rounding of the factor and of each product
/// cannot lift the result above `bound`: sensitivity bounds rely on this.
pub fn clip_factor(norm: f64, bound: f64) -> f32 {
    if norm <= bound {
        return 1.0;
    }
    (bound / norm * (1.0 - 1.0 / (1 << 22) as f64)) as f32
}

/// The `f32` nearest to `value` among those that are no larger in magnitude. So what it is applied to, element by element,
/// never gains length; NaN and infinities stay what they are, and finite values beyond `f32` become its largest.
#[inline]
pub fn toward_zero(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest).abs() <= value.abs() || value.is_nan() {
        return nearest;
    }
    // One less in the bits is one step towards zero, whatever the sign: from infinity to the largest number, too.
    f32::from_bits(nearest.to_bits() - 1)
}

/// Folds the rows of each column, 32 columns in registers and the loop over rows inside: the shape that streams
/// at memory speed with 128-bit vectors.
#[inline(always)]
fn fold(rows: &[&[f32]], out: &mut [f32], step: impl Fn(f32, usize, f32) -> f32, finish: impl Fn(f32) -> f32) {
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == out.len()), "rows as long as the result");
    let whole = out.len() - out.len() % LANES;
    let (blocks, tail) = out.as_chunks_mut::<LANES>();
    for (block, out) in blocks.iter_mut().enumerate() {
        let start = block * LANES;
        let mut sums = [0.0; LANES];
        for (index, row) in rows.iter().enumerate() {
            let row = &row[start..start + LANES];
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum = step(*sum, index, x);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = finish(sum);
        }
    }
    for (column, out) in (whole..).zip(tail) {
        *out = finish(rows.iter().enumerate().fold(0.0, |sum, (index, row)| step(sum, index, row[column])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_the_hand_computed_ones_in_whole_blocks_and_in_the_tail() {
        let n = 2 * LANES + 3;
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..n).map(|i| i as f32).collect(), (0..n).map(|i| 4.0 * i as f32).collect());
        let mut out = vec![0.0; n];
        mean(&[&a, &b], &mut out);
        assert!(out.iter().enumerate().all(|(i, &x)| x == 2.5 * i as f32), "{out:?}");
        // Weights 3 and 1: (3·i + 4i)/4 = 1.75·i.
        weighted_mean(&[&a, &b], &[3.0, 1.0], &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, &x)| x == 1.75 * i as f32), "{out:?}");
    }

    #[test]
    fn a_mean_does_not_depend_on_how_the_vector_is_cut() {
        let row = |k: usize| -> Vec<f32> { (0..100).map(|i| ((i * 37 + k * 101) % 97) as f32 * 0.013).collect() };
        let rows: Vec<Vec<f32>> = (0..7).map(row).collect();
        let whole: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let mut expected = vec![0.0; 100];
        mean(&whole, &mut expected);
        for cut in [1, 31, 32, 33, 64, 99] {
            let mut out = vec![0.0; 100];
            let (left, right) = out.split_at_mut(cut);
            mean(&rows.iter().map(|row| &row[..cut]).collect::<Vec<_>>(), left);
            mean(&rows.iter().map(|row| &row[cut..]).collect::<Vec<_>>(), right);
            assert_eq!(out, expected, "cut at {cut}");
        }
    }

    #[test]
    fn means_of_values_at_the_end_of_the_range_are_in_it_in_whole_blocks_and_in_the_tail() {
        let far = f32::MAX;
        let n = LANES + 5;
        for place in [3, LANES + 4] {
            // Beside them a column of ordinary values and one that is infinite, which stays so.
            let row = |at_place: f32, before: f32| -> Vec<f32> {
                let value = |i: usize| {
                    if i == place {
                        at_place
                    } else if i + 1 == place {
                        before
                    } else {
                        0.5
                    }
                };
                (0..n).map(value).collect()
            };
            let rows = [row(far, 1.0), row(far, f32::INFINITY), row(-0.5 * far, 2.0), row(0.5 * far, 2.0)];
            let mut out = vec![0.0; n];
            mean(&rows.each_ref().map(|row| &row[..]), &mut out);
            assert_eq!((out[place], out[place - 1], out[0]), (0.5 * far, f32::INFINITY, 0.5), "column {place}");
        }
    }

    #[test]
    fn weights_that_sum_to_zero_are_refused() {
        assert!(weighted_mean(&[&[1.0]], &[0.0], &mut [0.0]).is_err());
    }

    #[test]
    fn rounding_toward_zero_never_lengthens_and_keeps_what_is_exact() {
        let half_up = 1.0 + 0.75 * f64::from(f32::EPSILON);
        assert_eq!(half_up as f32, 1.0 + f32::EPSILON);
        assert_eq!((toward_zero(half_up), toward_zero(-half_up)), (1.0, -1.0));
        for exact in [0.0, -0.0, 1.5, -3.0e38, 1e-45, f32::MAX, f32::INFINITY] {
            assert_eq!(toward_zero(f64::from(exact)).to_bits(), exact.to_bits());
        }
        assert_eq!((toward_zero(1e39), toward_zero(-1e39), toward_zero(1e-46)), (f32::MAX, f32::MIN, 0.0));
        assert!(toward_zero(f64::NAN).is_nan());
    }

    #[test]
    fn a_clipped_vector_never_exceeds_the_bound() {
        for n in 1..2_000 {
            let mut values: Vec<f32> = (0..n).map(|i| 0.37 + ((i * 7919) % 101) as f32 * 0.11).collect();
            let norm = |values: &[f32]| values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            let factor = clip_factor(norm(&values), 0.1);
            scale(&mut values, factor);
            let clipped = norm(&values);
            assert!(clipped <= 0.1 && clipped > 0.1 * (1.0 - 1e-6), "n = {n}: {clipped}");
        }
        assert_eq!(clip_factor(0.1, 0.1), 1.0);
        assert_eq!(clip_factor(0.0, 0.1), 1.0);
    }
}
