//! The order in which a client sees its rows, as a pure function of seed, round, client, rows and batch size.
//!
//! Where in the flow: the trainer asks for one batch per step; oracles in other languages read the same order from
//! [`batch_list`]. What it never does: touch features or labels, or remember anything between two clients.
//!
//! ```text
//! epoch e of a round          rows as given, shuffled by Stream(seed, BatchOrder, round, client) from word 4·n·e on
//! epoch e of a client's life  rows as given, shuffled by Stream(seed, BatchOrder, 2³¹ + e, client) from word 0 on
//! batch b of an epoch         rows b·B .. min((b + 1)·B, n) of that order: the last one may be smaller
//! ```
//! Personal phases read streams of purpose PersonalOrder in place of BatchOrder, one for each phase.
//! A shuffle of n rows reads 2·(n − 1) words, plus two for each rejected draw (probability below n·2⁻⁶⁴ each), so
//! epochs of one round, 4·n words apart, read disjoint parts of the stream. A persistent iterator counts epochs over
//! the client's whole life and marks them by the top bit of the round word, which no round number reaches.

use super::BatchOrder;
use crate::random::{Purpose, Stream};

/// Marks the stream of a persistent iterator; the low 31 bits of the round word are then the epoch.
const LIFETIME_EPOCHS: u64 = 1 << 31;

/// Steps that one pass over `rows` rows takes: `⌈rows / batch_size⌉`, a smaller last batch included.
pub fn steps_per_epoch(rows: usize, batch_size: usize) -> u64 {
    rows.div_ceil(batch_size.max(1)) as u64
}

/// The batches of one client in one round, without end.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    order: BatchOrder,
    rows: &'a [u32],
    batch_size: usize,
    /// Next step, counted from the start of epoch 0.
    step: u64,
    /// The rows in the order of `epoch`.
    shuffled: Vec<u32>,
    epoch: Option<u64>,
}

impl<'a> Batches<'a> {
    /// Starts at the first step of the round, or where the client's last round stopped (`order.steps_before`).
    ///
    /// `rows` must not be empty; a `batch_size` above `rows.len()` (or 0) means one batch of all rows.
    pub fn new(order: BatchOrder, rows: &'a [u32], batch_size: usize) -> Self {
        debug_assert!(!rows.is_empty());
        let batch_size = if batch_size == 0 { rows.len() } else { batch_size.min(rows.len()) };
        Batches {
            order,
            rows,
            batch_size,
            step: order.steps_before.unwrap_or(0),
            shuffled: Vec::with_capacity(rows.len()),
            epoch: None,
        }
    }

    /// The rows of the next step.
    pub fn next_batch(&mut self) -> &[u32] {
        self.next_two().0
    }

    /// The rows of the next step, and those of the step after it; the latter are empty where an epoch ends.
    pub fn next_two(&mut self) -> (&[u32], &[u32]) {
        let steps = steps_per_epoch(self.rows.len(), self.batch_size);
        let (epoch, batch) = (self.step / steps, (self.step % steps) as usize);
        self.step += 1;
        if self.epoch != Some(epoch) {
            self.arrange(epoch);
        }
        let rest = &self.shuffled[batch * self.batch_size..];
        let (rows, rest) = rest.split_at(rest.len().min(self.batch_size));
        (rows, &rest[..rest.len().min(self.batch_size)])
    }

    fn arrange(&mut self, epoch: u64) {
        self.shuffled.clear();
        self.shuffled.extend_from_slice(self.rows);
        if self.order.shuffle {
            self.stream(epoch).shuffle(&mut self.shuffled);
        }
        self.epoch = Some(epoch);
    }

    fn stream(&self, epoch: u64) -> Stream {
        let BatchOrder { seed, round, client, phase, .. } = self.order;
        let purpose = match phase {
            0 => Purpose::BatchOrder,
            phase => Purpose::PersonalOrder { phase },
        };
        match self.order.steps_before {
            None => Stream::new(seed, purpose, round, client).at(4 * self.rows.len() as u64 * epoch),
            Some(_) => Stream::new(seed, purpose, LIFETIME_EPOCHS + epoch, client),
        }
    }
}

/// The first `steps` batches of a client's round, for oracles that must train in the same order.
pub fn batch_list(order: BatchOrder, rows: &[u32], batch_size: usize, steps: u64) -> Vec<Vec<u32>> {
    let mut batches = Batches::new(order, rows, batch_size);
    (0..steps).map(|_| batches.next_batch().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(round: u64, client: u64) -> BatchOrder {
        BatchOrder { seed: 42, round, client, phase: 0, steps_before: None, shuffle: true }
    }

    fn rows(n: u32) -> Vec<u32> {
        (0..n).map(|i| 1000 + 3 * i).collect()
    }

    #[test]
    fn each_epoch_is_a_permutation_whose_last_batch_is_the_rest() {
        let rows = rows(23);
        assert_eq!(steps_per_epoch(23, 10), 3);
        let batches = batch_list(order(4, 7), &rows, 10, 9);
        let epochs: Vec<Vec<u32>> = batches.chunks(3).map(|epoch| epoch.concat()).collect();
        for (batch, &length) in batches.iter().zip([10, 10, 3].iter().cycle()) {
            assert_eq!(batch.len(), length);
        }
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, rows);
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2] && epochs[0] != rows);
    }

    #[test]
    fn the_batch_after_the_next_is_told_within_an_epoch() {
        let rows = rows(23);
        let mut batches = Batches::new(order(4, 7), &rows, 10);
        let told: Vec<[Vec<u32>; 2]> = (0..6)
            .map(|_| {
                let (rows, next) = batches.next_two();
                [rows, next].map(<[u32]>::to_vec)
            })
            .collect();
        assert_eq!(told.iter().map(|[_, next]| next.len()).collect::<Vec<_>>(), [10, 3, 0, 10, 3, 0]);
        for pair in told.windows(2) {
            assert!(pair[0][1].is_empty() || pair[0][1] == pair[1][0]);
        }
    }

    #[test]
    fn round_client_seed_and_phase_each_give_another_order() {
        let rows = rows(50);
        let first = batch_list(order(1, 1), &rows, 50, 1);
        assert_eq!(first, batch_list(order(1, 1), &rows, 50, 1));
        assert_ne!(first, batch_list(order(2, 1), &rows, 50, 1));
        assert_ne!(first, batch_list(order(1, 2), &rows, 50, 1));
        assert_ne!(first, batch_list(BatchOrder { seed: 43, ..order(1, 1) }, &rows, 50, 1));
        assert_ne!(first, batch_list(BatchOrder { steps_before: Some(0), ..order(1, 1) }, &rows, 50, 1));
        let personal = |phase| batch_list(BatchOrder { phase, ..order(1, 1) }, &rows, 50, 1);
        assert!(personal(1) != first && personal(2) != first && personal(1) != personal(2));
    }

    #[test]
    fn a_persistent_iterator_continues_where_the_last_round_stopped() {
        let rows = rows(23);
        let persistent = |round, steps_before| BatchOrder { steps_before: Some(steps_before), ..order(round, 5) };
        let whole = batch_list(persistent(1, 0), &rows, 4, 40);
        let parts = [(1, 0, 7), (9, 7, 1), (12, 8, 32)];
        let pieces: Vec<_> =
            parts.iter().flat_map(|&(round, before, n)| batch_list(persistent(round, before), &rows, 4, n)).collect();
        assert_eq!(whole, pieces);
    }

    #[test]
    fn without_shuffling_the_rows_come_as_they_are() {
        let plain = BatchOrder { shuffle: false, ..order(1, 1) };
        assert_eq!(batch_list(plain, &[5, 3, 9], 2, 4), [vec![5, 3], vec![9], vec![5, 3], vec![9]]);
        assert_eq!(batch_list(plain, &[5, 3, 9], 0, 1), [vec![5, 3, 9]]);
    }
}
