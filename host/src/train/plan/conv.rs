//! A convolution with its ReLU and its pool, as products over what lies under the kernel.
//!
//! ```text
//! windows of x [pixels, taps] · kernels [taps, outputs] ──▶ pixels ──▶ pool, bias, ReLU ──▶ y
//! windows of x [taps, pixels] · slopes of pixels        ──▶ gradient of the kernels
//! windows of slopes           · turned kernels          ──▶ slopes of x
//! ```
//! Where in the flow: a stage of the [`Network`](super::network::Network). One image goes through it at a time. Windows
//! are read where they lie; only those of the data's own images, whose runs are too short for that, are copied. The
//! sums over an image's pixels are added up image by image. What it never does: allocate.

use super::learner::Learner;
use super::linear::Backward;
use super::operands::{Dense, Windows, panels_of_rows};
use super::patches::{Form, Input};
use super::pool::Pool;
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

    /// From ∂loss/∂y to ∂loss/∂x, unless nobody asks for it, and the update of weight and bias.
    pub fn backward(&self, pass: Backward<'_>, choices: &[u8], scratch: &mut Scratch, learner: &mut Learner<'_>) {
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
