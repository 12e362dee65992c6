//! Linear combinations of kept rows: the weighted mean of sums, and the rows that a mixing matrix makes.
//!
//! Σⱼ aⱼ·rowⱼ is formed on an exact grid ([`super::grid`]), divided and rounded to `f32` once; so neither order nor threads
//! can change a bit. The rows are all there, so each element has a grid of its own, with its step from the largest of its
//! products: a hostile value of 10³⁸ in one element, or in a row that hardly counts, does not coarsen the others.
//! A combination that is one row times exactly 1 copies that row bit for bit.
//! What it never does: choose coefficients.

use super::{
    grid::{Grid, magic},
    row_set::RowSet,
};
use crate::executor::Executor;
use crate::registers::Registers;
use anyhow::Result;
use pulp::{Simd, WithSimd};
use std::ops::RangeInclusive;

/// Bytes of all rows of a range: they stay in the second-level cache while every result is formed of them.
const RANGE_BYTES: usize = 128 << 10;
/// Elements of a range.
const RANGE: RangeInclusive<usize> = 256..=4096;
/// Elements whose grids and sums stay in registers while the rows pass.
const LANES: usize = 16;

/// What is formed of the rows.
pub struct Combinations<'a> {
    pub rows: &'a RowSet<'a>,
    /// One coefficient for each row, result by result; all finite.
    pub coefficients: &'a [f64],
    /// What every sum is divided by.
    pub divisor: f64,
}

/// How one result is formed.
enum Form {
    /// A copy of this row.
    Copy(usize),
    /// Row and coefficient, where that is not 0.
    Sum(Vec<(usize, f64)>),
}

impl Combinations<'_> {
    /// Forms every result and hands it on in ranges: `take(result, start, values)`, from any thread and in any order.
    ///
    /// Errors: `Kind::Config` for coefficients so large that no grid holds the sum; rows that cannot be read; those of `take`.
    pub fn form(&self, executor: &Executor, take: impl Fn(usize, usize, &[f32]) -> Result<()> + Sync) -> Result<()> {
        let k = self.rows.rows();
        let forms: Vec<Form> =
            self.coefficients.chunks_exact(k).map(|coefficients| self.plan(coefficients)).collect::<Result<_>>()?;
        let used: Vec<bool> =
            (0..k).map(|row| self.coefficients.iter().skip(row).step_by(k).any(|&a| a != 0.0)).collect();
        let range = range_len(k);
        let starts: Vec<usize> = (0..self.rows.len()).step_by(range).collect();
        let workers = executor.threads().min(starts.len());
        let mut workers: Vec<Worker> = (0..workers).map(|_| Worker::new(k, range)).collect();
        let done = executor.each(&mut workers, &starts, &mut |_| {}, |worker, &start| {
            let n = range.min(self.rows.len() - start);
            worker.read(self.rows, &used, start, n)?;
            let results = forms.iter().enumerate();
            results.into_iter().try_for_each(|(result, form)| take(result, start, worker.form(form, self.divisor, n)))
        });
        done.map(|_| ())
    }

    fn plan(&self, coefficients: &[f64]) -> Result<Form> {
        let terms: Vec<(usize, f64)> = coefficients.iter().copied().enumerate().filter(|(_, a)| *a != 0.0).collect();
        if let [(row, 1.0)] = terms[..]
            && self.divisor == 1.0
        {
            return Ok(Form::Copy(row));
        }
        let total = terms.iter().map(|(_, a)| a.abs()).sum();
        let largest = terms.iter().map(|&(row, _)| self.rows.largest(row)).fold(0.0, f32::max);
        // Refuses what is beyond `f64`; the grids themselves are those of the elements.
        Grid::new(total, largest.into())?;
        Ok(Form::Sum(terms))
    }
}

/// Elements of a range of `rows` rows, a multiple of the lanes.
fn range_len(rows: usize) -> usize {
    let fitting = RANGE_BYTES / (4 * rows.max(1)) / LANES * LANES;
    fitting.clamp(*RANGE.start(), *RANGE.end())
}

struct Worker {
    registers: Registers,
    /// From one row to the next: a range, and a little more, since rows a power of two apart share few places of a cache.
    stride: usize,
    /// A range of each row.
    rows: Vec<f32>,
    out: Vec<f32>,
}

impl Worker {
    fn new(rows: usize, range: usize) -> Self {
        let stride = range + LANES;
        Worker { registers: Registers::widest(), stride, rows: vec![0.0; rows * stride], out: vec![0.0; range] }
    }

    fn read(&mut self, rows: &RowSet<'_>, used: &[bool], start: usize, n: usize) -> Result<()> {
        let wanted = self.rows.chunks_exact_mut(self.stride).enumerate().filter(|(row, _)| used[*row]);
        wanted.into_iter().try_for_each(|(row, out)| rows.read(row, start, &mut out[..n]))
    }

    fn form(&mut self, form: &Form, divisor: f64, n: usize) -> &[f32] {
        match form {
            Form::Copy(row) => &self.rows[row * self.stride..][..n],
            Form::Sum(terms) => {
                // Whole lanes: what lies behind the range is formed too, and not looked at.
                let out = &mut self.out[..n.next_multiple_of(LANES)];
                self.registers.dispatch(Folding { terms, rows: &self.rows, stride: self.stride, divisor, out });
                &self.out[..n]
            }
        }
    }
}

/// The inner loop, compiled for the processor's vectors; additions and multiplications are elementwise, so their width
/// changes nothing.
struct Folding<'a> {
    terms: &'a [(usize, f64)],
    rows: &'a [f32],
    stride: usize,
    divisor: f64,
    /// A multiple of the lanes.
    out: &'a mut [f32],
}

impl WithSimd for Folding<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let count = self.terms.len() as f64;
        for (start, out) in (0..).step_by(LANES).zip(self.out.chunks_exact_mut(LANES)) {
            let values = |row: usize| &self.rows[row * self.stride + start..][..LANES];
            let mut magics = [0.0f64; LANES];
            for &(row, coefficient) in self.terms {
                for (largest, &x) in magics.iter_mut().zip(values(row)) {
                    let magnitude = (coefficient * f64::from(x)).abs();
                    // Values are finite; `max` would look for those that are not.
                    *largest = if magnitude > *largest { magnitude } else { *largest };
                }
            }
            magics.iter_mut().for_each(|largest| *largest = magic(count * *largest));
            let mut sums = [0.0f64; LANES];
            for &(row, coefficient) in self.terms {
                for ((sum, magic), &x) in sums.iter_mut().zip(&magics).zip(values(row)) {
                    *sum += (coefficient * f64::from(x) + magic) - magic;
                }
            }
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / self.divisor) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::strategy::{kept::Kept, row_set::Extra};

    fn combined(
        rows: &[Vec<f32>],
        extra: Vec<Extra<'_>>,
        coefficients: &[f64],
        divisor: f64,
        threads: usize,
    ) -> Vec<Vec<f32>> {
        let kept = Kept::in_memory(rows.len(), rows[0].len());
        rows.iter().enumerate().for_each(|(i, row)| kept.put(i, row).unwrap());
        let rows = RowSet::new(&kept, rows.len(), extra);
        let results = coefficients.len() / rows.rows();
        let out = Kept::in_memory(results, rows.len());
        let combinations = Combinations { rows: &rows, coefficients, divisor };
        combinations
            .form(&Executor::new(threads).unwrap(), |result, start, values| out.write(result, start, values))
            .unwrap();
        (0..results).map(|result| out.row(result).unwrap()).collect()
    }

    #[test]
    fn hand_computed_combinations_and_copies() {
        let rows = [vec![1.0, -2.0, 0.1], vec![3.0, 4.0, f32::MIN_POSITIVE]];
        let previous = [10.0, 20.0, 30.0];
        #[rustfmt::skip]
        let coefficients = [
            0.5, 0.25, 0.0,
            0.0, 1.0, 0.0,
            0.0, 0.0, -1.0,
            0.0, 0.0, 0.0,
        ];
        let made = combined(&rows, vec![Extra::Values(&previous)], &coefficients, 1.0, 1);
        assert_eq!(made[0][..2], [1.25, 0.0]);
        assert_eq!(made[1], rows[1]);
        assert_eq!(made[2], [-10.0, -20.0, -30.0]);
        assert_eq!(made[3], [0.0; 3]);
    }

    #[test]
    fn a_mean_does_not_depend_on_threads_or_on_the_order_of_the_rows() {
        let mut stream = Stream::new(8, Purpose::Cohort, 0, 0);
        let mut rows: Vec<Vec<f32>> = (0..7).map(|_| (0..9_001).map(|_| stream.normal() as f32).collect()).collect();
        let mut weights = vec![3.0, 1.0, 4.0, 1.5, 9.25, 2.0, 6.0];
        let one = combined(&rows, vec![], &weights, 26.75, 1);
        assert_eq!(one, combined(&rows, vec![], &weights, 26.75, 3));
        rows.reverse();
        weights.reverse();
        assert_eq!(one, combined(&rows, vec![], &weights, 26.75, 2));
        let plain: f64 = (0..7).map(|k| weights[k] * f64::from(rows[k][5_000])).sum::<f64>() / 26.75;
        assert!((f64::from(one[0][5_000]) - plain).abs() < 1e-7);
    }

    #[test]
    fn a_huge_element_coarsens_no_other_and_a_row_that_hardly_counts_none_at_all() {
        let rows = [vec![1e38, 0.5, 1e-3], vec![1.0, 0.25, 3e-3]];
        assert_eq!(combined(&rows, vec![], &[1.0, 1.0], 2.0, 1)[0][1..], [0.375, 2e-3]);
        // 10⁻³¹ of 10³⁰ is 0.1.
        let rows = [vec![1e30; 2], vec![0.5, 0.25]];
        assert_eq!(combined(&rows, vec![], &[1e-31, 1.0], 1.0, 1), [[0.6, 0.35]]);
    }

    #[test]
    fn many_rows_make_short_ranges_and_the_same_sums() {
        assert_eq!([range_len(1), range_len(10), range_len(100), range_len(1_000)], [4096, 3264, 320, 256]);
        let mut stream = Stream::new(9, Purpose::Cohort, 0, 0);
        let rows: Vec<Vec<f32>> = (0..120).map(|_| (0..1_003).map(|_| stream.normal() as f32).collect()).collect();
        let coefficients: Vec<f64> = (0..240).map(|_| stream.uniform()).collect();
        let made = combined(&rows, vec![], &coefficients, 3.0, 2);
        for (result, coefficients) in made.iter().zip(coefficients.chunks(120)) {
            for (element, &value) in result.iter().enumerate() {
                let plain =
                    rows.iter().zip(coefficients).map(|(row, a)| a * f64::from(row[element])).sum::<f64>() / 3.0;
                assert!((f64::from(value) - plain).abs() < 1e-5, "element {element}: {value}, {plain}");
            }
        }
    }

    /// A row of 10³⁰ that has no part in a result must not coarsen its grid.
    #[test]
    fn rows_without_a_part_do_not_matter() {
        let rows = [vec![1e30; 3], vec![0.125, 0.5, 1e-3], vec![0.25, 0.5, 3e-3]];
        assert_eq!(combined(&rows, vec![], &[0.0, 0.5, 0.5], 1.0, 1), [[0.1875, 0.5, 2e-3]]);
    }
}
