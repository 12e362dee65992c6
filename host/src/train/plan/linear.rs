//! A linear layer with its ReLU: `y = max(x·W + b, 0)`, its slopes and its update.
//!
//! Where in the flow: a stage of the [`Network`](super::network::Network). What it never does: allocate.

use super::learner::Learner;
use super::product::{Before, Matrix, product};
use super::scratch::{Scratch, sized};

/// Elements of a band of weights, whose gradient, slope and update follow one another while it is in the
/// second-level cache.
const BAND: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct Linear {
    pub inputs: usize,
    pub outputs: usize,
    pub relu: bool,
    /// Where the weight [inputs, outputs] begins in the flat vector; the bias follows it.
    pub offset: usize,
}

impl Linear {
    fn bias_offset(&self) -> usize {
        self.offset + self.inputs * self.outputs
    }

    /// Shapes: `x` [rows, inputs], `y` [rows, outputs].
    pub fn forward(&self, weights: &[f32], x: &[f32], y: &mut [f32], rows: usize) {
        let bias = &weights[self.bias_offset()..][..self.outputs];
        y.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(bias));
        let weight = Matrix::new(&weights[self.offset..], self.inputs, self.outputs);
        product(Matrix::new(x, rows, self.inputs), weight, y, self.outputs, Before::AddedTo);
        if self.relu {
            y.iter_mut().for_each(|y| *y = rectified(*y));
        }
    }

    /// From ∂loss/∂y to ∂loss/∂x, unless nobody asks for it, and the update of weight and bias.
    ///
    /// Shapes as in `forward`; slopes as what they are slopes of. `slope_y` loses what ReLU held back.
    pub fn backward(&self, pass: Backward<'_>, scratch: &mut Scratch, learner: &mut Learner<'_>) {
        let Backward { x, y, slope_y, mut slope_x, rows } = pass;
        let (inputs, outputs) = (self.inputs, self.outputs);
        if self.relu {
            slope_y.iter_mut().zip(y).for_each(|(slope, &y)| *slope = if y <= 0.0 { 0.0 } else { *slope });
        }
        let slope = Matrix::new(slope_y, rows, outputs);
        let band = (BAND / outputs).clamp(1, inputs);
        for first in (0..inputs).step_by(band) {
            let length = band.min(inputs - first);
            let offset = self.offset + first * outputs;
            if let Some(slope_x) = slope_x.as_deref_mut() {
                // Asked for as its transpose, the product reads the weights as they lie; the other way round it would
                // rearrange all of them first.
                let weight = Matrix::new(&learner.weights[offset..], length, outputs);
                let turned = sized(&mut scratch.transposed, length * rows);
                product(weight, slope.transposed(), turned, rows, Before::Overwritten);
                for (row, slopes) in slope_x.chunks_exact_mut(inputs).enumerate() {
                    let column = turned[row..].iter().step_by(rows);
                    slopes[first..first + length].iter_mut().zip(column).for_each(|(slope, &t)| *slope = t);
                }
            }
            let gradient = sized(&mut scratch.gradient, length * outputs);
            let x = Matrix::strided(&x[first..], rows, length, inputs);
            product(x.transposed(), slope, gradient, outputs, Before::Overwritten);
            learner.learn(offset, gradient);
        }
        let gradient = sized(&mut scratch.gradient, outputs);
        gradient.fill(0.0);
        for row in slope_y.chunks_exact(outputs) {
            gradient.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
        learner.learn(self.bias_offset(), gradient);
    }
}

/// What a stage's backward pass reads and writes.
pub struct Backward<'a> {
    pub x: &'a [f32],
    pub y: &'a [f32],
    pub slope_y: &'a mut [f32],
    pub slope_x: Option<&'a mut [f32]>,
    pub rows: usize,
}

/// max(x, 0) that lets NaN through, as a diverged client must not look like a dead unit.
pub fn rectified(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}
