//! Factors of the plan's products: how values that lie in memory are seen as rows, columns and panels.
//!
//! Where in the flow: between the layers and [`tile`](super::tile). What it never does: arithmetic.

use super::tile::{Columns, Runs, WIDTH};

/// A matrix whose rows begin `stride` apart. As [`Runs`] it has rows of `length` elements; as [`Columns`] it is the
/// transpose of `length` such rows.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub length: usize,
}

impl Runs for Dense<'_> {
    #[inline(always)]
    fn segments(&self) -> usize {
        1
    }

    #[inline(always)]
    fn length(&self, _segment: usize) -> usize {
        self.length
    }

    #[inline(always)]
    fn run(&self, row: usize, _segment: usize) -> &[f32] {
        &self.values[row * self.stride..]
    }
}

impl Columns for Dense<'_> {
    #[inline(always)]
    fn depth(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn column(&self, k: usize, row: usize) -> &[f32] {
        &self.values[k * self.stride + row..]
    }
}

/// Rows of a matrix of which some columns were left out: each element meets a row of the right factor that is named.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    /// A row of the right factor for each element of a row of this one.
    pub meets: &'a [u32],
}

impl Runs for Picked<'_> {
    #[inline(always)]
    fn segments(&self) -> usize {
        1
    }

    #[inline(always)]
    fn length(&self, _segment: usize) -> usize {
        self.meets.len()
    }

    #[inline(always)]
    fn run(&self, row: usize, _segment: usize) -> &[f32] {
        &self.values[row * self.stride..]
    }

    #[inline(always)]
    fn meets(&self) -> Option<&[u32]> {
        Some(self.meets)
    }
}

/// The rows, from `first` on, of a matrix that lies in panels: a segment for each panel.
#[derive(Clone, Copy, Debug)]
pub struct RowsOfPanels<'a> {
    pub values: &'a [f32],
    /// Rows of each panel.
    pub depth: usize,
    pub columns: usize,
    pub first: usize,
}

impl Runs for RowsOfPanels<'_> {
    #[inline(always)]
    fn segments(&self) -> usize {
        self.columns.div_ceil(WIDTH)
    }

    #[inline(always)]
    fn length(&self, segment: usize) -> usize {
        WIDTH.min(self.columns - segment * WIDTH)
    }

    #[inline(always)]
    fn run(&self, row: usize, segment: usize) -> &[f32] {
        &self.values[segment * WIDTH * self.depth + (self.first + row) * self.length(segment)..]
    }
}

/// What lies under a square kernel, for each of some pixels of an image that lies pixel by pixel: one run for each row
/// of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    pub image: &'a [f32],
    /// Where the upper left corner of each pixel's window begins in the image.
    pub corners: &'a [u32],
    /// Elements from one row of the image to the next.
    pub row: usize,
    /// Elements of a row of the window.
    pub run: usize,
    /// First row of the window that is looked at, and how many.
    pub first: usize,
    pub rows: usize,
}

impl Runs for Windows<'_> {
    #[inline(always)]
    fn segments(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn length(&self, _segment: usize) -> usize {
        self.run
    }

    #[inline(always)]
    fn run(&self, row: usize, segment: usize) -> &[f32] {
        &self.image[self.corners[row] as usize + (self.first + segment) * self.row..]
    }
}

/// As columns: one for each pixel, along the row `first` of its window.
impl Columns for Windows<'_> {
    #[inline(always)]
    fn depth(&self) -> usize {
        self.corners.len()
    }

    #[inline(always)]
    fn column(&self, k: usize, row: usize) -> &[f32] {
        &self.image[self.corners[k] as usize + self.first * self.row + row..]
    }
}

/// Panels of a matrix [rows, columns] that lies row after row. Shapes: `panels` as long as the matrix or longer.
pub fn panels_of(matrix: &[f32], rows: usize, columns: usize, panels: &mut [f32]) {
    panels_of_rows(matrix, columns, 0, rows, panels);
}

/// Panels of some rows, which begin with row `first` of a matrix of `depth` rows.
pub fn panels_of_rows(rows: &[f32], columns: usize, first: usize, depth: usize, panels: &mut [f32]) {
    for column in (0..columns).step_by(WIDTH) {
        let width = WIDTH.min(columns - column);
        let panel = panels[column * depth + first * width..].chunks_exact_mut(width);
        for (to, from) in panel.zip(rows.chunks_exact(columns)) {
            copy_row(&from[column..column + width], to);
        }
    }
}

/// Copies a row, which is mostly a whole panel's: to call a function for so little would take longer than the copy.
/// Shapes: both of one length.
#[inline(always)]
pub fn copy_row(from: &[f32], to: &mut [f32]) {
    if let (Ok(from), Ok(to)) = (<&[f32; WIDTH]>::try_from(from), <&mut [f32; WIDTH]>::try_from(&mut *to)) {
        *to = *from;
    } else {
        to.copy_from_slice(from);
    }
}

/// Panels of the transpose of a matrix [rows, columns]: panel `p` has a row for each column of the matrix, in it rows
/// 16·p.. of the matrix, filled up with zeros. Shapes: `panels` is ⌈rows / 16⌉ · columns · 16 elements.
pub fn transposed_panels(matrix: &[f32], columns: usize, panels: &mut [f32]) {
    panels.fill(0.0);
    let each = matrix.chunks(WIDTH * columns).zip(panels.chunks_exact_mut(WIDTH * columns));
    for (rows, panel) in each {
        for (lane, row) in rows.chunks_exact(columns).enumerate() {
            panel[lane..].iter_mut().step_by(WIDTH).zip(row).for_each(|(to, from)| *to = *from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_sixteen_columns_each_and_the_last_the_rest() {
        let matrix: Vec<f32> = (0..2 * 18).map(|i| i as f32).collect();
        let mut panels = vec![f32::NAN; 36];
        panels_of(&matrix, 2, 18, &mut panels);
        let expected = (0..16).chain(18..34).chain([16, 17, 34, 35]).map(|i| i as f32).collect::<Vec<_>>();
        assert_eq!(panels, expected);
        let rows = RowsOfPanels { values: &panels, depth: 2, columns: 18, first: 1 };
        let row: Vec<f32> = (0..rows.segments()).flat_map(|s| rows.run(0, s)[..rows.length(s)].to_vec()).collect();
        assert_eq!(row, matrix[18..]);
    }

    #[test]
    fn panels_of_the_transpose_end_in_zeros() {
        // 17 rows of two columns: row 16 opens the second panel.
        let matrix: Vec<f32> = (0..34).map(|i| i as f32 + 1.0).collect();
        let mut panels = vec![f32::NAN; 64];
        transposed_panels(&matrix, 2, &mut panels);
        for (at, value) in panels.iter().enumerate() {
            let (row, column) = (at / 32 * 16 + at % 16, at / 16 % 2);
            assert_eq!(*value, if row < 17 { matrix[row * 2 + column] } else { 0.0 }, "element {at}");
        }
    }
}
