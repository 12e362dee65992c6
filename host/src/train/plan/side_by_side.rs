//! Samples side by side: a batch of bytes gathered as its transpose, of which a narrow layer leaves no lane idle.
//!
//! A layer of ten outputs fills ten lanes of sixteen. With a sample in each lane, all of them are at work, and what it costs
//! is this transpose, of bytes before they become floats.
//!
//! Where in the flow: in the place of gathering samples one after another, where a batch is evaluated. What it never does:
//! change a value, or an order of summation.

use super::tile::WIDTH;
use crate::prefetch::prefetch_all;
use crate::registers::Registers;

const HALF: usize = WIDTH / 2;

/// Gathers `rows` of `values` as panels [⌈rows / 16⌉, width, 16], of each value its product with `scale` plus `shift`. Lanes behind
/// the last sample hold it too. The memory is asked for what follows: more of `rows`, then `next`.
pub fn gather(
    registers: Registers,
    values: &[u8],
    [rows, next]: [&[u32]; 2],
    width: usize,
    [scale, shift]: [f32; 2],
    panels: &mut [f32],
) {
    for (panel, out) in panels.chunks_exact_mut(width * WIDTH).enumerate() {
        let (lanes, after) = rows[panel * WIDTH..].split_at(WIDTH.min(rows.len() - panel * WIDTH));
        for &row in after.iter().chain(next).take(WIDTH) {
            prefetch_all(&values[row as usize * width..][..width]);
        }
        let mut samples: [&[u8]; WIDTH] = [&[]; WIDTH];
        for (lane, sample) in samples.iter_mut().enumerate() {
            *sample = &values[lanes[lane.min(lanes.len() - 1)] as usize * width..][..width];
        }
        registers.at_most_avx2().run(
            #[inline(always)]
            || fill(out, &samples, [scale, shift]),
        );
    }
}

/// Fills one panel from its samples. Loops alone, since what a closure is passed to may be a function of its own, which would not run
/// in the caller's registers.
#[inline(always)]
fn fill(panel: &mut [f32], samples: &[&[u8]; WIDTH], [scale, shift]: [f32; 2]) {
    let mut squares_of: [&[[u8; WIDTH]]; WIDTH] = [&[]; WIDTH];
    for (squares, sample) in squares_of.iter_mut().zip(samples) {
        *squares = sample.as_chunks().0;
    }
    let (squares, rest) = panel.as_chunks_mut::<{ WIDTH * WIDTH }>();
    let first_of_rest = squares.len() * WIDTH;
    for (square, out) in squares.iter_mut().enumerate() {
        let mut rows = [[0; WIDTH]; WIDTH];
        for lane in 0..WIDTH {
            rows[lane] = squares_of[lane][square];
        }
        for (out, column) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(&transposed(&rows)) {
            for (out, &byte) in out.iter_mut().zip(column) {
                *out = f32::from(byte) * scale + shift;
            }
        }
    }
    for (column, out) in rest.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        for (out, sample) in out.iter_mut().zip(samples) {
            *out = f32::from(sample[first_of_rest + column]) * scale + shift;
        }
    }
}

/// The transpose of sixteen rows of sixteen bytes. Each round zips rows `i` and `i + 8` into rows `2i` and `2i + 1`; after four, the
/// bytes of a column stand side by side.
#[inline(always)]
fn transposed(rows: &[[u8; WIDTH]; WIDTH]) -> [[u8; WIDTH]; WIDTH] {
    let mut transposed = *rows;
    for _ in 0..WIDTH.ilog2() {
        let rows = transposed;
        for i in 0..HALF {
            for j in 0..WIDTH {
                let from = &rows[i + j % 2 * HALF];
                (transposed[2 * i][j], transposed[2 * i + 1][j]) = (from[j / 2], from[HALF + j / 2]);
            }
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_samples_lane() {
        // Less than a square, squares alone, a square and a rest; one panel, a full one, one and a lane.
        for width in [3, 32, 37] {
            let values: Vec<u8> = (0..40 * width).map(|i| (i * 37 % 251) as u8).collect();
            for count in [1, 16, 17] {
                let rows: Vec<u32> = (0..count).map(|i| i * 7 % 40).collect();
                let mut panels = vec![f32::NAN; rows.len().div_ceil(WIDTH) * WIDTH * width];
                gather(Registers::widest(), &values, [&rows, &[3, 39]], width, [3.0, 0.5], &mut panels);
                for (at, &value) in panels.iter().enumerate() {
                    let (sample, column) = (at / (WIDTH * width) * WIDTH + at % WIDTH, at / WIDTH % width);
                    let row = rows[sample.min(rows.len() - 1)] as usize;
                    let expected = f32::from(values[row * width + column]) * 3.0 + 0.5;
                    assert_eq!(value, expected, "width {width}, sample {sample} of {count}, column {column}");
                }
            }
        }
    }
}
