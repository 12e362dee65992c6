//! A data set of any size, drawn: for experiments with more clients or rows than a file at hand has.
//!
//! ```text
//! x ~ N(0, diag(1, 2^-1.2, 3^-1.2, …))      W, b ~ N(0, 1)      y = argmax(W·x + b)
//! ```
//! It is the set that the FedProx paper calls synthetic IID (Li et al., arXiv:1812.06127, section 5.1 and appendix C.1);
//! what clients differ in is the partition's to say. Every row is a function of seed and row number, so more rows are the
//! same rows and more. Where in the flow: one of the loaders. What it never does: touch the disk.

use super::scaling::{ColumnScale, Deviation};
use super::{Dataset, Examples, Features};
use crate::config::{self, FeatureScaling};
use crate::error::{Fault, Kind};
use crate::random::{Purpose, Stream};
use anyhow::Result;
use std::ops::RangeInclusive;

/// How the configuration calls it.
pub const NAME: &str = "synthetic";

const ROWS: RangeInclusive<usize> = 1..=1 << 31;
const FEATURES: RangeInclusive<usize> = 1..=65_536;
const CLASSES: RangeInclusive<usize> = 2..=1_000;

/// Which values a stream is for, its round word.
const MODEL: u64 = 0;
const TRAIN: u64 = 1;
const TEST: u64 = 2;

/// Draws the rows that `[data]` asks for. Sample shape `[num-features]`.
///
/// `none` and `scale` leave the features as they are drawn, `standardize` gives every column mean 0 and deviation 1.
/// Errors: `Kind::Config` for a size that is out of range, `Kind::Data` for one that memory does not hold.
pub fn load(config: &config::Data) -> Result<Dataset> {
    let mut resolved = config::Data { name: Some(NAME.into()), ..config.clone() };
    resolved.resolve();
    let size = |key: &str, value: Option<usize>, range: RangeInclusive<usize>| match value {
        Some(value) if range.contains(&value) => Ok(value),
        value => {
            let (value, (low, high)) = (value.unwrap_or(0), range.into_inner());
            Err(Fault::new(Kind::Config, format!("config `data.{key} = {value}`: use a value from {low} to {high}")))
        }
    };
    let width = size("num-features", resolved.num_features, FEATURES)?;
    let classes = size("num-classes", resolved.num_classes, CLASSES)?;
    let rows = size("num-rows", resolved.num_rows, ROWS)?;
    let test_rows = size("num-test-rows", resolved.num_test_rows, ROWS)?;
    let truth = Truth::draw(resolved.seed.unwrap_or(0), width, classes);
    let (mut train, mut test) = (truth.rows(TRAIN, rows)?, truth.rows(TEST, test_rows)?);
    if config.features == FeatureScaling::Standardize {
        let all: Vec<usize> = (0..rows).collect();
        let scale = ColumnScale::standard(&train.0, width, &all, Deviation { ddof: 0, epsilon: 0.0 });
        scale.apply(&mut train.0, &all);
        scale.apply(&mut test.0, &(0..test_rows).collect::<Vec<usize>>());
    }
    let [train, test] =
        [train, test].map(|(values, labels)| Examples { features: Features::F32(values), labels, clients: None });
    Dataset {
        name: NAME.into(),
        train,
        test,
        sample_shape: vec![width],
        num_classes: classes,
        client_names: Vec::new(),
        fingerprint: [0; 32],
    }
    .checked()
}

/// The model that gives the labels.
struct Truth {
    seed: u64,
    width: usize,
    /// Features × classes, so that a row's products run along the classes.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Standard deviation of each feature: j^-0.6, j from 1.
    deviations: Vec<f32>,
}

impl Truth {
    fn draw(seed: u64, width: usize, classes: usize) -> Truth {
        let (mut weights, mut bias) = (vec![0.0; width * classes], vec![0.0; classes]);
        fill_normal(&Stream::new(seed, Purpose::SyntheticData, MODEL, 0), &mut weights);
        fill_normal(&Stream::new(seed, Purpose::SyntheticData, MODEL, 1), &mut bias);
        let deviations = (1..=width).map(|j| libm::powf(j as f32, -0.6)).collect();
        Truth { seed, width, weights, bias, deviations }
    }

    /// Features and labels of the first `count` rows of a part.
    fn rows(&self, part: u64, count: usize) -> Result<(Vec<f32>, Vec<u32>)> {
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        let values = count.saturating_mul(self.width);
        if features.try_reserve_exact(values).is_err() || labels.try_reserve_exact(count).is_err() {
            let message = format!("data `{NAME}`: {count} rows of {} features do not fit in memory", self.width);
            return Err(Fault::new(Kind::Data, message));
        }
        features.resize(values, 0.0f32);
        let mut logits = vec![0.0; self.bias.len()];
        for (row, x) in (0u64..).zip(features.chunks_exact_mut(self.width)) {
            fill_normal(&Stream::new(self.seed, Purpose::SyntheticData, part, row), x);
            x.iter_mut().zip(&self.deviations).for_each(|(x, deviation)| *x *= deviation);
            labels.push(self.label(x, &mut logits));
        }
        Ok((features, labels))
    }

    /// The first of the largest logits.
    fn label(&self, x: &[f32], logits: &mut [f32]) -> u32 {
        logits.copy_from_slice(&self.bias);
        for (&x, weights) in x.iter().zip(self.weights.chunks_exact(logits.len())) {
            logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += x * weight);
        }
        let better = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
        (0..logits.len()).fold(0, better) as u32
    }
}

/// Standard normal values, four from each block of the stream, by Box–Muller in single precision: its 24 bits reach
/// 5.8 deviations, which is enough for features.
fn fill_normal(stream: &Stream, out: &mut [f32]) {
    for (index, out) in (0u64..).zip(out.chunks_mut(4)) {
        let words = stream.block(index);
        let [a, b] = [[words[0], words[1]], [words[2], words[3]]].map(normal_pair);
        out.iter_mut().zip([a, b].as_flattened()).for_each(|(out, value)| *out = *value);
    }
}

fn normal_pair([u, v]: [u32; 2]) -> [f32; 2] {
    const STEP: f32 = 1.0 / (1u32 << 24) as f32;
    // In (0, 1]: 0 has no logarithm.
    let u = ((u >> 8) + 1) as f32 * STEP;
    let (sin, cos) = libm::sincosf(std::f32::consts::TAU * ((v >> 8) as f32 * STEP));
    let radius = libm::sqrtf(-2.0 * libm::logf(u));
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    fn config(rows: usize) -> config::Data {
        config::Data { name: Some(NAME.into()), num_rows: Some(rows), num_test_rows: Some(50), ..Default::default() }
    }

    fn floats(examples: &Examples) -> &[f32] {
        match &examples.features {
            Features::F32(values) => values,
            Features::U8 { .. } => panic!("drawn features are no bytes"),
        }
    }

    #[test]
    fn more_rows_are_the_same_rows_and_more() {
        let (few, many) = (load(&config(100)).unwrap(), load(&config(300)).unwrap());
        assert_eq!(floats(&few.train), &floats(&many.train)[..6_000]);
        assert_eq!(few.train.labels, many.train.labels[..100]);
        assert_eq!((floats(&few.test), &few.test.labels), (floats(&many.test), &many.test.labels));
        assert_ne!(floats(&few.train)[..3_000], *floats(&few.test));
        let other = load(&config::Data { seed: Some(1), ..config(100) }).unwrap();
        assert_ne!(few.fingerprint, other.fingerprint);
    }

    #[test]
    fn features_have_the_variances_of_the_paper() {
        // Of n rows, the variance σ² is found with a deviation of σ²·√(2/n): 1 % of 20,000; 5 of them are 5 %.
        let data = load(&config(20_000)).unwrap();
        for column in [0, 1, 9, 59] {
            let values = floats(&data.train).iter().skip(column).step_by(60).map(|&x| f64::from(x));
            let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
            let (mean, expected) = (sum / 20_000.0, ((column + 1) as f64).powf(-1.2));
            let variance = squares / 20_000.0 - mean * mean;
            assert!((variance / expected - 1.0).abs() < 0.05, "column {column}: {variance}, {expected}");
            assert!(mean.abs() < 5.0 * (expected / 20_000.0).sqrt(), "column {column}: {mean}");
        }
    }

    #[test]
    fn labels_are_those_of_the_largest_logit() {
        let truth = Truth {
            seed: 0,
            width: 2,
            weights: vec![1.0, 0.0, -1.0, 0.0, 2.0, 0.0],
            bias: vec![0.0, 0.0, 0.5],
            deviations: vec![1.0; 2],
        };
        let label = |x: [f32; 2]| truth.label(&x, &mut [0.0; 3]);
        // Logits (x₀, 2·x₁, 0.5 − x₀).
        assert_eq!([label([1.0, 0.0]), label([0.0, 1.0]), label([-1.0, 0.5]), label([0.25, 0.125])], [0, 1, 2, 0]);
    }

    #[test]
    fn standardised_columns_have_deviation_one() {
        let data = load(&config::Data { features: FeatureScaling::Standardize, ..config(500) }).unwrap();
        let squares: f64 = floats(&data.train).iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((squares / 30_000.0 - 1.0).abs() < 1e-5, "{squares}");
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for (config, expected) in [
            (
                config::Data { num_rows: Some(0), ..config(1) },
                "config `data.num-rows = 0`: use a value from 1 to 2147483648",
            ),
            (
                config::Data { num_features: Some(0), ..config(1) },
                "config `data.num-features = 0`: use a value from 1 to 65536",
            ),
            (
                config::Data { num_classes: Some(1), ..config(1) },
                "config `data.num-classes = 1`: use a value from 2 to 1000",
            ),
        ] {
            let error = load(&config).unwrap_err();
            assert_eq!((error.to_string().as_str(), exit_code(&error)), (expected, 3));
        }
    }

    #[test]
    fn pairs_of_words_are_points_of_the_normal_plane() {
        // u = 2⁻²⁴: radius √(48·ln 2), the longest; a quarter turn from the first axis to the second; u = 1: the origin.
        let longest = (48.0 * std::f64::consts::LN_2).sqrt();
        for (words, [x, y]) in [([0, 0], [longest, 0.0]), ([0, 1 << 30], [0.0, longest]), ([u32::MAX, 5], [0.0, 0.0])] {
            let [a, b] = normal_pair(words).map(f64::from);
            assert!((a - x).abs() < 1e-5 && (b - y).abs() < 1e-5, "{words:?}: {a}, {b}");
        }
    }
}
