//! The updates that plugins are checked with.
//!
//! Where in the flow: below the laws. What it never does: draw; the same plugin is always checked with the same numbers.

/// A cohort's updates of one kind. The server step takes the second as the weights and two others as aggregates.
pub struct Input {
    pub name: &'static str,
    pub rows: Vec<Vec<f32>>,
}

/// Values from −1 to 1 without a pattern that matters, different in each row.
pub fn ordinary(len: usize, count: usize) -> Input {
    Input { name: "ordinary values", rows: rows(len, count, 1.0) }
}

/// The same with rows that become shorter and shorter, by 2¹⁰ in all. So they lie apart from one another by different
/// distances, and no two sets of as many rows are equally close together.
pub fn spread(len: usize, count: usize) -> Input {
    let mut input = Input { name: "rows of different lengths", ..ordinary(len, count) };
    for (place, row) in input.rows.iter_mut().enumerate() {
        let factor = libm::exp2(-10.0 * place as f64 / count as f64) as f32;
        row.iter_mut().for_each(|x| *x *= factor);
    }
    input
}

/// What occurs in runs: nothing changed yet, training that has converged, training that is about to diverge.
pub fn all(len: usize, count: usize) -> Vec<Input> {
    let scaled = |name, factor| Input { name, rows: rows(len, count, factor) };
    vec![
        ordinary(len, count),
        scaled("zeros", 0.0),
        scaled("values around 1e-30", 1e-30),
        scaled("values around 1e6", 1e6),
    ]
}

fn rows(len: usize, count: usize, factor: f32) -> Vec<Vec<f32>> {
    let value = |row: usize, i: usize| ((i * 7_919 + row * 104_729 + i * i % 97) % 10_007) as f32 / 5_003.0 - 1.0;
    // The addend makes zeros of both signs the positive one.
    (0..count).map(|row| (0..len).map(|i| value(row, i) * factor + 0.0).collect()).collect()
}
