//! Distances and combinations of 100 updates of 1.66 million weights: `cargo bench --bench gram`.
//!
//! The counter of the Gram matrix is floating-point operations, one multiplication and one addition for each pair of rows
//! and weight; that of the mean is bytes of updates consumed. One thread and all of them.

use colla::executor::Executor;
use colla::random::{Purpose, Stream};
use colla::strategy::{combine::Combinations, gram::gram, kept::Kept, row_set::RowSet};
use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use std::sync::OnceLock;

const CLIENTS: usize = 100;
const WEIGHTS: usize = 1_663_370;

fn main() {
    divan::main();
}

fn updates() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let kept = Kept::in_memory(CLIENTS, WEIGHTS);
        for client in 0..CLIENTS {
            let mut stream = Stream::new(1, Purpose::InitialWeights, 0, client as u64);
            let update: Vec<f32> = (0..WEIGHTS).map(|_| stream.next_u32() as f32 / 4e9 - 0.5).collect();
            kept.put(client, &update).expect("a row in memory");
        }
        kept
    })
}

#[divan::bench(args = [1, 0], sample_count = 5)]
fn gram_matrix(bencher: Bencher, threads: usize) {
    let executor = Executor::new(threads).expect("threads");
    let rows = RowSet::new(updates(), CLIENTS, Vec::new());
    let operations = CLIENTS * (CLIENTS + 1) / 2 * WEIGHTS * 2;
    bencher.counter(ItemsCount::new(operations)).bench_local(|| gram(&executor, &rows).expect("a matrix"));
}

/// One combination of all rows.
#[divan::bench(args = [1, 0], sample_count = 5)]
fn mean(bencher: Bencher, threads: usize) {
    let executor = Executor::new(threads).expect("threads");
    let rows = RowSet::new(updates(), CLIENTS, Vec::new());
    let out = Kept::in_memory(1, WEIGHTS);
    let combinations = Combinations { rows: &rows, coefficients: &[1.0; CLIENTS], divisor: CLIENTS as f64 };
    bencher.counter(BytesCount::new(CLIENTS * WEIGHTS * 4)).bench_local(|| {
        combinations.form(&executor, |row, start, values| out.write(row, start, values)).expect("a mean");
    });
}

/// Nearest-neighbour mixing: each of 100 rows is the mean of 80.
#[divan::bench(args = [0], sample_count = 2)]
fn mixing(bencher: Bencher, threads: usize) {
    let executor = Executor::new(threads).expect("threads");
    let rows = RowSet::new(updates(), CLIENTS, Vec::new());
    let out = Kept::in_memory(CLIENTS, WEIGHTS);
    let near = |at: usize| (at / CLIENTS + at % CLIENTS) % CLIENTS < 80;
    let coefficients: Vec<f64> = (0..CLIENTS * CLIENTS).map(|at| if near(at) { 1.0 / 80.0 } else { 0.0 }).collect();
    let combinations = Combinations { rows: &rows, coefficients: &coefficients, divisor: 1.0 };
    bencher.bench_local(|| {
        combinations.form(&executor, |row, start, values| out.write(row, start, values)).expect("mixed rows");
    });
}
