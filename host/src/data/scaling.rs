//! Scaling of features by statistics of the training rows.
//!
//! Where in the flow: inside the loaders. What it never does: look at a test row to choose a number. Statistics are
//! computed in `f64`, one row after another, so they never depend on the number of threads.

use super::PixelScale;
use crate::config::FeatureScaling;

/// One scale and shift for all pixels of an image set whose largest possible value is `largest`.
///
/// `none`: the value itself. `scale`: value / largest. `standardize`: (value − mean) / sd over every pixel of every
/// training row, sd with divisor n; on MNIST that is (value/255 − 0.1307) / 0.3081. A constant set is only centred.
pub fn of_pixels(train: &[u8], largest: u8, scaling: FeatureScaling) -> PixelScale {
    match scaling {
        FeatureScaling::None => PixelScale { scale: 1.0, shift: 0.0 },
        FeatureScaling::Scale => PixelScale { scale: 1.0 / f32::from(largest), shift: 0.0 },
        FeatureScaling::Standardize => {
            // A histogram makes both sums exact and the pass a single one.
            let counts = histogram(train);
            let moment = |power: u32| -> f64 {
                let sum: u128 = counts.iter().zip(0u128..).map(|(&n, v)| u128::from(n) * v.pow(power)).sum();
                sum as f64 / train.len().max(1) as f64
            };
            let mean = moment(1);
            let sd = (moment(2) - mean * mean).max(0.0).sqrt();
            let divisor = if sd > 0.0 { sd } else { 1.0 };
            PixelScale { scale: (1.0 / divisor) as f32, shift: (-mean / divisor) as f32 }
        }
    }
}

/// How often each value occurs. Neighbours count in tables of their own: of equal ones, which images are full of, each
/// would wait for the one before to be stored.
fn histogram(values: &[u8]) -> [u64; 256] {
    let mut tables = [[0u64; 256]; 4];
    for values in values.chunks(4) {
        tables.iter_mut().zip(values).for_each(|(counts, &value)| counts[usize::from(value)] += 1);
    }
    std::array::from_fn(|value| tables.iter().map(|counts| counts[value]).sum())
}

/// `(value − subtract) / divide` for each column of a table.
#[derive(Clone, Debug)]
pub struct ColumnScale {
    subtract: Vec<f64>,
    divide: Vec<f64>,
}

/// What is added to the number of rows, and to the result, when a standard deviation is formed.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// 0 divides the sum of squares by n, 1 by n − 1.
    pub ddof: usize,
    pub epsilon: f64,
}

impl ColumnScale {
    /// Mean and standard deviation of each column over `rows`. A column without spread is only centred.
    pub fn standard(features: &[f32], width: usize, rows: &[usize], deviation: Deviation) -> Self {
        let count = rows.len().max(1) as f64;
        let divisor = rows.len().saturating_sub(deviation.ddof).max(1) as f64;
        let mut mean = vec![0.0; width];
        each_row(features, width, rows, |column, value| mean[column] += value);
        mean.iter_mut().for_each(|m| *m /= count);
        let mut squares = vec![0.0; width];
        each_row(features, width, rows, |column, value| {
            let distance = value - mean[column];
            squares[column] += distance * distance;
        });
        // Rounding leaves a constant column a spread of some 1e-16 of its value: that is no spread.
        let divide = squares.iter().zip(&mean).map(|(sum, m)| {
            let sd = (sum / divisor).sqrt();
            if sd <= m.abs() * 1e-12 { 1.0 } else { sd + deviation.epsilon }
        });
        ColumnScale { divide: divide.collect(), subtract: mean }
    }

    /// Smallest value to 0 and largest to 1 over `rows`. A constant column becomes 0.
    pub fn unit_range(features: &[f32], width: usize, rows: &[usize]) -> Self {
        let (mut low, mut high) = (vec![f64::INFINITY; width], vec![f64::NEG_INFINITY; width]);
        each_row(features, width, rows, |column, value| {
            low[column] = value.min(low[column]);
            high[column] = value.max(high[column]);
        });
        let divide = low.iter().zip(&high).map(|(l, h)| if h > l { h - l } else { 1.0 });
        ColumnScale { divide: divide.collect(), subtract: low }
    }

    /// Rescales `rows` in place.
    pub fn apply(&self, features: &mut [f32], rows: &[usize]) {
        let width = self.subtract.len();
        for &row in rows {
            let values = &mut features[row * width..(row + 1) * width];
            for ((value, subtract), divide) in values.iter_mut().zip(&self.subtract).zip(&self.divide) {
                *value = ((f64::from(*value) - subtract) / divide) as f32;
            }
        }
    }
}

fn each_row(features: &[f32], width: usize, rows: &[usize], mut visit: impl FnMut(usize, f64)) {
    for &row in rows {
        for (column, &value) in features[row * width..(row + 1) * width].iter().enumerate() {
            visit(column, f64::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POPULATION: Deviation = Deviation { ddof: 0, epsilon: 0.0 };

    #[test]
    fn pixels_are_standardised_by_one_mean_and_deviation() {
        // 0, 0, 4, 4: mean 2, sd 2, so value·0.5 − 1.
        assert_eq!(of_pixels(&[0, 0, 4, 4], 16, FeatureScaling::Standardize), PixelScale { scale: 0.5, shift: -1.0 });
        assert_eq!(of_pixels(&[9, 9], 16, FeatureScaling::Standardize), PixelScale { scale: 1.0, shift: -9.0 });
        assert_eq!(of_pixels(&[9], 16, FeatureScaling::Scale), PixelScale { scale: 0.0625, shift: 0.0 });
        assert_eq!(of_pixels(&[9], 16, FeatureScaling::None), PixelScale { scale: 1.0, shift: 0.0 });
    }

    #[test]
    fn columns_use_the_named_rows_only() {
        // Rows 0 and 1 are the training rows; row 2 would change every statistic.
        let features = vec![1.0, 0.1, 3.0, 0.1, 100.0, 0.1];
        let mut standard = features.clone();
        ColumnScale::standard(&features, 2, &[0, 1], POPULATION).apply(&mut standard, &[0, 1, 2]);
        assert_eq!(standard, [-1.0, 0.0, 1.0, 0.0, 98.0, 0.0]);
        let mut unit = features.clone();
        ColumnScale::unit_range(&features, 2, &[0, 1]).apply(&mut unit, &[0, 1, 2]);
        assert_eq!(unit, [0.0, 0.0, 1.0, 0.0, 49.5, 0.0]);
    }

    #[test]
    fn a_constant_column_stays_finite_whatever_its_value() {
        let features = vec![0.1; 7];
        let rows: Vec<usize> = (0..7).collect();
        let mut scaled = features.clone();
        ColumnScale::standard(&features, 1, &rows, Deviation { ddof: 1, epsilon: 1e-9 }).apply(&mut scaled, &rows);
        assert!(scaled.iter().all(|v| v.abs() < 1e-7), "{scaled:?}");
    }
}
