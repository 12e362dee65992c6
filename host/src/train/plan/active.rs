//! Inputs that are blank in the whole batch cost nothing: for the first layer, if it is linear.
//!
//! Most pixels of a handwritten digit are paper, and many are paper in each sample of a batch. A sample is
//! `x = p + c·1`: `p` is zero on paper, and `c` is the shift that normalising adds to every pixel. So
//!
//! ```text
//! y = x·W + b = p·W + c·(1·W) + b          gradient of W, from the slopes G of y:   pᵀ·G + c·1·(1ᵀ·G)
//! ```
//! In `p·W` and `pᵀ·G` only the rows of `W` take part whose input is active: not blank in at least one row of the
//! batch. What is left of the gradient is the same for every row of `W`. It is kept apart, in one row `u`: `W = V +
//! 1·u`, where the plan's weights hold `V` until the steps are over.
//!
//! Where in the flow: between the data, or a batch gathered from it where it is floats, and the first
//! [`Linear`](super::linear::Linear), where a step moves the weights by the gradient alone. What it never does:
//! approximate. Without a shift every sum is the dense one, bit for bit, as a product of a finite weight with zero
//! adds nothing; with one it is another order of the same sum.

use super::marked::Marked;
use super::operands::{Dense, Picked};
use super::scratch::sized;
use super::tile::WIDTH;
use crate::data::{Bytes, Features};
use crate::prefetch::prefetch_all;
use std::ops::Range;

/// Values that are copied at a time: more than a run of active inputs may need, so there is room behind the last.
pub const ROOM: usize = 8;
/// The largest mean share of active inputs at which leaving out the others pays.
const WORTH: f64 = 0.75;
/// What the share is told from: the first rows of the training set, in batches of ten.
const LOOKED_AT: usize = 640;
const BATCH: usize = 10;
/// Steps after which `V` is summed anew, before the roundings that its sum has not seen could add up.
const STEPS_BETWEEN_SUMS: u32 = 256;

/// The active inputs of a batch, and what all rows of the weight share.
#[derive(Debug, Default)]
pub struct Active {
    /// `c`.
    shift: f32,
    marks: Vec<u8>,
    inputs: Marked,
    /// Where each of them begins in a whole panel.
    places: Vec<u32>,
    /// First input, first place among the active ones and length of each run of neighbours.
    runs: Vec<[usize; 3]>,
    /// `p` without blank columns: [rows, active], and `ROOM`.
    values: Vec<f32>,
    /// For each row of the batch Σ p; empty without a shift.
    row_sums: Vec<f64>,
    /// `u`, a value for each output.
    common: Vec<f64>,
    /// The sum of all rows of `V`, a value for each output.
    total: Vec<f64>,
    /// Steps since `total` was summed.
    steps: u32,
    /// A sample at the end of the data, and room behind it.
    padded: Vec<u8>,
}

/// Whether most batches of this data leave enough inputs blank.
pub fn pays(features: &Features, rows: usize, width: usize) -> bool {
    let batches = rows.min(LOOKED_AT) / BATCH;
    let mut active = Active::default();
    let mut found = 0;
    for batch in 0..batches {
        let rows: Vec<u32> = (batch * BATCH..(batch + 1) * BATCH).map(|row| row as u32).collect();
        match features.bytes(width) {
            Some(bytes) => active.pick_bytes(bytes, [&rows, &[]]),
            None => {
                let mut values = vec![0.0; BATCH * width + ROOM];
                features.gather(&rows, width, &mut values[..BATCH * width]);
                active.pick(&values, BATCH, width);
            }
        }
        found += active.len();
    }
    batches > 0 && found as f64 <= WORTH * (batches * width) as f64
}

impl Active {
    /// Takes in a weight in panels, [inputs, outputs]. `shifted`: whether its samples may have a shift.
    #[inline(always)]
    pub fn sum_weight(&mut self, shifted: bool, weight: &[f32], outputs: usize) {
        self.common.clear();
        self.common.resize(outputs, 0.0);
        self.total.clear();
        self.total.resize(outputs, 0.0);
        if shifted {
            self.sum(weight);
        }
    }

    /// Goes on with samples shifted by `shift`.
    pub fn shift_by(&mut self, shift: f32) {
        self.shift = shift;
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.inputs.indices().len()
    }

    /// Those of some, ascending.
    pub fn inputs(&self, range: Range<usize>) -> &[u32] {
        &self.inputs.indices()[range]
    }

    /// Where their rows begin in a panel that is whole.
    pub fn places(&self, range: Range<usize>) -> &[u32] {
        &self.places[range]
    }

    /// Some columns of the batch, each with the row of the weight that it meets.
    pub fn columns(&self, range: Range<usize>) -> Picked<'_> {
        Picked { values: &self.values[range.start..], stride: self.len(), meets: &self.inputs.indices()[range] }
    }

    /// Some columns of the batch, `rows` long.
    pub fn transposed(&self, first: usize, rows: usize) -> Dense<'_> {
        Dense { values: &self.values[first..], stride: self.len(), length: rows }
    }

    /// Finds the active inputs of a batch. Shapes: `p` [rows, width], and `ROOM`.
    ///
    /// Inlined, as the others are, so that a caller who knows the processor gets it in that processor's registers.
    #[inline(always)]
    pub fn pick(&mut self, p: &[f32], rows: usize, width: usize) {
        let marks = sized(&mut self.marks, width);
        marks.fill(0);
        for row in p[..rows * width].chunks_exact(width) {
            marks.iter_mut().zip(row).for_each(|(mark, &value)| *mark |= u8::from(value != 0.0));
        }
        self.find(rows, width);
        for row in 0..rows {
            self.copy(
                row,
                &p[row * width..],
                #[inline(always)]
                |value| value,
            );
        }
        self.sum_rows(rows);
    }

    /// The same for samples of bytes, which are read where they lie. The memory is asked for those of `next`.
    #[inline(always)]
    pub fn pick_bytes(&mut self, bytes: Bytes<'_>, [rows, next]: [&[u32]; 2]) {
        let Bytes { values, width, scale } = bytes;
        let marks = sized(&mut self.marks, width);
        marks.fill(0);
        for &row in rows {
            marks.iter_mut().zip(bytes.row(row)).for_each(|(mark, &value)| *mark |= value);
        }
        self.find(rows.len(), width);
        let mut padded = std::mem::take(&mut self.padded);
        for (at, &row) in rows.iter().enumerate() {
            if let Some(&row) = next.get(at) {
                prefetch_all(bytes.row(row));
            }
            let mut from = &values[row as usize * width..];
            if from.len() < width + ROOM {
                padded.clear();
                padded.extend_from_slice(bytes.row(row));
                padded.resize(width + ROOM, 0);
                from = &padded;
            }
            self.copy(
                at,
                from,
                #[inline(always)]
                |value| f32::from(value) * scale,
            );
        }
        self.padded = padded;
        self.sum_rows(rows.len());
    }

    /// Lists what is marked, and makes room for it.
    #[inline(always)]
    fn find(&mut self, rows: usize, width: usize) {
        self.inputs.list(&self.marks[..width]);
        let inputs = self.inputs.indices();
        self.places.clear();
        self.places.extend(inputs.iter().map(|input| input * WIDTH as u32));
        self.runs.clear();
        let mut begin = 0;
        for end in 1..=inputs.len() {
            if inputs.get(end) != Some(&(inputs[end - 1] + 1)) {
                self.runs.push([inputs[begin] as usize, begin, end - begin]);
                begin = end;
            }
        }
        sized(&mut self.values, rows * inputs.len() + ROOM);
    }

    /// Copies what is active of a row. Shapes: `from` at least `ROOM` longer than a sample.
    #[inline(always)]
    fn copy<T: Copy>(&mut self, row: usize, from: &[T], value_of: impl Fn(T) -> f32) {
        let to = &mut self.values[row * self.inputs.indices().len()..];
        for &[input, place, length] in &self.runs {
            for at in (0..length).step_by(ROOM) {
                // What is too much, the next run or row writes over.
                let (from, to) = (&from[input + at..][..ROOM], &mut to[place + at..][..ROOM]);
                for i in 0..ROOM {
                    to[i] = value_of(from[i]);
                }
            }
        }
    }

    #[inline(always)]
    fn sum_rows(&mut self, rows: usize) {
        self.row_sums.clear();
        if self.shift == 0.0 {
            return;
        }
        let count = self.len();
        // A loop, since what `map` calls is a function of its own and would not run in these registers.
        for row in 0..rows {
            self.row_sums.push(sum(&self.values[row * count..][..count]));
        }
    }

    /// What each sum of a forward pass begins with: `b + c·(1·W) + (Σ p)·u`. Shapes: `y` [rows, outputs].
    #[inline(always)]
    pub fn begin_sums(&self, inputs: usize, bias: &[f32], y: &mut [f32]) {
        let rows = y.chunks_exact_mut(bias.len());
        if self.shift == 0.0 {
            return rows.for_each(|row| row.copy_from_slice(bias));
        }
        let (shift, inputs) = (f64::from(self.shift), inputs as f64);
        for (row, sum) in rows.zip(&self.row_sums) {
            for (((y, &bias), total), common) in row.iter_mut().zip(bias).zip(&self.total).zip(&self.common) {
                *y = (f64::from(bias) + shift * (total + inputs * common) + sum * common) as f32;
            }
        }
    }

    /// After a step that took `rate · pᵀ·G` from `V`, the same for what all rows share. Shapes: `slopes` G
    /// [rows, outputs], `sums` its sum over rows; `weight` V in panels.
    #[inline(always)]
    pub fn learn(&mut self, rate: f32, slopes: &[f32], sums: &[f32], weight: &[f32]) {
        if self.shift == 0.0 {
            return;
        }
        let rate = f64::from(rate);
        let step = rate * f64::from(self.shift);
        self.common.iter_mut().zip(sums).for_each(|(common, &sum)| *common -= step * f64::from(sum));
        self.steps += 1;
        if self.steps == STEPS_BETWEEN_SUMS {
            return self.sum(weight);
        }
        for (slopes, sum) in slopes.chunks_exact(self.total.len()).zip(&self.row_sums) {
            let step = rate * sum;
            self.total.iter_mut().zip(slopes).for_each(|(total, &slope)| *total -= step * f64::from(slope));
        }
    }

    /// Adds to `V` what all rows share, so that it is `W`.
    #[inline(always)]
    pub fn settle(&mut self, weight: &mut [f32]) {
        // Not after an evaluation, nor without a shift.
        if self.common.iter().all(|&common| common == 0.0) {
            return;
        }
        let inputs = weight.len() / self.common.len();
        for (panel, common) in weight.chunks_mut(inputs * WIDTH).zip(self.common.chunks(WIDTH)) {
            for row in panel.chunks_exact_mut(common.len()) {
                row.iter_mut().zip(common).for_each(|(value, common)| *value = (f64::from(*value) + common) as f32);
            }
        }
        self.common.fill(0.0);
    }

    #[inline(always)]
    fn sum(&mut self, weight: &[f32]) {
        self.steps = 0;
        self.total.fill(0.0);
        let inputs = weight.len() / self.total.len();
        for (panel, total) in weight.chunks(inputs * WIDTH).zip(self.total.chunks_mut(WIDTH)) {
            for row in panel.chunks_exact(total.len()) {
                total.iter_mut().zip(row).for_each(|(total, &value)| *total += f64::from(value));
            }
        }
    }
}

/// In eight lanes, so that it takes no longer than reading the values.
#[inline(always)]
fn sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane += f64::from(value));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
}
