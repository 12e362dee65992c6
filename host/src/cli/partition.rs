//! `colla-host partition`: who would have which rows.

use super::{
    arguments::{Format, PartitionArguments},
    print,
};
use crate::{
    data::{self, Dataset},
    partition::{self, OwnTest, Partition},
    record::count,
};
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// Up to so many clients have a line each in the table.
const MOST_LINES: usize = 100;
/// Wider tables than this do not fit a screen.
const MOST_COLUMNS: usize = 20;

pub(super) fn show(arguments: &PartitionArguments) -> Result<()> {
    let config = arguments.experiment.load()?;
    let data = data::load(&config.data)?;
    let partition = partition::load_or_create(&config.partition, &data)?;
    let shares = Shares::of(&data, &partition);
    print(&match arguments.output.format {
        Format::Json => serde_json::to_string(&shares)? + "\n",
        Format::Text => shares.to_text(),
    })
}

/// Rows of each class at each client.
#[derive(Serialize)]
struct Shares<'a> {
    data: &'a str,
    num_clients: usize,
    num_classes: usize,
    /// Training rows by client and class.
    class_counts: Vec<Vec<u64>>,
    /// Rows on which each client's own accuracy is measured, and what they are.
    own_test_rows: Option<Vec<usize>>,
    own_test: &'static str,
}

impl<'a> Shares<'a> {
    fn of(data: &'a Dataset, partition: &Partition) -> Self {
        let num_clients = partition.train.num_clients();
        let class_counts = (0..num_clients).map(|client| {
            let mut counts = vec![0; data.num_classes];
            for &row in partition.train.client(client) {
                counts[data.train.labels[row as usize] as usize] += 1;
            }
            counts
        });
        let (own_test, rows) = match &partition.own_test {
            Some(OwnTest::OfTestSet(rows)) => ("test rows", Some(rows)),
            Some(OwnTest::HeldOut(rows)) => ("held-out rows", Some(rows)),
            None => ("training rows", None),
        };
        Shares {
            data: &data.name,
            num_clients,
            num_classes: data.num_classes,
            class_counts: class_counts.collect(),
            own_test_rows: rows.map(|rows| (0..num_clients).map(|client| rows.client(client).len()).collect()),
            own_test,
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.num_classes <= MOST_COLUMNS {
            text = self.table() + "\n";
        }
        if self.num_clients > MOST_LINES || self.num_classes > MOST_COLUMNS {
            text += "not all is shown; `--format json` gives every client and class\n";
        }
        text + &self.in_words()
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut head = vec!["client".to_string(), "rows".into()];
        head.extend((0..self.num_classes).map(|class| class.to_string()));
        if self.own_test_rows.is_some() {
            head.push(self.own_test.into());
        }
        table.set_header(head);
        for (client, counts) in self.class_counts.iter().enumerate().take(MOST_LINES) {
            let mut line = vec![client.to_string(), count(counts.iter().sum())];
            line.extend(counts.iter().map(|&rows| if rows == 0 { "·".into() } else { count(rows) }));
            line.extend(self.own_test_rows.iter().map(|rows| count(rows[client] as u64)));
            table.add_row(line);
        }
        table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table.to_string()
    }

    fn in_words(&self) -> String {
        let mut sizes: Vec<u64> = self.class_counts.iter().map(|counts| counts.iter().sum()).collect();
        sizes.sort_unstable();
        let classes: usize = self.class_counts.iter().flatten().filter(|&&rows| rows > 0).count();
        let clients = self.num_clients.max(1);
        let (total, smallest, largest) = (sizes.iter().sum(), sizes.first().copied(), sizes.last().copied());
        format!(
            "{}: {} training rows at {} clients, {} to {} each (median {}), {:.1} of {} classes each on average; own \
             accuracy is measured on {}\n",
            self.data,
            count(total),
            count(self.num_clients as u64),
            count(smallest.unwrap_or(0)),
            count(largest.unwrap_or(0)),
            count(sizes.get(sizes.len() / 2).copied().unwrap_or(0)),
            classes as f64 / clients as f64,
            self.num_classes,
            self.own_test,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Examples, Features},
        partition::ClientRows,
    };

    fn examples(labels: Vec<u32>) -> Examples {
        Examples { features: Features::F32(vec![0.0; labels.len()]), labels, clients: None }
    }

    #[test]
    fn rows_are_counted_by_client_and_class() {
        let data = Dataset {
            name: "six rows".into(),
            train: examples(vec![0, 1, 2, 2, 1, 0]),
            test: examples(vec![0]),
            sample_shape: vec![1],
            num_classes: 3,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        };
        let held_out = OwnTest::HeldOut(ClientRows::new([vec![5], vec![]]));
        let partition = Partition { train: ClientRows::new([vec![0], vec![1, 2, 3, 4]]), own_test: Some(held_out) };
        let shares = Shares::of(&data, &partition);
        assert_eq!(shares.class_counts, [[1, 0, 0], [0, 2, 2]]);
        assert_eq!(shares.own_test_rows, Some(vec![1, 0]));
        let text = shares.to_text();
        assert!(text.contains("│ client ┆ rows ┆ 0 ┆ 1 ┆ 2 ┆ held-out rows │"), "{text}");
        assert!(text.contains("│      1 ┆    4 ┆ · ┆ 2 ┆ 2 ┆             0 │"), "{text}");
        let words = "six rows: 5 training rows at 2 clients, 1 to 4 each (median 4), 1.5 of 3 classes each on average";
        assert!(text.contains(words), "{text}");
    }
}
