//! Each client holds a fixed number of classes.
//!
//! Where in the flow: two kinds of partition. What it never does: give a client a class outside its set.

use super::label_sets::LabelSets;
use super::task::{Draw, Task};
use super::{redraw, shares};
use anyhow::Result;

/// Each client draws `classes-per-client` distinct classes; the rows of a class go in nearly equal parts (larger ones
/// first) to its holders in client order. Rows of a class that nobody drew are not used.
///
/// Source: Flower's `PathologicalPartitioner`, mode `random`.
pub fn equal_parts(task: &Task<'_>) -> Result<Vec<u32>> {
    draw(task, |_, _, rows, holders| shares::equal(rows as usize, holders).collect())
}

/// The same label sets, but the parts of a class are one row for each holder, so that a client keeps all of its
/// classes, and the rest in the proportions of lognormal draws: class count and sample count differ.
pub fn lognormal_parts(task: &Task<'_>) -> Result<Vec<u32>> {
    draw(task, |attempt, class, rows, holders| {
        if holders == 0 {
            return Vec::new();
        }
        let mut stream = task.stream(Draw::Shares(attempt), class as u64);
        let shares = shares::lognormal(&mut stream, holders, task.settings.sigma);
        shares::cut(&shares, rows - holders as u32).map(|part| part + 1).collect()
    })
}

/// `parts(attempt, class, its rows, its holders)` gives the sizes of a class's parts.
fn draw(task: &Task<'_>, parts: impl Fn(u16, usize, u32, usize) -> Vec<u32>) -> Result<Vec<u32>> {
    let variates = task.num_clients() * task.settings.classes_per_client;
    let mut unfit = None;
    let drawn = redraw::until_minimum(task, variates, |attempt| {
        let sets = LabelSets::random(task, attempt)?;
        // More holders of a class than it has rows: this draw leaves somebody empty, another one may not.
        match sets.parts(task, 1, |class, rows, holders| parts(attempt, class, rows, holders)) {
            Ok(parts) => Ok((sets.sizes(&parts), Some((sets, parts)))),
            Err(error) => {
                unfit = Some(error);
                Ok((vec![0], None))
            }
        }
    });
    let fitting = drawn.map_err(|error| unfit.unwrap_or(error))?;
    // A draw that did not fit has the size 0, below every minimum.
    fitting.map_or(Ok(Vec::new()), |(sets, parts)| Ok(sets.owners(task, &parts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Partition, PartitionKind};
    use crate::partition::settings::Settings;

    /// Flower's deterministic label sets on MNIST; the sizes were computed with Flower's rule.
    #[test]
    fn successive_label_sets_give_the_known_sizes_on_mnist() {
        let Some(data) = crate::partition::tests::mnist() else { return };
        let config = Partition { kind: PartitionKind::Pathological, num_clients: 10, ..Default::default() };
        let settings = Settings::resolve(&config, &data).unwrap();
        let task = Task { settings: &settings, data: &data };
        let sizes = |classes| {
            let sets = LabelSets::successive(&task, classes).unwrap();
            let parts = sets.parts(&task, 1, |_, rows, holders| shares::equal(rows as usize, holders).collect());
            sets.sizes(&parts.unwrap())
        };
        assert_eq!(sizes(2), [6333, 6350, 6045, 5986, 5632, 5669, 6092, 6058, 5900, 5935]);
        assert_eq!(sizes(3), [6209, 6277, 5978, 5797, 5727, 5869, 6011, 6021, 5907, 6204]);
    }
}
