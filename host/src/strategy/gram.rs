//! The Gram matrix of a cohort: inner products of all pairs of rows, from which rules get distances and angles.
//!
//! Sums run in `f64` over chunks of 256 elements, added in order within granules of 65,536 elements, which are added in
//! order; so the bits are the same for any number of threads. Cost: K²·P/2 multiply-adds, whatever the rule.
//!
//! Late in training updates are nearly equal, and G_ii + G_jj − 2·G_ij loses their distances. Where some row's median squared distance
//! to the others is below 2⁻²⁰ of its squared norm, the matrix is formed again of the rows minus the one with the
//! smallest median distance: not simply the first one, which may be hostile.
//! What it never does: decide anything about a row.

mod kernel;

use super::row_set::RowSet;
use crate::{
    error::{Fault, Kind},
    executor::Executor,
    registers::Registers,
};
use anyhow::Result;
use colla_plugin_sdk::abi::FRAME;
use kernel::{BLOCK, CHUNK, Panel, Products, add_products, tiles};

/// Elements that are read of each row at once.
const READ: usize = 4096;
/// More rows than this would make a matrix beyond half a gigabyte.
const MAX_ROWS: usize = 8192;
/// A median squared distance below this part of a squared norm has lost half its digits.
const CLOSE: f64 = 1.0 / (1 << 20) as f64;

/// The K × K matrix of the rows, row by row, about the zero vector or about one of the rows.
/// Errors: `Kind::Config` for more than 8,192 rows; rows that cannot be read.
pub fn gram(executor: &Executor, rows: &RowSet<'_>) -> Result<Vec<f64>> {
    let k = rows.rows();
    if k > MAX_ROWS {
        return Err(Fault::new(
            Kind::Config,
            format!(
                "a cohort of {k} rows — distances between at most {MAX_ROWS} are formed; use fewer clients per round"
            ),
        ));
    }
    let matrix = about(executor, rows, &[])?;
    let medians: Vec<f64> = (0..k).map(|i| median_distance(&matrix, k, i)).collect();
    if !(0..k).any(|i| medians[i] < CLOSE * matrix[i * k + i]) {
        return Ok(matrix);
    }
    let nearest = (0..k).min_by(|&a, &b| medians[a].total_cmp(&medians[b])).unwrap_or(0);
    let mut origin = vec![0.0; rows.len()];
    rows.read(nearest, 0, &mut origin)?;
    about(executor, rows, &origin)
}

/// Median of the squared distances of row `i` to the other rows, the upper one of two; infinite for a row alone.
fn median_distance(matrix: &[f64], k: usize, i: usize) -> f64 {
    let at = |a: usize, b: usize| matrix[a * k + b];
    let mut distances: Vec<f64> =
        (0..k).filter(|&j| j != i).map(|j| (at(i, i) + at(j, j) - 2.0 * at(i, j)).max(0.0)).collect();
    if distances.is_empty() {
        return f64::INFINITY;
    }
    let middle = distances.len() / 2;
    *distances.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The matrix about `origin`, P values, or none for zero.
fn about(executor: &Executor, rows: &RowSet<'_>, origin: &[f32]) -> Result<Vec<f64>> {
    let starts: Vec<usize> = (0..rows.len()).step_by(FRAME).collect();
    let mut workers: Vec<Worker> =
        (0..executor.threads().min(starts.len())).map(|_| Worker::new(rows.rows())).collect();
    let mut sums = vec![0.0; tiles(rows.rows()) * BLOCK * BLOCK];
    // In waves, so that only as many granules' sums are held as there are threads to make them.
    for wave in starts.chunks(workers.len().max(1)) {
        let parts =
            executor.each(&mut workers, wave, &mut |_| {}, |worker, &start| worker.granule(rows, start, origin))?;
        for part in parts {
            sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
    }
    Ok(square(&sums, rows.rows()))
}

struct Worker {
    registers: Registers,
    /// `READ` elements of each row.
    read: Vec<f32>,
    panel: Panel,
}

impl Worker {
    fn new(rows: usize) -> Self {
        Worker { registers: Registers::widest(), read: vec![0.0; rows * READ], panel: Panel::new(rows) }
    }

    /// Sums of the granule at `start`, tile by tile.
    fn granule(&mut self, rows: &RowSet<'_>, start: usize, origin: &[f32]) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; tiles(rows.rows()) * BLOCK * BLOCK];
        let products = if origin.is_empty() { Products::Exact } else { Products::Rounded };
        let end = (start + FRAME).min(rows.len());
        for start in (start..end).step_by(READ) {
            let n = READ.min(end - start);
            for (row, out) in self.read.chunks_exact_mut(READ).enumerate() {
                rows.read(row, start, &mut out[..n])?;
            }
            for chunk in (0..n).step_by(CHUNK) {
                let range = chunk..(chunk + CHUNK).min(n);
                for (block, rows) in self.read.chunks(READ * BLOCK).enumerate() {
                    let rows: Vec<&[f32]> = rows.chunks_exact(READ).map(|row| &row[range.clone()]).collect();
                    let origin = origin.get(start + range.start..start + range.end).unwrap_or_default();
                    self.panel.fill(block, &rows, origin);
                }
                add_products(self.registers, &self.panel, products, &mut sums);
            }
        }
        Ok(sums)
    }
}

/// From tiles of the upper triangle to the whole matrix.
fn square(sums: &[f64], rows: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; rows * rows];
    let mut tiles = sums.chunks_exact(BLOCK * BLOCK);
    for i in (0..rows).step_by(BLOCK) {
        for (j, tile) in (i..rows).step_by(BLOCK).zip(&mut tiles) {
            for (at, &value) in tile.iter().enumerate() {
                let (row, column) = (i + at / BLOCK, j + at % BLOCK);
                if row < rows && column < rows {
                    matrix[row * rows + column] = value;
                    matrix[column * rows + row] = value;
                }
            }
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::strategy::{kept::Kept, row_set::Extra};

    fn kept(rows: &[Vec<f32>]) -> Kept {
        let kept = Kept::in_memory(rows.len(), rows[0].len());
        rows.iter().enumerate().for_each(|(i, row)| kept.put(i, row).unwrap());
        kept
    }

    fn gram_of(rows: &[Vec<f32>], extra: Vec<Extra<'_>>, threads: usize) -> Vec<f64> {
        gram(&Executor::new(threads).unwrap(), &RowSet::new(&kept(rows), rows.len(), extra)).unwrap()
    }

    #[test]
    fn a_hand_computed_matrix_with_its_extra_rows() {
        let previous = [0.5, 0.0, -1.0];
        let rows = [vec![1.0, 2.0, 3.0], vec![-4.0, 0.0, 1.0]];
        let matrix = gram_of(&rows, vec![Extra::Zero, Extra::Values(&previous)], 1);
        #[rustfmt::skip]
        assert_eq!(matrix, [
            14.0, -1.0, 0.0, -2.5,
            -1.0, 17.0, 0.0, -3.0,
            0.0, 0.0, 0.0, 0.0,
            -2.5, -3.0, 0.0, 1.25,
        ]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits_over_several_granules() {
        let mut stream = Stream::new(5, Purpose::Cohort, 0, 0);
        let rows: Vec<Vec<f32>> =
            (0..11).map(|_| (0..3 * FRAME + 777).map(|_| stream.normal() as f32).collect()).collect();
        let one = gram_of(&rows, vec![], 1);
        assert_eq!(one, gram_of(&rows, vec![], 2));
        assert_eq!(one, gram_of(&rows, vec![], 5));
        // Against sums in another order: 3·65536 products of normals, so the sums differ in the last digits only.
        let plain: f64 = rows[2].iter().zip(&rows[7]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        assert!((one[2 * 11 + 7] - plain).abs() < 1e-9, "{} {plain}", one[2 * 11 + 7]);
    }

    /// Rows at distance 1e-6 of norm 200: about zero, squared distances of 4e-8 have lost about eight of their digits to
    /// squared norms of 40,000; about a row they keep all but the last few.
    #[test]
    fn distances_of_nearly_equal_rows_survive() {
        let mut stream = Stream::new(6, Purpose::Cohort, 0, 0);
        let common: Vec<f32> = (0..40_000).map(|_| 1.0 + stream.uniform() as f32 / 2.0).collect();
        let near = |stream: &mut Stream| common.iter().map(|x| x + stream.normal() as f32 * 1e-6).collect::<Vec<f32>>();
        let rows: Vec<Vec<f32>> = (0..9).map(|_| near(&mut stream)).collect();
        let matrix = gram_of(&rows, vec![], 2);
        for (i, j) in [(0, 1), (3, 8), (7, 2)] {
            let exact: f64 = rows[i].iter().zip(&rows[j]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let ours = matrix[i * 9 + i] + matrix[j * 9 + j] - 2.0 * matrix[i * 9 + j];
            assert!((ours - exact).abs() < 1e-12 * exact, "{ours:e} {exact:e}");
        }
    }

    #[test]
    fn the_origin_is_the_row_nearest_to_the_others_and_never_a_hostile_first_one() {
        let mut rows = vec![vec![1.0f32; 64]; 6];
        rows[0] = vec![-500.0; 64];
        rows[3][0] = 1.0 + 1e-5;
        let matrix = gram_of(&rows, vec![], 1);
        // Rows 1, 2, 4, 5 are equal: the first of them is the origin, so its row of the matrix is zero.
        assert!(matrix[6..12].iter().all(|&x| x == 0.0), "{matrix:?}");
        assert!(matrix[0] > 1e7);
    }
}
