//! Count sketch, the compressor of FetchSGD (Rothchild et al., arXiv:2007.07682): each of r rows adds every value xᵢ of the
//! update, with a random sign s(i), to one of its c random columns h(i). A row's estimate of xᵢ is s(i)·cell(h(i)), the
//! median over the rows is the decoded value: unbiased, since the errors of a row are symmetric around zero. One row's
//! variance is (‖x‖² − xᵢ²)/c; the median is for the heavy hitters: with high probability |error| = O(‖x‖/√c). With `top`
//! below 1 only the largest estimates stay.
//!
//! Departure: FetchSGD adds the clients' sketches on the server, keeps momentum and the error in sketch space, and takes the
//! top k of that. Here a sketch is decoded for each client and the vectors are aggregated like any others, so that it
//! composes with every rule; error feedback is the host's, on the client (use `top` with it). Hash functions are drawn,
//! fully independent, from the round's stream: new each round, the same for all clients, so that the sketches of a
//! round are one linear map, as the paper's are.
//!
//! The piece is the whole update: r·c `f32` cells, row by row. With w the u32 word i of stream t in round scope, row t has
//! h(i) = ⌊⌊w/2⌋·c/2³¹⌋ and s(i) = −1 if w is odd. A cell is the sum in f64 in index order, rounded to f32. The median of
//! an even number of rows is the mean of the middle two, in f64. `top`: k = max(1, ⌊top·n + 10⁻⁹⌋) estimates stay, ties to the
//! lower index.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};

struct CountSketch {
    ratio: f64,
    rows: usize,
    top: f64,
}

/// Most rows that a sketch has.
const MOST_ROWS: usize = 15;

impl Plugin for CountSketch {
    fn create(parameters: &Parameters) -> Result<Self> {
        let rows = parameters.i64("rows")?;
        match usize::try_from(rows) {
            Ok(rows) if (1..=MOST_ROWS).contains(&rows) => {
                Ok(CountSketch { ratio: parameters.f64("ratio")?, rows, top: parameters.f64("top")? })
            }
            _ => Err(Error::config(format!("`rows` is {rows}; use 1 to {MOST_ROWS}"))),
        }
    }
}

/// How many of n, at least one; the small addend undoes the binary rounding of shares like 0.29.
fn share(share: f64, n: usize) -> usize {
    ((share * n as f64 + 1e-9) as usize).max(1)
}

/// Where a word puts a value in a row, and whether with the sign changed.
fn place(word: u32, columns: usize) -> (usize, bool) {
    (((u64::from(word >> 1) * columns as u64) >> 31) as usize, word & 1 == 1)
}

impl CountSketch {
    fn columns(&self, n: usize) -> usize {
        share(self.ratio / self.rows as f64, n)
    }
}

impl Compress for CountSketch {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let columns = self.columns(source.values.len());
        let mut sums = vec![0.0f64; columns];
        for row in 0..self.rows {
            sums.fill(0.0);
            random::each_u32(Scope::Round, row as u16, source.offset, source.values.iter(), |&value, word| {
                let (column, minus) = place(word, columns);
                sums[column] += f64::from(if minus { -value } else { value });
            })?;
            for &sum in &sums {
                let cell = sum as f32;
                if !cell.is_finite() {
                    return Err(Error::numeric("a cell of the sketch is not finite"));
                }
                output.put_f32(cell)?;
            }
        }
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let n = target.values.len();
        let columns = self.columns(n);
        let cells: Vec<f32> =
            input.take(4 * self.rows * columns)?.as_chunks().0.iter().map(|cell| f32::from_le_bytes(*cell)).collect();
        input.finish()?;
        if let Some(cell) = cells.iter().position(|cell| !cell.is_finite()) {
            return Err(Error::argument(format!("cell {cell} of the sketch is not finite")));
        }
        let mut estimates = vec![0.0f32; self.rows * n];
        for (row, cells) in cells.chunks_exact(columns).enumerate() {
            let own = estimates.iter_mut().skip(row).step_by(self.rows);
            random::each_u32(Scope::Round, row as u16, target.offset, own, |estimate, word| {
                let (column, minus) = place(word, columns);
                *estimate = if minus { -cells[column] } else { cells[column] };
            })?;
        }
        for (value, estimates) in target.values.iter_mut().zip(estimates.chunks_exact_mut(self.rows)) {
            *value = median(estimates);
        }
        if self.top < 1.0 {
            keep_largest(target.values, share(self.top, n));
        }
        Ok(())
    }
}

fn median(estimates: &mut [f32]) -> f32 {
    estimates.sort_unstable_by(f32::total_cmp);
    let middle = estimates.len() / 2;
    match estimates.len() % 2 {
        1 => estimates[middle],
        _ => ((f64::from(estimates[middle - 1]) + f64::from(estimates[middle])) / 2.0) as f32,
    }
}

/// Zeroes all but the `k` values of largest magnitude, ties to the lower index.
fn keep_largest(values: &mut [f32], k: usize) {
    let mut magnitudes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    let Some(last) = k.checked_sub(1).filter(|&last| last < magnitudes.len()) else { return };
    let (above, threshold, _) = magnitudes.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    let mut ties_left = k - above.iter().filter(|&&magnitude| magnitude > threshold).count();
    for value in values {
        let is_tie = value.abs() == threshold && ties_left > 0;
        ties_left -= usize::from(is_tie);
        if !is_tie && value.abs() <= threshold {
            *value = 0.0;
        }
    }
}

colla_plugin!(CountSketch: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::{Testbed, Vectors, close};

    fn plugin(ratio: f64, rows: i64, top: f64) -> Testbed<CountSketch> {
        Testbed::new(&[("ratio", ratio.into()), ("rows", rows.into()), ("top", top.into())])
    }

    fn through(plugin: &mut Testbed<CountSketch>, values: &[f32]) -> Vec<f32> {
        let encoded = plugin.encode(values, values.len()).unwrap();
        plugin.decode(&encoded, &[values.len()]).unwrap()
    }

    fn update(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7_919) % 1_013) as f32 / 506.0 - 1.001).collect()
    }

    #[test]
    fn a_sketch_has_its_share_of_the_values_and_a_lone_value_is_exact() {
        let mut values = vec![0.0; 1_000];
        values[123] = -2.5;
        let encoded = plugin(0.1, 5, 0.001).encode(&values, 1_000).unwrap();
        assert_eq!(encoded[0].len(), 4 * 100);
        let cells: Vec<f32> = encoded[0].as_chunks().0.iter().map(|cell| f32::from_le_bytes(*cell)).collect();
        assert!(cells.chunks(20).all(|row| row.iter().filter(|&&cell| cell.abs() == 2.5).count() == 1));
        assert_eq!(plugin(0.1, 5, 0.001).decode(&encoded, &[1_000]).unwrap(), values);
    }

    #[test]
    fn sketches_of_a_round_add_up_to_the_sketch_of_the_sum() {
        let (a, b) = (update(500), update(1_000).split_off(500));
        let sketch = |client, values: &[f32]| {
            let mut plugin = plugin(0.2, 3, 1.0);
            plugin.circumstances(4, client);
            let encoded = plugin.encode(values, 500).unwrap().concat();
            encoded.as_chunks().0.iter().map(|cell| f32::from_le_bytes(*cell)).collect::<Vec<f32>>()
        };
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        for ((a, b), sum) in sketch(1, &a).iter().zip(sketch(2, &b)).zip(sketch(3, &sum)) {
            assert!((a + b - sum).abs() < 1e-4);
        }
    }

    #[test]
    fn estimates_are_unbiased_and_one_row_has_the_variance_of_the_paper() {
        let (n, draws, values) = (200, 8_000, update(200));
        let norm2: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        for rows in [1, 2, 3] {
            let (mut sums, mut squares) = (vec![0.0f64; n], vec![0.0f64; n]);
            for round in 0..draws {
                let mut plugin = plugin(0.05 * rows as f64, rows, 1.0);
                plugin.circumstances(round, 7);
                for (i, got) in through(&mut plugin, &values).into_iter().enumerate() {
                    sums[i] += f64::from(got - values[i]);
                    squares[i] += f64::from(got - values[i]).powi(2);
                }
            }
            for i in 0..n {
                let (mean, square) = (sums[i] / draws as f64, squares[i] / draws as f64);
                assert!(mean.abs() < 5.0 * (square / draws as f64).sqrt(), "{rows} rows, value {i}: {mean}");
            }
            if rows == 1 {
                // Ten columns: Σᵢ (‖x‖² − xᵢ²)/10.
                let (found, expected) = (squares.iter().sum::<f64>() / draws as f64, norm2 * (n as f64 - 1.0) / 10.0);
                assert!((found / expected - 1.0).abs() < 0.03, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn heavy_values_are_found_among_light_ones() {
        let mut values: Vec<f32> = update(20_000).iter().map(|x| x * 0.01).collect();
        let heavy = [17, 5_000, 19_999];
        for (rank, &at) in heavy.iter().enumerate() {
            values[at] = 10.0 + rank as f32;
        }
        let decoded = through(&mut plugin(0.1, 5, 0.000_15), &values);
        let kept: Vec<usize> = (0..20_000).filter(|&i| decoded[i] != 0.0).collect();
        assert_eq!(kept, heavy);
        assert!(heavy.iter().all(|&i| (decoded[i] - values[i]).abs() < 0.3));
    }

    #[test]
    fn medians_and_largest_values_are_the_hand_computed_ones() {
        assert_eq!(median(&mut [3.0, -1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [3.0, -1.0, 2.0, 7.0]), 2.5);
        let mut values = [2.0, -5.0, 1.0, -2.0, 0.0, 2.0];
        keep_largest(&mut values, 3);
        assert_eq!(values, [2.0, -5.0, 0.0, -2.0, 0.0, 0.0]);
    }

    #[test]
    fn hostile_sketches_are_refused_with_their_reason() {
        let check = |bytes: Vec<u8>, expected: &str| {
            assert_eq!(plugin(0.5, 2, 1.0).decode(&[bytes], &[8]).unwrap_err().message, expected);
        };
        check(vec![0; 15], "the encoded piece ends early: 16 bytes wanted, 15 left");
        check(vec![0; 17], "the encoded piece has 1 bytes too many");
        check([[0; 4], f32::NAN.to_le_bytes(), [0; 4], [0; 4]].concat(), "cell 1 of the sketch is not finite");
        let error = plugin(0.5, 2, 1.0).encode(&[f32::INFINITY; 8], 8).unwrap_err();
        assert_eq!(error.message, "a cell of the sketch is not finite");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
    #[test]
    fn what_is_decoded_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        let values = file.floats("values");
        for case in file.cases("count-sketch") {
            let mut plugin = plugin(case.f64("ratio"), case.i64("rows"), case.f64("top"));
            plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
            let encoded = plugin.encode(&values, values.len()).unwrap();
            let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
            close(&decoded, &case.floats("decoded"), 1e-5);
        }
    }
}
