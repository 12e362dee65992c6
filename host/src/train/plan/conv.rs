//! A convolution with its ReLU and its pool, as products over what lies under the kernel.
//!
//! ```text
//! windows of x [pixels, taps] · kernels [taps, outputs] ──▶ pixels ──▶ pool, bias, ReLU ──▶ y
//! windows of x [taps, pixels] · slopes of pixels        ──▶ gradient of the kernels
//! windows of slopes           · turned kernels          ──▶ slopes of x
//! ```
//! Where in the flow: a stage of the [`Network`](super::network::Network). One image goes through it at a time. Windows
//! are read where they lie; only those of the data's own images, whose runs are too short for that, are copied. The
//! sums over an image's pixels are added up image by image. Under a pool the way back leaves out slopes that are zero
//! ([`pooled`](super::pooled)). What it never does: allocate.

use super::learner::Learner;
use super::linear::Backward;
use super::operands::{Dense, Windows, panels_of_rows};
use super::patches::{Form, Input};
use super::pool::Pool;
use super::pooled::{Geometry, ImageBack, panels_of_channels, rows_of_channels};
use super::scratch::{Scratch, sized};
use super::tile::{Added, ByColumns, ByRuns, Fresh, Panels, Place, Target, WIDTH, pieces};
use crate::registers::Registers;

#[derive(Clone, Debug)]
pub struct Conv {
    pub input: Input,
    pub outputs: usize,
    pub pool: Pool,
    /// Where the weight begins in the plan's vector, panels of a matrix [taps, outputs]; the bias follows it.
    pub offset: usize,
    /// Where each output pixel's window begins in `x`. Empty for planes.
    corners: Vec<u32>,
    /// Where each pixel of `x` lies, and where the slopes that it reaches begin. Empty for planes.
    places: Vec<u32>,
    slope_corners: Vec<u32>,
}

impl Conv {
    /// `pool` is told how wide a ring the slopes need.
    pub fn new(input: Input, outputs: usize, mut pool: Pool, offset: usize) -> Self {
        if input.form == Form::Planes {
            return Conv { input, outputs, pool, offset, corners: vec![], places: vec![], slope_corners: vec![] };
        }
        let Input { channels, height, width, kernel, padding, .. } = input;
        let [out_height, out_width] = input.output_sides();
        // A pixel of `x` is reached by the outputs up to `kernel − 1 − padding` before it and `padding` behind it.
        pool.slope_ring = (kernel - 1).saturating_sub(padding);
        let shift = padding.saturating_sub(kernel - 1);
        let slope_row = out_width + 2 * pool.slope_ring;
        let row = width + 2 * padding;
        let grid = |height: usize, width: usize, at: &dyn Fn(usize, usize) -> usize| {
            (0..height * width).map(|pixel| at(pixel / width, pixel % width) as u32).collect()
        };
        Conv {
            corners: grid(out_height, out_width, &|y, x| (y * row + x) * channels),
            places: grid(height, width, &|y, x| ((y + padding) * row + x + padding) * channels),
            slope_corners: grid(height, width, &|y, x| ((y + shift) * slope_row + x + shift) * outputs),
            input,
            outputs,
            pool,
            offset,
        }
    }

    fn bias_offset(&self) -> usize {
        self.offset + self.input.taps() * self.outputs
    }

    /// Shapes: `x` as the input says, `y` and `choices` as the pool says, one after another for each row; `weights`
    /// with a panel's width of room at their end.
    pub fn forward(
        &self,
        registers: Registers,
        weights: &[f32],
        x: &[f32],
        y: &mut [f32],
        choices: &mut [u8],
        scratch: &mut Scratch,
    ) {
        let pixels = self.input.pixels();
        let bias = &weights[self.bias_offset()..][..self.outputs];
        let out = sized(&mut scratch.pixels, pixels * self.outputs);
        let images = x.chunks_exact(self.input.len()).zip(y.chunks_exact_mut(self.pool.output_len()));
        for ((x, y), choices) in images.zip(choices.chunks_exact_mut(self.pool.choices())) {
            match self.input.form {
                Form::Planes => {
                    let patches = sized(&mut scratch.patches, self.input.taps() * pixels);
                    self.input.patches(x, patches);
                    self.product_of_patches(registers, weights, patches, out);
                }
                Form::Pixels => self.product_of_windows(registers, weights, x, out),
            }
            registers.run(
                #[inline(always)]
                || self.pool.forward(out, bias, y, choices),
            );
        }
    }

    fn product_of_patches(&self, registers: Registers, weights: &[f32], patches: &[f32], out: &mut [f32]) {
        let (pixels, taps, outputs) = (self.input.pixels(), self.input.taps(), self.outputs);
        let left = Dense { values: patches, stride: pixels, length: taps };
        let right = Panels { values: &weights[self.offset..], depth: taps, first: 0, columns: outputs };
        let place = Place::Stride(outputs);
        let target = Target { values: out, place, panel_stride: WIDTH, overlapping: false };
        registers.dispatch(ByColumns { left, rows: pixels, right, target, sum: Fresh });
    }

    fn product_of_windows(&self, registers: Registers, weights: &[f32], x: &[f32], out: &mut [f32]) {
        let (taps, outputs) = (self.input.taps(), self.outputs);
        let left = self.windows(x, 0, self.input.kernel);
        let right = Panels { values: &weights[self.offset..], depth: taps, first: 0, columns: outputs };
        let target = Target { values: out, place: Place::Stride(outputs), panel_stride: WIDTH, overlapping: false };
        registers.dispatch(ByRuns { left, rows: self.corners.len(), right, target, sum: Fresh });
    }

    fn windows<'a>(&'a self, image: &'a [f32], first: usize, rows: usize) -> Windows<'a> {
        let (row, run) = (self.input.row(), self.input.run());
        Windows { image, corners: &self.corners, row, run, first, rows }
    }

    /// From ∂loss/∂y to ∂loss/∂x, unless nobody asks for it, and the update of weight and bias. On the ring of ∂loss/∂x may stand
    /// anything.
    pub fn backward(&self, pass: Backward<'_>, choices: &[u8], scratch: &mut Scratch, learner: &mut Learner<'_>) {
        // Under a pool most slopes are zero. Rows of windows that are no whole panels would need vectors that are cut.
        if self.pool.window > 1 && self.input.form == Form::Pixels && self.input.run().is_multiple_of(WIDTH) {
            self.backward_without_zeros(pass, choices, scratch, learner);
        } else {
            self.backward_whole(pass, choices, scratch, learner);
        }
    }

    /// By products over all slopes.
    fn backward_whole(&self, pass: Backward<'_>, choices: &[u8], scratch: &mut Scratch, learner: &mut Learner<'_>) {
        let Backward { registers, x, slope_y, mut slope_x, .. } = pass;
        let (taps, pixels, outputs) = (self.input.taps(), self.input.pixels(), self.outputs);
        let Scratch { patches, pixels: out, panels, turned, gradient, bias, .. } = scratch;
        let gradient = sized(gradient, taps * outputs);
        let (bias, image_bias) = sized(bias, 2 * outputs).split_at_mut(outputs);
        gradient.fill(0.0);
        bias.fill(0.0);
        let turned = sized(turned, taps * outputs + WIDTH);
        if slope_x.is_some() {
            self.turn_kernels(&learner.weights[self.offset..], turned);
        }
        let out = sized(out, self.pool.slopes_len());
        let panels = sized(panels, pixels * outputs + WIDTH);
        let images = x.chunks_exact(self.input.len()).zip(slope_y.chunks_exact(self.pool.output_len()));
        for (image, ((x, slope_y), choices)) in images.zip(choices.chunks_exact(self.pool.choices())).enumerate() {
            // Sums over pixels, then over images: short sums stay exact to the last digits.
            image_bias.fill(0.0);
            registers.run(
                #[inline(always)]
                || self.pool.backward(slope_y, choices, out, image_bias),
            );
            bias.iter_mut().zip(&*image_bias).for_each(|(sum, part)| *sum += part);
            for (first, row) in self.pool.slope_rows(out) {
                panels_of_rows(row, outputs, first, pixels, panels);
            }
            match self.input.form {
                Form::Planes => {
                    let patches = sized(patches, taps * pixels);
                    self.input.patches(x, patches);
                    self.gradient_of_patches(registers, patches, panels, gradient);
                }
                Form::Pixels => self.gradient_of_windows(registers, x, panels, gradient),
            }
            if let Some(slope_x) = slope_x.as_deref_mut() {
                let slope_x = &mut slope_x[image * self.input.len()..][..self.input.len()];
                self.slopes_of_image(registers, out, turned, slope_x);
            }
        }
        learner.learn(self.offset, gradient);
        learner.learn(self.bias_offset(), bias);
    }

    /// By the slopes that the pool passed on, to the same bits.
    fn backward_without_zeros(
        &self,
        pass: Backward<'_>,
        choices: &[u8],
        scratch: &mut Scratch,
        learner: &mut Learner<'_>,
    ) {
        let Backward { registers, x, slope_y, mut slope_x, .. } = pass;
        let (taps, outputs) = (self.input.taps(), self.outputs);
        let Scratch { gradient, kernels, bias, picked, .. } = scratch;
        let gradient = sized(gradient, taps * outputs);
        let (kernels, gradients) = sized(kernels, 3 * taps * outputs).split_at_mut(taps * outputs);
        let (sum, image_gradient) = gradients.split_at_mut(taps * outputs);
        let (bias, image_bias) = sized(bias, 2 * outputs).split_at_mut(outputs);
        sum.fill(0.0);
        bias.fill(0.0);
        rows_of_channels(&learner.weights[self.offset..][..taps * outputs], taps, kernels);
        let Input { kernel, channels, .. } = self.input;
        let geometry = Geometry { kernel, channels, row: self.input.row() };
        let images = x.chunks_exact(self.input.len()).zip(slope_y.chunks_exact(self.pool.output_len()));
        for (image, ((x, slope_y), choices)) in images.zip(choices.chunks_exact(self.pool.choices())).enumerate() {
            // Sums over pixels, then over images: short sums stay exact to the last digits.
            image_bias.fill(0.0);
            image_gradient.fill(0.0);
            registers.dispatch(ImageBack {
                geometry,
                pool: &self.pool,
                x,
                slope_y,
                choices,
                kernels,
                gradient: image_gradient,
                slope_x: slope_x.as_deref_mut().map(|slope_x| &mut slope_x[image * x.len()..][..x.len()]),
                picked: sized(picked, outputs),
            });
            registers.run(
                #[inline(always)]
                || {
                    self.pool.bias_backward(slope_y, choices, image_bias);
                    sum.iter_mut().zip(&*image_gradient).for_each(|(sum, part)| *sum += part);
                },
            );
            bias.iter_mut().zip(&*image_bias).for_each(|(sum, part)| *sum += part);
        }
        panels_of_channels(sum, taps, gradient);
        learner.learn(self.offset, gradient);
        learner.learn(self.bias_offset(), bias);
    }

    /// To `gradient`, in panels, from the slopes of one image's pixels in panels.
    fn gradient_of_patches(&self, registers: Registers, patches: &[f32], slopes: &[f32], gradient: &mut [f32]) {
        let (taps, pixels) = (self.input.taps(), self.input.pixels());
        for (column, count) in pieces(self.outputs, 2) {
            let width = WIDTH.min(count);
            let left = Dense { values: patches, stride: pixels, length: pixels };
            let right = Panels { values: &slopes[column * pixels..], depth: pixels, first: 0, columns: count };
            let (values, place) = (&mut gradient[column * taps..], Place::Stride(width));
            let target = Target { values, place, panel_stride: taps * WIDTH, overlapping: false };
            registers.dispatch(ByRuns { left, rows: taps, right, target, sum: Added });
        }
    }

    fn gradient_of_windows(&self, registers: Registers, x: &[f32], slopes: &[f32], gradient: &mut [f32]) {
        let (taps, pixels, run) = (self.input.taps(), self.input.pixels(), self.input.run());
        for (column, count) in pieces(self.outputs, 2) {
            let width = WIDTH.min(count);
            for ky in 0..self.input.kernel {
                let right = Panels { values: &slopes[column * pixels..], depth: pixels, first: 0, columns: count };
                let values = &mut gradient[column * taps + ky * run * width..];
                let target =
                    Target { values, place: Place::Stride(width), panel_stride: taps * WIDTH, overlapping: false };
                registers.dispatch(ByColumns { left: self.windows(x, ky, 1), rows: run, right, target, sum: Added });
            }
        }
    }

    /// ∂loss/∂x of one image: its slopes `out`, within their ring, under the turned kernels.
    fn slopes_of_image(&self, registers: Registers, out: &[f32], turned: &[f32], slope_x: &mut [f32]) {
        let Input { channels, kernel, .. } = self.input;
        let (row, run) = (self.pool.slope_row(), kernel * self.outputs);
        let left = Windows { image: out, corners: &self.slope_corners, row, run, first: 0, rows: kernel };
        let right = Panels { values: turned, depth: kernel * run, first: 0, columns: channels };
        let place = Place::Listed(&self.places);
        let target = Target { values: slope_x, place, panel_stride: WIDTH, overlapping: false };
        registers.dispatch(ByRuns { left, rows: self.places.len(), right, target, sum: Fresh });
    }

    /// Kernels [taps, channels, outputs] turned by half a circle, as panels of a matrix [taps · outputs, channels].
    fn turn_kernels(&self, kernels: &[f32], turned: &mut [f32]) {
        let (outputs, channels) = (self.outputs, self.input.channels);
        let squares = self.input.kernel * self.input.kernel;
        for column in (0..outputs).step_by(WIDTH) {
            let width = WIDTH.min(outputs - column);
            let panel = kernels[column * squares * channels..].chunks_exact(width);
            for (row, values) in panel.take(squares * channels).enumerate() {
                let (square, channel) = (row / channels, row % channels);
                let first = channel / WIDTH * WIDTH;
                let lanes = WIDTH.min(channels - first);
                let to =
                    first * squares * outputs + ((squares - 1 - square) * outputs + column) * lanes + channel - first;
                turned[to..].iter_mut().step_by(lanes).zip(values).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all_registers, task};
    use super::*;
    use crate::train::sgd::Update;

    /// Odd sides, whose last row or column belongs to no square; outputs that fill no panel; images that follow one another.
    #[test]
    fn slopes_that_are_zero_change_no_bit() {
        const OFFSET: usize = 3;
        const IMAGES: usize = 3;
        let value = |i: usize| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3;
        let cases = [
            (16, 5, [7, 9], 3, 1, true),
            (32, 40, [6, 6], 5, 2, true),
            (16, 16, [4, 5], 1, 0, false),
            (16, 20, [8, 7], 3, 0, true),
        ];
        for (channels, outputs, [height, width], kernel, padding, relu) in cases {
            let input = Input { channels, height, width, kernel, padding, form: Form::Pixels };
            let [rows, columns] = input.output_sides();
            let pool =
                Pool { channels: outputs, height: rows, width: columns, window: 2, relu, ring: 1, slope_ring: 0 };
            let conv = Conv::new(input, outputs, pool, OFFSET);
            let start: Vec<f32> = (0..OFFSET + (input.taps() + 1) * outputs + WIDTH).map(value).collect();
            let x: Vec<f32> = (0..IMAGES * input.len()).map(|i| value(i * 31 + 5)).collect();
            let slope_y: Vec<f32> = (0..IMAGES * conv.pool.output_len()).map(|i| value(i * 17 + 1)).collect();
            let update = Update::new(&task(&start, &[], 1, |task| task.learning_rate = 0.1));
            let back = |registers: Registers, is_whole: bool| {
                let (mut scratch, mut weights) = (Scratch::default(), start.clone());
                let (mut y, mut choices) = (vec![0.0; slope_y.len()], vec![0; IMAGES * conv.pool.choices()]);
                conv.forward(registers, &weights, &x, &mut y, &mut choices, &mut scratch);
                let (mut slope_y, mut slope_x) = (slope_y.clone(), vec![f32::NAN; x.len()]);
                let (velocity, gradient) = (&mut [], &mut []);
                let mut learner = Learner { registers, update: &update, weights: &mut weights, velocity, gradient };
                let slope_x_place = Some(&mut slope_x[..]);
                let pass =
                    Backward { registers, x: &x, y: &y, slope_y: &mut slope_y, slope_x: slope_x_place, rows: IMAGES };
                if is_whole {
                    conv.backward_whole(pass, &choices, &mut scratch, &mut learner);
                } else {
                    conv.backward_without_zeros(pass, &choices, &mut scratch, &mut learner);
                }
                assert!(weights[OFFSET..weights.len() - WIDTH].iter().zip(&start[OFFSET..]).any(|(a, b)| a != b));
                let inner = slope_x.chunks_exact(input.len()).flat_map(|image| {
                    conv.places.iter().flat_map(|&place| image[place as usize..][..channels].to_vec())
                });
                inner.chain(weights.iter().copied()).map(f32::to_bits).collect::<Vec<_>>()
            };
            let whole = back(Registers::widest(), true);
            for registers in all_registers() {
                assert!(back(registers, false) == whole, "{channels} to {outputs} channels, {registers:?}");
            }
        }
    }
}
