//! Blocks of equal size: the reference that every skew is compared with.
//!
//! Where in the flow: a kind of partition. What it never does: look at a label.

use super::{ClientRows, shares, task::Task};
use anyhow::Result;

/// Shuffled rows in K blocks; the first `N mod K` blocks have one row more. Every row is used.
///
/// Source: McMahan et al., AISTATS 2017 (arXiv:1602.05629); Flower's `IidPartitioner`.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let sizes: Vec<u32> = shares::equal(task.num_rows(), task.num_clients()).collect();
    Ok(task.hand_out(&task.shuffled_rows(0), &sizes))
}

/// Exactly `samples` rows for each client, dealt from as many shuffled passes over the training set as it takes.
///
/// Every pass is a permutation of all rows and is used up before the next one begins, so that any two rows are dealt
/// equally often, but for the last pass. A client that gets the end of one pass and the beginning of the next could hold a
/// row twice; the rows that it has already then change places with the first later ones that it has not.
/// `samples` must not exceed the number of rows; so there always are enough.
pub fn dealt(task: &Task<'_>, samples: usize) -> ClientRows {
    let mut rows = Vec::with_capacity(task.num_clients() * samples);
    let (mut pass, mut deck, mut at) = (0, task.shuffled_rows(0), 0);
    for _ in 0..task.num_clients() {
        let end = deck.len().min(at + samples);
        let held = &deck[at..end];
        rows.extend_from_slice(held);
        let missing = samples - held.len();
        if missing > 0 {
            let mut held = held.to_vec();
            held.sort_unstable();
            pass += 1;
            deck = task.shuffled_rows(pass);
            put_behind(&mut deck, missing, &held);
            rows.extend_from_slice(&deck[..missing]);
        }
        at = if missing > 0 { missing } else { end };
    }
    ClientRows::equal(rows, samples)
}

/// Changes the order of `deck` so that its first `count` rows are none of `held`, which is ascending.
fn put_behind(deck: &mut [u32], count: usize, held: &[u32]) {
    let mut spare = count;
    for place in 0..count {
        if held.binary_search(&deck[place]).is_ok() {
            while held.binary_search(&deck[spare]).is_ok() {
                spare += 1;
            }
            deck.swap(place, spare);
            spare += 1;
        }
    }
}
