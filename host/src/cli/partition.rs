//! `colla-host partition`: who would have which rows.

use super::{
    arguments::{Format, PartitionArguments},
    print,
};
use crate::{
    data::{self, Dataset},
    partition::{self, OwnTest, Partition, Summary},
    record::count,
};
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// Up to so many clients have a line each in the table.
const MOST_LINES: usize = 100;
/// Wider tables than this do not fit a screen.
const MOST_CLASSES: usize = 20;

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
    num_classes: usize,
    summary: Summary,
    /// Training rows by client and class.
    class_counts: Vec<Vec<u32>>,
    /// On which rows each client's own accuracy is measured, and how many there are if it does not train on them.
    own_test: &'static str,
    own_test_rows: Option<Vec<usize>>,
}

impl<'a> Shares<'a> {
    fn of(data: &'a Dataset, partition: &Partition) -> Self {
        let (own_test, rows) = match &partition.own_test {
            Some(OwnTest::OfTestSet(rows)) => ("test rows", Some(rows)),
            Some(OwnTest::HeldOut(rows)) => ("held-out rows", Some(rows)),
            None => ("training rows", None),
        };
        Shares {
            data: &data.name,
            num_classes: data.num_classes,
            summary: partition.summary(data),
            class_counts: partition.class_counts(data),
            own_test,
            own_test_rows: rows.map(|rows| rows.sizes().collect()),
        }
    }

    fn to_text(&self) -> String {
        let table = if self.num_classes > MOST_CLASSES { String::new() } else { self.table() + "\n" };
        let hidden = self.num_classes > MOST_CLASSES || self.class_counts.len() > MOST_LINES;
        let note = if hidden { "`--format json` gives every client and class\n" } else { "" };
        let (data, own_test) = (self.data, self.own_test);
        format!("{table}{note}{data}: {}\nown accuracy is on:  {own_test}\n", self.summary)
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut head = vec!["client".to_string(), "rows".into()];
        head.extend((0..self.num_classes).map(|class| class.to_string()));
        head.extend(self.own_test_rows.iter().map(|_| self.own_test.to_string()));
        table.set_header(head);
        for (client, counts) in self.class_counts.iter().enumerate().take(MOST_LINES) {
            let total = counts.iter().map(|&rows| u64::from(rows)).sum();
            let mut line = vec![client.to_string(), count(total)];
            line.extend(counts.iter().map(|&rows| if rows == 0 { "·".into() } else { count(u64::from(rows)) }));
            line.extend(self.own_test_rows.iter().map(|rows| count(rows[client] as u64)));
            table.add_row(line);
        }
        table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Examples, Features},
        partition::ClientRows,
    };

    #[test]
    fn rows_are_counted_by_client_and_class() {
        let examples =
            |labels: Vec<u32>| Examples { features: Features::F32(vec![0.0; labels.len()]), labels, clients: None };
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
        assert!(text.contains("six rows: 2 clients on 6 training rows"), "{text}");
        let value = serde_json::to_value(&shares).unwrap();
        assert_eq!((&value["class_counts"][1][2], &value["own_test"]), (&2.into(), &"held-out rows".into()));
    }
}
