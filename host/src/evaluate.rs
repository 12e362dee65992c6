//! How good the model is: the common one centrally on the test set, and on the clients' own rows, where clients' personal
//! models are measured beside it.
//!
//! Where in the flow: after the server step. Rows are cut into fixed chunks whose sums are added in order, so the score
//! is the same for any number of threads. What it never does: touch the weights.

use crate::{
    client::ClientId,
    partition::{OwnTest, Partition},
    record::Spread,
    schedule::{Engine, Evaluation},
    train::{EVALUATION_BATCH, Part, Score},
};
use anyhow::Result;

/// Rows of one evaluation message: big enough for fast kernels, small enough to spread 10,000 rows over 8 agents.
const CHUNK: usize = 500;
// Parts of a Burn module add up exactly where they are cut at its trainer's own batches, the plan's anywhere.
const _: () = assert!(CHUNK.is_multiple_of(EVALUATION_BATCH));

/// Mean loss and accuracy over all test rows; `None` for an empty test set.
pub fn central(engine: &mut dyn Engine, weights: &[f32], test_rows: usize) -> Result<Option<(f64, f64)>> {
    let rows: Vec<u32> = (0..test_rows as u32).collect();
    let chunk = |rows| Evaluation { part: Part::Test, rows, personal: None };
    let chunks: Vec<Evaluation<'_>> = rows.chunks(CHUNK).map(chunk).collect();
    Ok(mean(&engine.evaluate(weights, &chunks)?))
}

/// Whose model is measured on the clients' own rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everyone's, `weights`.
    Common,
    /// Each client's own, as the plugin with `personal` keeps it.
    Personal,
}

/// Accuracy of each of `clients` on its own rows; clients without any are left out.
pub fn on_clients(
    engine: &mut dyn Engine,
    weights: &[f32],
    whose: Whose,
    partition: &Partition,
    clients: &[ClientId],
) -> Result<Vec<(ClientId, f64)>> {
    let lists: Vec<(ClientId, Part, &[u32])> = clients
        .iter()
        .map(|&client| {
            let (part, rows) = match &partition.own_test {
                Some(OwnTest::OfTestSet(rows)) => (Part::Test, rows),
                Some(OwnTest::HeldOut(rows)) => (Part::Train, rows),
                None => (Part::Train, &partition.train),
            };
            (client, part, rows.client(client.index()))
        })
        .filter(|(_, _, rows)| !rows.is_empty())
        .collect();
    let chunks = lists.iter().flat_map(|&(client, part, rows)| {
        let personal = (whose == Whose::Personal).then_some(client);
        rows.chunks(CHUNK).map(move |rows| Evaluation { part, rows, personal })
    });
    let chunks: Vec<Evaluation<'_>> = chunks.collect();
    let mut scores = engine.evaluate(weights, &chunks)?.into_iter();
    Ok(lists
        .iter()
        .filter_map(|(client, _, rows)| {
            let own: Vec<Score> = scores.by_ref().take(rows.len().div_ceil(CHUNK)).collect();
            mean(&own).map(|(_, accuracy)| (*client, accuracy))
        })
        .collect())
}

/// Which rows [`on_clients`] measures on, in words.
pub fn own_rows(partition: &Partition) -> &'static str {
    match partition.own_test {
        Some(OwnTest::OfTestSet(_)) => "test rows",
        Some(OwnTest::HeldOut(_)) => "held-out rows",
        None => "training rows",
    }
}

/// Mean loss and accuracy of parts that add up.
fn mean(parts: &[Score]) -> Option<(f64, f64)> {
    let rows: u64 = parts.iter().map(|s| s.rows).sum();
    let loss: f64 = parts.iter().map(|s| s.loss_sum).sum();
    let correct: u64 = parts.iter().map(|s| s.correct).sum();
    (rows > 0).then(|| (loss / rows as f64, correct as f64 / rows as f64))
}

/// Spread of `values`, `None` if there are none. Percentiles interpolate linearly between order statistics (NumPy's
/// default); the standard deviation divides by n.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let variance = sorted.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    let percentile = |p: f64| {
        let at = p * (n - 1.0);
        let low = sorted[at.floor() as usize];
        low + (sorted[at.ceil() as usize] - low) * at.fract()
    };
    Some(Spread {
        mean,
        sd: variance.sqrt(),
        min: first,
        p10: percentile(0.1),
        median: percentile(0.5),
        p90: percentile(0.9),
        max: last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_five_values_is_that_computed_by_hand() {
        // np.percentile([1, 2, 3, 4, 10], [10, 50, 90]) = 1.4, 3, 7.6; mean 4, variance (9+4+1+0+36)/5 = 10.
        let spread = spread(&[10.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((spread.mean, spread.min, spread.median, spread.max), (4.0, 1.0, 3.0, 10.0));
        assert!((spread.sd - 10f64.sqrt()).abs() < 1e-12);
        assert!((spread.p10 - 1.4).abs() < 1e-12 && (spread.p90 - 7.6).abs() < 1e-12);
        assert!(super::spread(&[]).is_none());
    }
}
