//! A convolution with its ReLU and its pool, as products of patches and kernels.
//!
//! ```text
//! x ──▶ patches [pixels, taps] ──· kernels [taps, outputs]──▶ pixels ──▶ pool, bias, ReLU ──▶ y
//! ```
//! Where in the flow: a stage of the [`Network`](super::network::Network). A few images at a time go through it, so
//! that their patches stay in the second-level cache; backward, patches are made again, which costs less than fetching
//! them from memory. What it never does: allocate.

use super::learner::Learner;
use super::linear::Backward;
use super::patches::Input;
use super::pool::Pool;
use super::product::{Before, Matrix, product};
use super::scratch::{Scratch, sized};

/// Elements of patches that are made at a time (unless one image has more).
const PATCHES: usize = 256 * 1024;

#[derive(Clone, Debug)]
pub struct Conv {
    pub input: Input,
    pub outputs: usize,
    pub pool: Pool,
    /// Where the weight begins in the flat vector; the bias follows it. In the plan its values are [taps, outputs].
    pub offset: usize,
}

impl Conv {
    fn bias_offset(&self) -> usize {
        self.offset + self.input.taps() * self.outputs
    }

    fn images_at_a_time(&self) -> usize {
        (PATCHES / (self.input.taps() * self.input.pixels())).max(1)
    }

    /// Shapes: `x` as the input says, `y` and `choices` as the pool says, one after another for each row.
    pub fn forward(&self, weights: &[f32], x: &[f32], y: &mut [f32], choices: &mut [u8], scratch: &mut Scratch) {
        let (taps, pixels, group) = (self.input.taps(), self.input.pixels(), self.images_at_a_time());
        let kernels = Matrix::new(&weights[self.offset..], taps, self.outputs);
        let bias = &weights[self.bias_offset()..][..self.outputs];
        let groups = x.chunks(group * self.input.len()).zip(y.chunks_mut(group * self.pool.output_len()));
        for ((x, y), choices) in groups.zip(choices.chunks_mut(group * self.pool.choices())) {
            let images = x.len() / self.input.len();
            let patches = sized(&mut scratch.patches, images * pixels * taps);
            self.input.patches(x, patches);
            let out = sized(&mut scratch.pixels, images * pixels * self.outputs);
            product(self.input.matrix(patches, images), kernels, out, self.outputs, Before::Overwritten);
            let each = out.chunks_exact(pixels * self.outputs).zip(y.chunks_exact_mut(self.pool.output_len()));
            for ((out, y), choices) in each.zip(choices.chunks_exact_mut(self.pool.choices())) {
                self.pool.forward(out, bias, y, choices);
            }
        }
    }

    /// From ∂loss/∂y to ∂loss/∂x, unless nobody asks for it, and the update of weight and bias.
    pub fn backward(&self, pass: Backward<'_>, choices: &[u8], scratch: &mut Scratch, learner: &mut Learner<'_>) {
        let Backward { x, slope_y, mut slope_x, rows, .. } = pass;
        let (taps, pixels, outputs, group) =
            (self.input.taps(), self.input.pixels(), self.outputs, self.images_at_a_time());
        let Scratch { patches, patch_slopes, pixels: out, gradient, bias, transposed } = scratch;
        let gradient = sized(gradient, taps * outputs);
        let (bias, image_bias) = sized(bias, 2 * outputs).split_at_mut(outputs);
        bias.fill(0.0);
        let kernels = &learner.weights[self.offset..][..taps * outputs];
        if slope_x.is_some() {
            // Once a step instead of once an image within the product.
            transpose(kernels, outputs, sized(transposed, taps * outputs));
        }
        for first in (0..rows).step_by(group) {
            let images = group.min(rows - first);
            let out = sized(out, images * pixels * outputs);
            for (image, out) in out.chunks_exact_mut(pixels * outputs).enumerate() {
                let row = first + image;
                let slope_y = &slope_y[row * self.pool.output_len()..][..self.pool.output_len()];
                let choices = &choices[row * self.pool.choices()..][..self.pool.choices()];
                // Sums over pixels, then over images: short sums stay exact to the last digits.
                image_bias.fill(0.0);
                self.pool.backward(slope_y, choices, out, image_bias);
                bias.iter_mut().zip(&*image_bias).for_each(|(sum, part)| *sum += part);
            }
            let slopes = Matrix::new(out, images * pixels, outputs);
            let patches = sized(patches, images * pixels * taps);
            let range = first * self.input.len()..(first + images) * self.input.len();
            self.input.patches(&x[range.clone()], patches);
            let before = if first == 0 { Before::Overwritten } else { Before::AddedTo };
            product(self.input.matrix(patches, images).transposed(), slopes, gradient, outputs, before);
            if let Some(slope_x) = slope_x.as_deref_mut() {
                let patch_slopes = sized(patch_slopes, images * pixels * taps);
                let kernels = Matrix::new(transposed, outputs, taps);
                product(slopes, kernels, patch_slopes, taps, Before::Overwritten);
                self.input.add_up(patch_slopes, &mut slope_x[range]);
            }
        }
        learner.learn(self.offset, gradient);
        learner.learn(self.bias_offset(), bias);
    }
}

/// `out` [columns, rows] from `matrix` [rows, columns].
fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    for (column, out) in out.chunks_exact_mut(rows).enumerate() {
        out.iter_mut().zip(matrix[column..].iter().step_by(columns)).for_each(|(o, m)| *o = *m);
    }
}
