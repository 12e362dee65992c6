//! Samples side by side: sixteen of them as the transpose of their bytes, of which a narrow layer leaves no lane
//! idle, and without the inputs that are blank in all of them.
//!
//! A layer of ten outputs fills ten lanes of sixteen. With a sample in each lane, all of them are at work, and what
//! it costs is this transpose, of bytes that become floats where they are multiplied. As for
//! [`Active`](super::active::Active), a sample is `x = p + c·1`, and `y = p·W + c·(1·W) + b`, where inputs that are
//! blank add nothing to `p·W`.
//!
//! Where in the flow: between the data and a narrow linear layer, in the place of gathering samples one after
//! another, where they are evaluated. What it never does: approximate. With finite weights and without a shift every
//! sum is the dense one, bit for bit; with a shift it is another order of the same sum, and no sample's depends on
//! which others lie beside it.

use super::squares::{PAIR, Squares, turn};
use super::tile::{WIDTH, runs_of_tiles};
use crate::data::Bytes;
use crate::registers::Registers;
use pulp::{Simd, WithSimd};

/// Up to sixteen samples, and what they share.
#[derive(Debug, Default)]
pub struct SideBySide {
    /// The sum of all rows of the weight, a value for each output: `1·W`.
    total: Vec<f64>,
    /// What each output's sums begin with: `c·(1·W) + b`.
    begin: Vec<f32>,
    turned: Vec<Squares>,
    /// A bit for each input: 0 where it is blank in all samples.
    marks: Vec<u32>,
    scale: f32,
}

impl SideBySide {
    /// Takes in a weight [inputs, outputs]. `shifted`: whether samples may have a shift.
    #[inline(always)]
    pub fn sum_weight(&mut self, shifted: bool, weight: &[f32], outputs: usize) {
        self.total.clear();
        self.total.resize(outputs, 0.0);
        if !shifted {
            return;
        }
        for row in weight.chunks_exact(outputs) {
            self.total.iter_mut().zip(row).for_each(|(total, &value)| *total += f64::from(value));
        }
    }

    /// Goes on with samples shifted by `shift`, and with the bias of the layer whose weight was taken in.
    pub fn shift_by(&mut self, shift: f32, bias: &[f32]) {
        let begin = |(&bias, total): (&f32, &f64)| match shift {
            0.0 => bias,
            _ => (f64::from(bias) + f64::from(shift) * total) as f32,
        };
        self.begin.clear();
        self.begin.extend(bias.iter().zip(&self.total).map(begin));
    }

    /// Reads `rows`, at most sixteen. Lanes behind the last sample hold it too.
    pub fn pick(&mut self, registers: Registers, bytes: Bytes<'_>, rows: &[u32]) {
        let mut samples: [&[u8]; WIDTH] = [&[]; WIDTH];
        for (lane, sample) in samples.iter_mut().enumerate() {
            *sample = bytes.row(rows[lane.min(rows.len() - 1)]);
        }
        let pairs = bytes.width.div_ceil(PAIR);
        self.turned.resize(pairs, [[0; PAIR]; WIDTH]);
        self.marks.resize(pairs, 0);
        turn(registers, &samples, &mut self.turned, &mut self.marks);
        self.scale = bytes.scale;
    }

    /// The product with a weight [inputs, outputs], and what it begins with. Shapes: `y` [outputs, 16].
    pub fn product<'a>(&'a self, weight: &'a [f32], y: &'a mut [f32]) -> Product<'a> {
        Product { of: self, weight, y: y.as_chunks_mut().0 }
    }
}

/// `y = Wᵀ·p + c·(Wᵀ·1) + b`, a sample in each lane.
pub struct Product<'a> {
    of: &'a SideBySide,
    weight: &'a [f32],
    y: &'a mut [[f32; WIDTH]],
}

/// The tile's function for a height that is known at run time only.
macro_rules! tile_of {
    ($height:expr, [$($n:literal)*], $vectors:literal, $arguments:tt) => {
        match $height {
            $($n => tile::<S, $n, $vectors> $arguments,)*
            _ => unreachable!("a tile has at most as many rows as the registers allow"),
        }
    };
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // As many as the registers hold sums of, less what the inputs and the addresses take.
        let most = const {
            if S::F32_LANES == WIDTH {
                15
            } else if S::F32_LANES == 1 {
                1
            } else {
                6
            }
        };
        for (outputs, height) in runs_of_tiles(self.y.len(), most) {
            for first in outputs.step_by(height) {
                if const { S::F32_LANES == WIDTH } {
                    tile_of!(height, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], 1, (simd, &mut self, first));
                } else if const { S::F32_LANES == 8 } {
                    tile_of!(height, [1 2 3 4 5 6], 2, (simd, &mut self, first));
                } else if const { S::F32_LANES == 4 } {
                    tile_of!(height, [1 2 3 4 5 6], 4, (simd, &mut self, first));
                } else if const { S::F32_LANES == 1 } {
                    tile_of!(height, [1], 16, (simd, &mut self, first));
                } else {
                    unreachable!("registers of 1, 4, 8 or 16 elements");
                }
            }
        }
    }
}

/// `R` outputs from `first` on, each in `V` vectors. Sums are indexed by loops of known length and by nothing else,
/// so that they stay in registers.
#[inline(always)]
#[expect(clippy::needless_range_loop, clippy::manual_memcpy, reason = "anything else would keep the sums in memory")]
fn tile<S: Simd, const R: usize, const V: usize>(simd: S, product: &mut Product<'_>, first: usize) {
    let SideBySide { begin, turned, marks, scale, .. } = product.of;
    let outputs = begin.len();
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for r in 0..R {
        sums[r] = [simd.splat_f32s(begin[first + r]); V];
    }
    for (pair, (squares, &marks)) in turned.iter().zip(marks).enumerate() {
        let mut left = marks;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let bytes = &squares.as_flattened().as_chunks::<WIDTH>().0[at % WIDTH * 2 + at / WIDTH];
            let mut x = [0.0; WIDTH];
            for lane in 0..WIDTH {
                x[lane] = f32::from(bytes[lane]) * scale;
            }
            let x = S::as_simd_f32s(&x).0;
            let weights = &product.weight[(pair * PAIR + at) * outputs + first..][..R];
            for r in 0..R {
                let weight = simd.splat_f32s(weights[r]);
                for v in 0..V {
                    sums[r][v] = simd.mul_add_f32s(weight, x[v], sums[r][v]);
                }
            }
        }
    }
    for r in 0..R {
        let y = S::as_mut_simd_f32s(&mut product.y[first + r]).0;
        for v in 0..V {
            y[v] = sums[r][v];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::tests::all_registers;

    const SHIFT: f32 = -0.42;

    /// Each sum held to a plain loop of `mul_add`, bit for bit.
    #[test]
    fn every_sum_is_one_chain_over_the_inputs_that_are_not_blank() {
        // Less than a square, a square and a rest, a pair, pairs and a rest; outputs for tiles of each height.
        let widths = [3, 21, 32, 37].map(|width| (width, 10)).into_iter();
        for (width, outputs) in widths.chain((1..WIDTH).map(|outputs| (70, outputs))) {
            // Every third input is blank in all samples, others in some.
            let byte = |row: usize, input: usize| if input % 3 == 1 { 0 } else { ((row * 7 + input) % 5 * 51) as u8 };
            let values: Vec<u8> = (0..40).flat_map(|row| (0..width).map(move |input| byte(row, input))).collect();
            let bytes = Bytes { values: &values, width, scale: 0.3 };
            let weight: Vec<f32> = (0..width * outputs).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3).collect();
            let bias: Vec<f32> = (0..outputs).map(|i| i as f32 * 0.1).collect();
            for (registers, shift) in all_registers().into_iter().flat_map(|on| [(on, 0.0), (on, SHIFT)]) {
                let mut panel = SideBySide::default();
                panel.sum_weight(shift != 0.0, &weight, outputs);
                panel.shift_by(shift, &bias);
                for count in [16, 5, 1] {
                    let rows: Vec<u32> = (0..count).map(|i| i * 7 % 40).collect();
                    panel.pick(registers, bytes, &rows);
                    let mut y = vec![f32::NAN; outputs * WIDTH];
                    registers.dispatch(panel.product(&weight, &mut y));
                    for (at, &found) in y.iter().enumerate() {
                        let (output, row) = (at / WIDTH, rows[(at % WIDTH).min(rows.len() - 1)] as usize);
                        let total: f64 = weight[output..].iter().step_by(outputs).map(|&w| f64::from(w)).sum();
                        let begin = f64::from(bias[output]) + f64::from(shift) * total;
                        let expected = (0..width).fold(begin as f32, |sum, input| {
                            weight[input * outputs + output].mul_add(f32::from(byte(row, input)) * 0.3, sum)
                        });
                        assert_eq!(found.to_bits(), expected.to_bits(), "{registers:?}, output {output}, row {row}");
                    }
                }
            }
        }
    }
}
