//! The plan's own order of a tensor's values: a permutation, undone exactly when the weights leave.
//!
//! Where in the flow: between the flat vector and the plan's buffers, at the start and the end of a client's training.
//! What it never does: arithmetic, so no bit of a value changes.

use super::operands::copy_row;
use super::tile::WIDTH;

/// A tensor, as the pieces that follow one another in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pieces: Vec<Piece>,
}

/// What lies in the plan as four axes, the last running fastest, and how far apart neighbours along each lie in the
/// flat tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    sizes: [usize; 4],
    strides: [usize; 4],
    first: usize,
}

impl Order {
    /// As it lies.
    pub fn same(len: usize) -> Self {
        Order { pieces: vec![Piece { sizes: [1, 1, 1, len], strides: [0, 0, 0, 1], first: 0 }] }
    }

    /// A matrix [inputs, outputs] in panels of outputs.
    pub fn matrix(inputs: usize, outputs: usize) -> Self {
        if outputs <= WIDTH {
            Order::same(inputs * outputs)
        } else {
            Order::panels([1, inputs], [0, outputs], outputs, 1)
        }
    }

    /// Kernels [outputs, inputs, taps] as a matrix [inputs · taps, outputs], for images that lie channel by channel.
    pub fn kernels_of_planes(outputs: usize, inputs: usize, taps: usize) -> Self {
        Order::panels([inputs, taps], [taps, 1], outputs, inputs * taps)
    }

    /// Kernels [outputs, inputs, taps] as a matrix [taps · inputs, outputs], for images that lie pixel by pixel.
    pub fn kernels_of_pixels(outputs: usize, inputs: usize, taps: usize) -> Self {
        Order::panels([taps, inputs], [1, taps], outputs, inputs * taps)
    }

    /// The matrix after a flattened image, [channels · pixels, outputs] as [pixels · channels, outputs].
    pub fn rows_of_pixels(channels: usize, pixels: usize, outputs: usize) -> Self {
        Order::panels([pixels, channels], [outputs, pixels * outputs], outputs, 1)
    }

    /// The same matrix row by row instead of in panels.
    pub fn unpanelled(self) -> Self {
        let columns = self.pieces.iter().map(|piece| piece.sizes[0] * piece.sizes[3]).sum();
        let Piece { sizes: [_, rows, inner, _], strides, .. } = self.pieces[0];
        Order { pieces: vec![Piece { sizes: [1, rows, inner, columns], strides, first: 0 }] }
    }

    /// A matrix in panels of columns; its rows are two axes, and neighbouring columns lie `column_stride` apart.
    fn panels(rows: [usize; 2], row_strides: [usize; 2], columns: usize, column_stride: usize) -> Self {
        let piece = |panels: usize, width: usize, first: usize| Piece {
            sizes: [panels, rows[0], rows[1], width],
            strides: [WIDTH * column_stride, row_strides[0], row_strides[1], column_stride],
            first: first * column_stride,
        };
        let (whole, rest) = (columns / WIDTH, columns % WIDTH);
        let pieces = [piece(whole, WIDTH, 0), piece(1, rest, whole * WIDTH)];
        Order { pieces: pieces.into_iter().filter(|piece| !piece.sizes.contains(&0)).collect() }
    }

    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.sizes.iter().product::<usize>()).sum()
    }

    /// From the flat vector's order to the plan's.
    pub fn take_in(&self, flat: &[f32], plan: &mut [f32]) {
        self.each_run(|from, stride, to, length| {
            let run = &mut plan[to..to + length];
            if stride == 1 {
                copy_row(&flat[from..from + length], run);
            } else {
                run.iter_mut().zip(flat[from..].iter().step_by(stride)).for_each(|(p, f)| *p = *f);
            }
        });
    }

    /// From the plan's order to the flat vector's.
    pub fn give_back(&self, plan: &[f32], flat: &mut [f32]) {
        self.each_run(|to, stride, from, length| {
            let run = &plan[from..from + length];
            if stride == 1 {
                copy_row(run, &mut flat[to..to + length]);
            } else {
                flat[to..].iter_mut().step_by(stride).zip(run).for_each(|(f, p)| *f = *p);
            }
        });
    }

    /// Visits runs along the last axes: where one begins in the flat tensor, the stride there, where it begins in the
    /// plan, its length.
    fn each_run(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let mut at = 0;
        for Piece { sizes: [panels, rows, columns, length], strides, first } in &self.pieces {
            for panel in 0..*panels {
                for row in 0..*rows {
                    for column in 0..*columns {
                        let from = first + panel * strides[0] + row * strides[1] + column * strides[2];
                        visit(from, strides[3], at, *length);
                        at += length;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_change_places_and_back() {
        let flat: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // Element [o, i, t] of 2 × 3 × 2 is 6·o + 2·i + t.
        let cases = [
            (Order::same(12), flat.clone()),
            (Order::matrix(3, 4), flat.clone()),
            (Order::kernels_of_planes(2, 3, 2), vec![0., 6., 1., 7., 2., 8., 3., 9., 4., 10., 5., 11.]),
            (Order::kernels_of_pixels(2, 3, 2), vec![0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]),
            (Order::rows_of_pixels(2, 3, 2), vec![0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.]),
        ];
        for (order, expected) in cases {
            there_and_back(&order, &flat, &expected);
        }
    }

    #[test]
    fn more_than_sixteen_columns_lie_in_panels() {
        let flat: Vec<f32> = (0..72).map(|i| i as f32).collect();
        let row = |row: usize, columns: std::ops::Range<usize>| columns.map(move |c| (18 * row + c) as f32);
        let whole: Vec<f32> = (0..4).flat_map(|r| row(r, 0..16)).collect();
        let rest: Vec<f32> = (0..4).flat_map(|r| row(r, 16..18)).collect();
        there_and_back(&Order::matrix(4, 18), &flat, &[whole, rest].concat());
        // Two channels of two pixels: rows 0, 2, 1, 3.
        let rows = [0, 2, 1, 3];
        let whole: Vec<f32> = rows.iter().flat_map(|&r| row(r, 0..16)).collect();
        let rest: Vec<f32> = rows.iter().flat_map(|&r| row(r, 16..18)).collect();
        there_and_back(&Order::rows_of_pixels(2, 2, 18), &flat, &[whole, rest].concat());
        // 18 outputs of two inputs and two taps: element [o, i, t] is 4·o + 2·i + t, rows are (t, i).
        let columns = |outputs: std::ops::Range<usize>| {
            let row = move |(t, i): (usize, usize)| outputs.clone().map(move |o| (4 * o + 2 * i + t) as f32);
            [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().flat_map(row).collect::<Vec<_>>()
        };
        there_and_back(&Order::kernels_of_pixels(18, 2, 2), &flat, &[columns(0..16), columns(16..18)].concat());
    }

    #[track_caller]
    fn there_and_back(order: &Order, flat: &[f32], expected: &[f32]) {
        assert_eq!(order.len(), flat.len());
        let (mut plan, mut back) = (vec![f32::NAN; flat.len()], vec![f32::NAN; flat.len()]);
        order.take_in(flat, &mut plan);
        assert_eq!(plan, expected, "{order:?}");
        order.give_back(&plan, &mut back);
        assert_eq!(back, flat, "{order:?}");
    }
}
