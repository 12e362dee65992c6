//! Batch normalisation with its ReLU and its pool: `y = pool(max(γ·(x − μ)/√(σ² + ε) + β, 0))`, channel by channel.
//!
//! In training μ and σ² are the mean and the biased variance of a channel over the pixels of all images of the batch, or of a
//! feature over its rows (Ioffe and Szegedy, arXiv:1502.03167, Algorithm 1); in evaluation they are the running ones. Each
//! training step moves these a tenth of the way, as PyTorch does: `r ← 0.9·r + 0.1·s` with s the batch's mean, or its
//! unbiased variance n/(n − 1)·σ². A single value (n = 1) has none, so the running variance then stays as it is; PyTorch
//! refuses such a batch. A running variance below zero, as noise or a lossy codec may leave it, counts as 0.
//!
//! Sums run in `f64` in the order of rows and pixels, one chain a channel, whatever the registers.
//! Where in the flow: a stage of the [`Network`](super::network::Network), behind a convolution or a linear layer. What it
//! never does: hand a running statistic to the optimizer.

use super::learner::Learner;
use super::linear::Backward;
use super::pool::Pool;
use super::scratch::{Scratch, sized};
use crate::registers::Registers;
use crate::train::{NORM_EPSILON, NORM_MOMENTUM};

#[derive(Clone, Debug)]
pub struct Norm {
    /// What follows the normalisation. Features are an image of one pixel with as many channels.
    pub pool: Pool,
    /// Where γ begins in the plan's vector; β, running mean and running variance follow it, a value for each channel.
    pub offset: usize,
}

/// By what a pass normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The batch's own: training.
    OfBatch,
    /// The running ones: evaluation.
    Running,
}

/// What a forward pass leaves for the backward pass, a value for each channel.
#[derive(Debug, Default)]
pub struct Trace {
    mean: Vec<f64>,
    /// Biased.
    variance: Vec<f64>,
    /// The mean as it is subtracted, and γ/√(σ² + ε) by which the rest is multiplied.
    centre: Vec<f32>,
    scale: Vec<f32>,
}

impl Norm {
    /// Elements of one image as it comes in.
    pub fn input_len(&self) -> usize {
        self.pool.height * self.pool.width * self.pool.channels
    }

    /// γ, β, running mean and running variance.
    fn parameters<'w>(&self, weights: &'w [f32]) -> [&'w [f32]; 4] {
        let channels = self.pool.channels;
        [0, 1, 2, 3].map(|index| &weights[self.offset + index * channels..][..channels])
    }

    /// Shapes: `x` [rows, height, width, channels]; `y` and `choices` as the pool says, one after another for each row.
    pub fn forward(&self, pass: Forward<'_>, statistics: Statistics, scratch: &mut Scratch, trace: &mut Trace) {
        let Forward { registers, weights, x, y, choices } = pass;
        let [gamma, beta, running_mean, running_variance] = self.parameters(weights);
        match statistics {
            Statistics::OfBatch => registers.run(
                #[inline(always)]
                || trace.measure(x, self.pool.channels),
            ),
            Statistics::Running => trace.take(running_mean, running_variance),
        }
        trace.prepare(gamma);
        let normal = sized(&mut scratch.pixels, self.input_len());
        let images = x.chunks_exact(self.input_len()).zip(y.chunks_exact_mut(self.pool.output_len()));
        for ((x, y), choices) in images.zip(choices.chunks_exact_mut(self.pool.choices())) {
            registers.run(
                #[inline(always)]
                || {
                    trace.normalise(x, normal);
                    self.pool.forward(normal, beta, y, choices);
                },
            );
        }
    }

    /// From ∂loss/∂y to ∂loss/∂x, the update of γ and β, and the step of the running statistics.
    ///
    /// With x̂ = (x − μ)/√(σ² + ε) and s = ∂loss/∂(γx̂ + β): ∂loss/∂β = Σs, ∂loss/∂γ = Σs·x̂,
    /// ∂loss/∂x = γ/√(σ² + ε)·(s − Σs/n − x̂·Σs·x̂/n).
    pub fn backward(
        &self,
        pass: Backward<'_>,
        choices: &[u8],
        trace: &Trace,
        scratch: &mut Scratch,
        learner: &mut Learner<'_>,
    ) {
        let Backward { registers, x, slope_y, slope_x, .. } = pass;
        let slope_x = slope_x.expect("a norm stands behind another stage, which asks for slopes");
        let channels = self.pool.channels;
        let Scratch { gradient, bias, sums, .. } = scratch;
        let (slopes, products) = sized(sums, 2 * channels).split_at_mut(channels);
        let image_slopes = sized(bias, channels);
        slopes.fill(0.0);
        products.fill(0.0);
        let images = x.chunks_exact(self.input_len()).zip(slope_x.chunks_exact_mut(self.input_len()));
        let above = slope_y.chunks_exact(self.pool.output_len()).zip(choices.chunks_exact(self.pool.choices()));
        for ((x, slope_x), (slope_y, choices)) in images.zip(above) {
            image_slopes.fill(0.0);
            registers.run(
                #[inline(always)]
                || {
                    self.pool.backward(slope_y, choices, slope_x, image_slopes);
                    add(slopes, image_slopes);
                    add_products(products, x, slope_x, &trace.centre);
                },
            );
        }
        let count = (x.len() / channels) as f64;
        let gradient = sized(gradient, 4 * channels);
        let (gradient, pulls) = gradient.split_at_mut(2 * channels);
        let (of_gamma, of_beta) = gradient.split_at_mut(channels);
        let (mean_slope, pull) = pulls.split_at_mut(channels);
        for channel in 0..channels {
            let inverse = inverse(trace.variance[channel]);
            of_gamma[channel] = (products[channel] * inverse) as f32;
            of_beta[channel] = slopes[channel] as f32;
            mean_slope[channel] = (slopes[channel] / count) as f32;
            pull[channel] = (products[channel] * inverse * inverse / count) as f32;
        }
        registers.run(
            #[inline(always)]
            || trace.slopes_of_inputs(x, slope_x, mean_slope, pull),
        );
        learner.learn(self.offset, gradient);
        self.advance(trace, count, learner.weights);
    }

    /// Moves the running statistics towards the batch's.
    fn advance(&self, trace: &Trace, count: f64, weights: &mut [f32]) {
        let channels = self.pool.channels;
        let running = &mut weights[self.offset + 2 * channels..][..2 * channels];
        let (mean, variance) = running.split_at_mut(channels);
        let step = |running: &mut f32, of_batch: f64| {
            *running = ((1.0 - NORM_MOMENTUM) * f64::from(*running) + NORM_MOMENTUM * of_batch) as f32;
        };
        mean.iter_mut().zip(&trace.mean).for_each(|(running, &mean)| step(running, mean));
        if count > 1.0 {
            let unbiased = count / (count - 1.0);
            let each = variance.iter_mut().zip(&trace.variance);
            each.for_each(|(running, &variance)| step(running, unbiased * variance));
        }
    }
}

/// What a norm's forward pass reads and writes.
pub struct Forward<'a> {
    pub registers: Registers,
    pub weights: &'a [f32],
    pub x: &'a [f32],
    pub y: &'a mut [f32],
    pub choices: &'a mut [u8],
}

/// 1/√(σ² + ε).
fn inverse(variance: f64) -> f64 {
    1.0 / (variance + NORM_EPSILON).sqrt()
}

impl Trace {
    /// Mean and biased variance of each channel of `x` [pixels of all images, channels].
    #[inline(always)]
    fn measure(&mut self, x: &[f32], channels: usize) {
        let count = (x.len() / channels) as f64;
        let zeros = |values: &mut Vec<f64>| {
            values.clear();
            values.resize(channels, 0.0);
        };
        zeros(&mut self.mean);
        zeros(&mut self.variance);
        for pixel in x.chunks_exact(channels) {
            add(&mut self.mean, pixel);
        }
        self.mean.iter_mut().for_each(|sum| *sum /= count);
        for pixel in x.chunks_exact(channels) {
            for ((sum, mean), &x) in self.variance.iter_mut().zip(&self.mean).zip(pixel) {
                let centred = f64::from(x) - mean;
                *sum += centred * centred;
            }
        }
        self.variance.iter_mut().for_each(|sum| *sum /= count);
    }

    fn take(&mut self, mean: &[f32], variance: &[f32]) {
        let at_least_zero = |variance: f64| if variance < 0.0 { 0.0 } else { variance };
        self.mean.clear();
        self.mean.extend(mean.iter().map(|&mean| f64::from(mean)));
        self.variance.clear();
        self.variance.extend(variance.iter().map(|&variance| at_least_zero(f64::from(variance))));
    }

    fn prepare(&mut self, gamma: &[f32]) {
        self.centre.clear();
        self.centre.extend(self.mean.iter().map(|&mean| mean as f32));
        let scale = gamma.iter().zip(&self.variance).map(|(&gamma, &variance)| f64::from(gamma) * inverse(variance));
        self.scale.clear();
        self.scale.extend(scale.map(|scale| scale as f32));
    }

    /// γ·x̂ of one image.
    #[inline(always)]
    fn normalise(&self, x: &[f32], normal: &mut [f32]) {
        let channels = self.scale.len();
        let (centre, scale) = (&self.centre[..channels], &self.scale[..channels]);
        for (x, normal) in x.chunks_exact(channels).zip(normal.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                normal[channel] = (x[channel] - centre[channel]) * scale[channel];
            }
        }
    }

    /// Slopes of `x` where those of γx̂ + β lie. `pull`: Σs·x̂/n divided once more by √(σ² + ε).
    #[inline(always)]
    fn slopes_of_inputs(&self, x: &[f32], slopes: &mut [f32], mean_slope: &[f32], pull: &[f32]) {
        let channels = self.scale.len();
        let (centre, scale) = (&self.centre[..channels], &self.scale[..channels]);
        let (mean_slope, pull) = (&mean_slope[..channels], &pull[..channels]);
        for (x, slope) in x.chunks_exact(channels).zip(slopes.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let own = (x[channel] - centre[channel]) * pull[channel];
                slope[channel] = scale[channel] * (slope[channel] - mean_slope[channel] - own);
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f64], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += f64::from(value));
}

/// Adds Σ slope·(x − μ) of one image to `sums`.
#[inline(always)]
fn add_products(sums: &mut [f64], x: &[f32], slopes: &[f32], centre: &[f32]) {
    let channels = sums.len();
    let centre = &centre[..channels];
    for (x, slope) in x.chunks_exact(channels).zip(slopes.chunks_exact(channels)) {
        for channel in 0..channels {
            sums[channel] += f64::from(slope[channel]) * f64::from(x[channel] - centre[channel]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(channels: usize) -> Norm {
        let pool = Pool { channels, height: 1, width: 1, window: 1, relu: false, ring: 0, slope_ring: 0 };
        Norm { pool, offset: 0 }
    }

    /// Outputs of a norm of features; `weights`: γ, β, running mean, running variance.
    fn forward(weights: &[f32], x: &[f32], statistics: Statistics) -> (Vec<f32>, Trace) {
        let norm = features(weights.len() / 4);
        let (mut y, mut choices, mut trace) = (vec![f32::NAN; x.len()], vec![0; x.len()], Trace::default());
        let registers = Registers::widest();
        let pass = Forward { registers, weights, x, y: &mut y, choices: &mut choices };
        norm.forward(pass, statistics, &mut Scratch::default(), &mut trace);
        (y, trace)
    }

    #[track_caller]
    fn close(found: &[f32], expected: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
    }

    #[test]
    fn a_batch_is_normalised_by_its_own_statistics_and_moves_the_running_ones() {
        // Two features of four rows. (1, 3, 5, 7): mean 4, squares 9 + 1 + 1 + 9 = 20, biased variance 5, unbiased 20/3.
        // (2, 2, 2, 6): mean 3, squares 1 + 1 + 1 + 9 = 12, biased 3, unbiased 4.
        let x = [1.0, 2.0, 3.0, 2.0, 5.0, 2.0, 7.0, 6.0];
        let mut weights = [2.0, -1.0, 0.5, 0.0, 10.0, 0.0, 1.0, 2.0];
        let (y, trace) = forward(&weights, &x, Statistics::OfBatch);
        let (a, b) = (2.0 / 5f32.sqrt(), -1.0 / 3f32.sqrt());
        let first = [-3.0, -1.0, 1.0, 3.0].map(|x| a * x + 0.5);
        let second = [-1.0, -1.0, -1.0, 3.0].map(|x| b * x);
        close(&y, &(0..4).flat_map(|row| [first[row], second[row]]).collect::<Vec<_>>());
        features(2).advance(&trace, 4.0, &mut weights);
        // 0.9·10 + 0.1·4, 0.1·3; 0.9·1 + 0.1·20/3, 0.9·2 + 0.1·4. What is trained stays.
        close(&weights, &[2.0, -1.0, 0.5, 0.0, 9.4, 0.3, 0.9 + 2.0 / 3.0, 2.2]);
    }

    #[test]
    fn evaluation_uses_the_running_statistics_of_which_a_negative_variance_counts_as_zero() {
        let (y, _) = forward(&[2.0, 1.0, 1.0, 0.0, 3.0, 1.0, 4.0, -7.0], &[5.0, 1.5], Statistics::Running);
        // 2·(5 − 3)/√(4 + 10⁻⁵) + 1; (1.5 − 1)/√10⁻⁵.
        close(&y, &[3.0 - 2.5e-6, 0.5 / 1e-5f32.sqrt()]);
    }

    #[test]
    fn a_batch_of_one_value_comes_out_as_the_shift_and_leaves_the_running_variance_alone() {
        let mut weights = [2.0, 0.25, 1.0, 5.0];
        let (y, trace) = forward(&weights, &[7.0], Statistics::OfBatch);
        assert_eq!(y, [0.25]);
        features(1).advance(&trace, 1.0, &mut weights);
        close(&weights, &[2.0, 0.25, 1.6, 5.0]);
    }

    #[test]
    fn what_is_not_a_number_stays_visible() {
        let (y, _) = forward(&[1.0, 0.0, 0.0, 1.0], &[1.0, f32::NAN, 2.0], Statistics::OfBatch);
        assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
        let (y, _) = forward(&[1.0, 0.0, 0.0, f32::NAN], &[1.0], Statistics::Running);
        assert!(y[0].is_nan());
    }
}
