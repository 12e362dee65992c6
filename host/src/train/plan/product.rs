//! Matrix products: the one file in which the plan touches unsafe code.
//!
//! Where in the flow: under every layer, forward and backward. What it never does: start a thread, or choose by timing;
//! the `gemm` crate picks its kernel from the processor's features and the shapes, so equal products have equal bits.

/// A matrix of values that somebody else holds: element (i, j) lies at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row after row.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Matrix::strided(values, rows, columns, columns)
    }

    /// Rows that begin `row_stride` apart.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Matrix { values, rows, columns, row_stride, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Matrix {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// What becomes of the values that the result's place held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Overwritten,
    AddedTo,
}

/// `out = a·b`, or `out += a·b`; `out` is row after row, its rows beginning `row_stride` apart.
///
/// Shapes: `a` is m × k, `b` k × n, `out` m × n. Panics if a matrix reaches beyond its slice or the shapes differ.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], row_stride: usize, before: Before) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner sizes of a product agree");
    assert!(row_stride >= n || m <= 1, "rows of a result do not overlap");
    assert!(reach(m, n, row_stride, 1) <= out.len(), "the result fits its slice");
    for matrix in [&a, &b] {
        let reach = reach(matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride);
        assert!(reach <= matrix.values.len(), "a factor lies within its slice");
    }
    let alpha = if before == Before::AddedTo { 1.0 } else { 0.0 };
    // SAFETY: `gemm` reads element (i, j) of a factor at i·row_stride + j·column_stride for i and j below the sizes
    // passed, which the assertions above keep within the slices, and writes `out` in the same way; `out` is borrowed
    // exclusively, so it overlaps neither factor, and its rows do not overlap each other. All strides fit `isize`
    // because they lie within slices (or belong to an axis of length at most 1, which is never stepped along).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row_stride as isize,
            before == Before::AddedTo,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// One past the last element that a matrix of these sizes and strides touches.
fn reach(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_match_hand_computed_numbers_in_every_orientation() {
        // (1 2; 3 4; 5 6)·(1 0 2; 0 1 3) = (1 2 8; 3 4 18; 5 6 28).
        let (a, a_transposed) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let (b, b_padded) = ([1.0, 0.0, 2.0, 0.0, 1.0, 3.0], [1.0, 0.0, 2.0, 9.0, 0.0, 1.0, 3.0]);
        for a in [Matrix::new(&a, 3, 2), Matrix::new(&a_transposed, 2, 3).transposed()] {
            for b in [Matrix::new(&b, 2, 3), Matrix::strided(&b_padded, 2, 3, 4)] {
                let mut out = [1.0; 11];
                product(a, b, &mut out, 4, Before::Overwritten);
                assert_eq!(out, [1.0, 2.0, 8.0, 1.0, 3.0, 4.0, 18.0, 1.0, 5.0, 6.0, 28.0]);
                product(a, b, &mut out, 4, Before::AddedTo);
                assert_eq!(out, [2.0, 4.0, 16.0, 1.0, 6.0, 8.0, 36.0, 1.0, 10.0, 12.0, 56.0]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a factor lies within its slice")]
    fn a_factor_beyond_its_slice_is_refused() {
        product(Matrix::new(&[0.0; 5], 2, 3), Matrix::new(&[0.0; 3], 3, 1), &mut [0.0; 2], 1, Before::Overwritten);
    }

    #[test]
    #[should_panic(expected = "the result fits its slice")]
    fn a_result_beyond_its_slice_is_refused() {
        product(Matrix::new(&[0.0; 6], 2, 3), Matrix::new(&[0.0; 3], 3, 1), &mut [0.0; 1], 1, Before::Overwritten);
    }
}
