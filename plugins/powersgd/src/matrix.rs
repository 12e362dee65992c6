//! Products of a matrix with a few columns, in f64 and in a fixed order.
//!
//! A matrix of `rows` × `columns` lies row by row, as tensors do. Factors lie column by column, so a factor of r columns
//! is r vectors one behind the other.

/// Partial sums of a dot product; they are added in order, so the result does not depend on the machine.
const LANES: usize = 8;

/// P = M·Q.
pub fn times(matrix: &[f32], q: &[f32], rows: usize, columns: usize) -> Vec<f64> {
    let mut p = Vec::with_capacity(q.len() / columns * rows);
    for column in q.chunks_exact(columns) {
        p.extend(matrix.chunks_exact(columns).map(|row| dot(row, column)));
    }
    p
}

/// Q = Mᵀ·P, summed over the rows in their order.
pub fn transposed_times(matrix: &[f32], p: &[f32], rows: usize, columns: usize) -> Vec<f64> {
    let mut q = vec![0.0; p.len() / rows * columns];
    for (sums, weights) in q.chunks_exact_mut(columns).zip(p.chunks_exact(rows)) {
        for (row, &weight) in matrix.chunks_exact(columns).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(weight));
        }
    }
    q
}

/// M̂ = P·Qᵀ, all of `matrix` written.
pub fn expand(p: &[f32], q: &[f32], rows: usize, columns: usize, matrix: &mut [f32]) {
    let mut sums = vec![0.0f64; columns];
    for (index, row) in matrix.chunks_exact_mut(columns).enumerate() {
        sums.fill(0.0);
        for (weights, column) in p.chunks_exact(rows).zip(q.chunks_exact(columns)) {
            let weight = f64::from(weights[index]);
            sums.iter_mut().zip(column).for_each(|(sum, &x)| *sum += weight * f64::from(x));
        }
        row.iter_mut().zip(&sums).for_each(|(value, &sum)| *value = sum as f32);
    }
}

/// Gram–Schmidt in its modified form, column after column; twice, since once leaves nearly parallel columns oblique.
/// A column that lies in the span of those before it, up to rounding, becomes zero.
pub fn orthonormalise(p: &mut [f64], rows: usize) {
    for index in 0..p.len() / rows {
        let (before, rest) = p.split_at_mut(index * rows);
        let column = &mut rest[..rows];
        let original = norm(column);
        for _ in 0..2 {
            for earlier in before.chunks_exact(rows) {
                let share: f64 = earlier.iter().zip(&*column).map(|(a, b)| a * b).sum();
                column.iter_mut().zip(earlier).for_each(|(value, &direction)| *value -= share * direction);
            }
        }
        let length = norm(column);
        // What remains of a dependent column is the rounding of the products, some 1e-16 of its length.
        let scale = if length > 1e-10 * original { 1.0 / length } else { 0.0 };
        column.iter_mut().for_each(|value| *value *= scale);
    }
}

/// The Euclidean norm. The largest magnitude is taken out first: squares of tiny and of huge values leave the range of f64.
fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    largest * values.iter().map(|value| (value / largest) * (value / largest)).sum::<f64>().sqrt()
}

fn dot(row: &[f32], column: &[f32]) -> f64 {
    let ((rows, row_tail), (columns, column_tail)) = (row.as_chunks::<LANES>(), column.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in rows.iter().zip(columns) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let tail: f64 = row_tail.iter().zip(column_tail).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + tail
}
