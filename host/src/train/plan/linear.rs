//! A linear layer with its ReLU: `y = max(x·W + b, 0)`, its slopes and its update.
//!
//! Where in the flow: a stage of the [`Network`](super::network::Network). In the plan the weight lies in panels of
//! sixteen outputs. What it never does: allocate.

use super::active::Active;
use super::learner::Learner;
use super::operands::{Dense, RowsOfPanels, panels_of, transposed_panels};
use super::scratch::{Scratch, sized};
use super::side_by_side::SideBySide;
use super::tile::{ByColumns, ByRuns, Continued, Descended, Fresh, Panels, Place, Runs, Target, WIDTH, pieces};
use crate::registers::Registers;
use std::ops::Range;

/// Elements of a panel, at most, that pass through the first-level cache together with the rows of `x` that they meet.
const BLOCK: usize = 5 * 1024;
/// Elements of a band of weights, whose slope, gradient and update follow one another while it is in the second-level
/// cache; and the most inputs that it spans, so that a panel's part of its gradient stays in the first-level one.
const BAND: usize = 64 * 1024;
const BAND_INPUTS: usize = 256;

#[derive(Clone, Debug)]
pub struct Linear {
    pub inputs: usize,
    pub outputs: usize,
    pub relu: bool,
    /// Where the weight [inputs, outputs] begins in the plan's vector; the bias follows it.
    pub offset: usize,
}

impl Linear {
    fn bias_offset(&self) -> usize {
        self.offset + self.inputs * self.outputs
    }

    /// The weight, of those of all layers.
    pub fn weight<'w>(&self, weights: &'w [f32]) -> &'w [f32] {
        &weights[self.offset..self.bias_offset()]
    }

    /// The bias, of the weights of all layers.
    pub fn bias<'w>(&self, weights: &'w [f32]) -> &'w [f32] {
        &weights[self.bias_offset()..][..self.outputs]
    }

    pub fn weight_mut<'w>(&self, weights: &'w mut [f32]) -> &'w mut [f32] {
        &mut weights[self.offset..self.bias_offset()]
    }

    /// Shapes: `x` [rows, inputs], `y` [rows, outputs]; `weights` with a panel's width of room at their end.
    pub fn forward(&self, registers: Registers, weights: &[f32], x: &[f32], y: &mut [f32], rows: usize) {
        let (inputs, bias) = (self.inputs, self.bias(weights));
        y.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(bias));
        for block in self.blocks(inputs) {
            let left = Dense { values: &x[block.start..], stride: inputs, length: block.len() };
            self.add_product(registers, weights, left, block.start, y, rows);
        }
        self.rectify(registers, y);
    }

    /// As `forward`, from the active inputs of a batch.
    pub fn forward_active(&self, registers: Registers, weights: &[f32], x: &Active, y: &mut [f32], rows: usize) {
        let bias = self.bias(weights);
        registers.run(
            #[inline(always)]
            || x.begin_sums(self.inputs, bias, y),
        );
        for block in self.blocks(x.len()) {
            self.add_product(registers, weights, x.columns(block), 0, y, rows);
        }
        self.rectify(registers, y);
    }

    /// As `forward`, for fewer outputs than a panel has columns, from samples that lie side by side: each has a lane.
    /// Shapes: `y` [outputs, 16].
    pub fn forward_side_by_side(&self, registers: Registers, weights: &[f32], x: &SideBySide, y: &mut [f32]) {
        registers.dispatch(x.product(self.weight(weights), y));
        self.rectify(registers, y);
    }

    /// Cuts inputs into blocks of one size, but the last, whose part of a panel fits in the first-level cache.
    fn blocks(&self, inputs: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let most = BLOCK / self.outputs.min(WIDTH);
        let block = inputs.div_ceil(inputs.div_ceil(most).max(1)).max(1);
        (0..inputs).step_by(block).map(move |first| first..inputs.min(first + block))
    }

    /// Goes on with the sums in `y`: `left` times the weight's rows from the first on.
    fn add_product<A: Runs>(&self, on: Registers, weights: &[f32], left: A, first: usize, y: &mut [f32], rows: usize) {
        let right = Panels { values: &weights[self.offset..], depth: self.inputs, first, columns: self.outputs };
        let place = Place::Stride(self.outputs);
        let target = Target { values: y, place, panel_stride: WIDTH, overlapping: false };
        on.dispatch(ByRuns { left, rows, right, target, sum: Continued });
    }

    fn rectify(&self, registers: Registers, y: &mut [f32]) {
        if self.relu {
            registers.run(
                #[inline(always)]
                || y.iter_mut().for_each(|y| *y = rectified(*y)),
            );
        }
    }

    /// Takes from the slopes what ReLU held back.
    fn hold_back(&self, registers: Registers, y: &[f32], slope_y: &mut [f32]) {
        if self.relu {
            registers.run(
                #[inline(always)]
                || slope_y.iter_mut().zip(y).for_each(|(slope, &y)| *slope = if y <= 0.0 { 0.0 } else { *slope }),
            );
        }
    }

    /// The gradient of the bias.
    fn sums_of_slopes<'s>(&self, slope_y: &[f32], sums: &'s mut Vec<f32>) -> &'s mut [f32] {
        let sums = sized(sums, self.outputs);
        sums.fill(0.0);
        for row in slope_y.chunks_exact(self.outputs) {
            sums.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
        sums
    }

    /// From ∂loss/∂y to ∂loss/∂x, unless nobody asks for it, and the update of weight and bias.
    ///
    /// Shapes as in `forward`; slopes as what they are slopes of. `slope_y` loses what ReLU held back.
    pub fn backward(&self, pass: Backward<'_>, scratch: &mut Scratch, learner: &mut Learner<'_>) {
        let Backward { registers, x, y, slope_y, mut slope_x, rows } = pass;
        let (inputs, outputs) = (self.inputs, self.outputs);
        self.hold_back(registers, y, slope_y);
        let slopes = sized(&mut scratch.panels, rows * outputs + WIDTH);
        panels_of(slope_y, rows, outputs, slopes);
        let turned = sized(&mut scratch.turned, rows.div_ceil(WIDTH) * WIDTH * outputs);
        if slope_x.is_some() {
            transposed_panels(slope_y, outputs, turned);
        }
        let band = (BAND / outputs).clamp(1, BAND_INPUTS).min(inputs);
        for first in (0..inputs).step_by(band) {
            let length = band.min(inputs - first);
            if let Some(slope_x) = slope_x.as_deref_mut() {
                let part = sized(&mut scratch.part, turned.len() / outputs * length);
                self.slopes_of_inputs(registers, &learner.weights[self.offset..], turned, first..first + length, part);
                for (row, slope_x) in slope_x.chunks_exact_mut(inputs).enumerate() {
                    let column = part[row / WIDTH * WIDTH * length + row % WIDTH..].iter().step_by(WIDTH);
                    slope_x[first..first + length].iter_mut().zip(column).for_each(|(slope, &part)| *slope = part);
                }
            }
            let plain = learner.plain_rate();
            // A gradient that stands anywhere must pass through the first-level cache; one in registers need not.
            let panels = if plain.is_some() { outputs / WIDTH } else { 2 };
            for (column, count) in pieces(outputs, panels.max(1)) {
                let width = WIDTH.min(count);
                let left = Dense { values: &x[first..], stride: inputs, length: rows };
                let right = Panels { values: &slopes[column * rows..], depth: rows, first: 0, columns: count };
                let place = Place::Stride(width);
                let offset = self.offset + column * inputs + first * width;
                // Rows of a narrow panel are faster learnt in one run than stored one by one.
                if let Some(rate) = plain.filter(|_| width == WIDTH) {
                    let (values, panel_stride) = (&mut learner.weights[offset..], inputs * WIDTH);
                    let target = Target { values, place, panel_stride, overlapping: false };
                    registers.dispatch(ByColumns { left, rows: length, right, target, sum: Descended(rate) });
                    continue;
                }
                let gradient = sized(&mut scratch.gradient, length * count + WIDTH);
                let panel_stride = length * WIDTH;
                let target = Target { values: &mut *gradient, place, panel_stride, overlapping: true };
                registers.dispatch(ByColumns { left, rows: length, right, target, sum: Fresh });
                for (panel, gradient) in gradient[..length * count].chunks_exact_mut(length * width).enumerate() {
                    learner.learn(offset + panel * WIDTH * inputs, gradient);
                }
            }
        }
        let gradient = self.sums_of_slopes(slope_y, &mut scratch.bias);
        learner.learn(self.bias_offset(), gradient);
    }

    /// As `backward`, for a first layer whose weights move by `rate` times the gradient and by nothing else.
    pub fn backward_active(&self, pass: BackwardActive<'_>, scratch: &mut Scratch, learner: &mut Learner<'_>) {
        let BackwardActive { registers, x, y, slope_y, rate, rows } = pass;
        let (inputs, outputs) = (self.inputs, self.outputs);
        self.hold_back(registers, y, slope_y);
        let slopes = sized(&mut scratch.panels, rows * outputs + WIDTH);
        panels_of(slope_y, rows, outputs, slopes);
        let band = (BAND / outputs).clamp(1, BAND_INPUTS);
        for first in (0..x.len()).step_by(band) {
            let range = first..x.len().min(first + band);
            for (column, count) in pieces(outputs, (outputs / WIDTH).max(1)) {
                let (left, length, width) = (x.transposed(first, rows), range.len(), WIDTH.min(count));
                let right = Panels { values: &slopes[column * rows..], depth: rows, first: 0, columns: count };
                let weight = &mut learner.weights[self.offset + column * inputs..];
                if width == WIDTH {
                    let place = Place::Listed(x.places(range.clone()));
                    let target = Target { values: weight, place, panel_stride: inputs * WIDTH, overlapping: false };
                    registers.dispatch(ByColumns { left, rows: length, right, target, sum: Descended(rate) });
                    continue;
                }
                let gradient = sized(&mut scratch.gradient, length * width + WIDTH);
                let place = Place::Stride(width);
                let target = Target { values: &mut *gradient, place, panel_stride: 0, overlapping: true };
                registers.dispatch(ByColumns { left, rows: length, right, target, sum: Fresh });
                for (&input, gradient) in x.inputs(range.clone()).iter().zip(gradient.chunks_exact(width)) {
                    let row = &mut weight[input as usize * width..][..width];
                    row.iter_mut().zip(gradient).for_each(|(weight, gradient)| *weight -= rate * gradient);
                }
            }
        }
        let sums = self.sums_of_slopes(slope_y, &mut scratch.bias);
        let weight = self.weight(learner.weights);
        registers.run(
            #[inline(always)]
            || x.learn(rate, slope_y, sums, weight),
        );
        learner.learn(self.bias_offset(), sums);
    }

    /// `W·slope_yᵀ` for a band of inputs: the weights are read as they lie, and rows of the batch stand side by side.
    ///
    /// Shapes: `turned` as `transposed_panels` makes it of `slope_y`, `part` [⌈rows / 16⌉, inputs of the band, 16].
    fn slopes_of_inputs(
        &self,
        registers: Registers,
        weight: &[f32],
        turned: &[f32],
        band: Range<usize>,
        part: &mut [f32],
    ) {
        let left = RowsOfPanels { values: weight, depth: self.inputs, columns: self.outputs, first: band.start };
        let columns = turned.len() / self.outputs;
        let right = Panels { values: turned, depth: self.outputs, first: 0, columns };
        let (place, panel_stride) = (Place::Stride(WIDTH), band.len() * WIDTH);
        let target = Target { values: part, place, panel_stride, overlapping: false };
        registers.dispatch(ByRuns { left, rows: band.len(), right, target, sum: Fresh });
    }
}

/// What a stage's backward pass reads and writes.
pub struct Backward<'a> {
    pub registers: Registers,
    pub x: &'a [f32],
    pub y: &'a [f32],
    pub slope_y: &'a mut [f32],
    pub slope_x: Option<&'a mut [f32]>,
    pub rows: usize,
}

/// The same for a first layer that reads active inputs.
pub struct BackwardActive<'a> {
    pub registers: Registers,
    pub x: &'a mut Active,
    pub y: &'a [f32],
    pub slope_y: &'a mut [f32],
    pub rate: f32,
    pub rows: usize,
}

/// max(x, 0) that lets NaN through, as a diverged client must not look like a dead unit.
#[inline(always)]
pub fn rectified(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}
