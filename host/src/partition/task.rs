//! What every kind of partition is given.
//!
//! Where in the flow: between the settings and a kind. What it never does: choose an owner.

use super::{ClientRows, Settings};
use crate::data::Dataset;
use crate::error::{Fault, Kind};
use crate::random::{Purpose, Stream};
use anyhow::Result;

/// Owner of a row that no client gets.
pub const NOBODY: u32 = u32::MAX;

/// Checked settings and the data they were checked against.
pub struct Task<'a> {
    pub settings: &'a Settings,
    pub data: &'a Dataset,
}

/// What a stream is drawn for. Streams are apart, so that a kind that draws more of one never shifts another.
#[derive(Clone, Copy)]
pub enum Draw {
    /// Order of the rows before they are cut.
    Rows,
    /// Order of the rows inside a finished client.
    Order,
    /// A client's class mixture and the classes it wants.
    Mixture,
    /// What a client takes instead of exhausted classes.
    Substitutes,
    /// Order of the shards, or of the clients.
    Turns,
    /// A class's shares or the sizes, in attempt `n`.
    Shares(u16),
    /// A client's set of labels, in attempt `n`.
    Labels(u16),
}

impl Draw {
    fn word(self) -> u64 {
        let (tag, attempt) = match self {
            Draw::Rows => (0, 0),
            Draw::Order => (1, 0),
            Draw::Mixture => (2, 0),
            Draw::Substitutes => (3, 0),
            Draw::Turns => (4, 0),
            Draw::Shares(attempt) => (5, attempt),
            Draw::Labels(attempt) => (6, attempt),
        };
        tag << 16 | u64::from(attempt)
    }
}

impl Task<'_> {
    /// `index` is a client, a class or a pass over the rows, 0 where there is only one stream.
    pub fn stream(&self, draw: Draw, index: u64) -> Stream {
        Stream::new(self.settings.seed, Purpose::Partition, draw.word(), index)
    }

    pub fn num_rows(&self) -> usize {
        self.data.train.len()
    }

    pub fn num_clients(&self) -> usize {
        self.settings.num_clients
    }

    /// All rows in random order, another one for each `pass`.
    pub fn shuffled_rows(&self, pass: u64) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.num_rows() as u32).collect();
        self.stream(Draw::Rows, pass).shuffle(&mut rows);
        rows
    }

    /// The rows of each class, each in random order.
    pub fn rows_by_class(&self) -> ClientRows {
        ClientRows::grouped(self.shuffled_rows(0).into_iter(), &self.data.train.labels, self.data.num_classes)
    }

    /// n_c, the number of rows of each class.
    pub fn class_sizes(&self) -> Vec<u32> {
        let mut sizes = vec![0; self.data.num_classes];
        self.data.train.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// Gives consecutive runs of `rows` to the clients 0, 1, …: `sizes[k]` rows to client `k`.
    pub fn hand_out(&self, rows: &[u32], sizes: &[u32]) -> Vec<u32> {
        let mut owners = vec![NOBODY; self.num_rows()];
        let mut rows = rows.iter();
        for (client, &size) in (0u32..).zip(sizes) {
            rows.by_ref().take(size as usize).for_each(|&row| owners[row as usize] = client);
        }
        owners
    }

    /// Kind, K and N in the words of the error messages.
    pub fn describe(&self) -> String {
        let (clients, rows) = (self.num_clients(), self.num_rows());
        format!("kind `{}`, {clients} clients on the {rows} rows of `{}`", self.settings.method().name, self.data.name)
    }

    /// Fails if the smallest client has fewer rows than `min-partition-size`, where a new draw could not change it.
    pub fn require_minimum(&self, smallest: usize) -> Result<()> {
        let minimum = self.settings.min_partition_size;
        if smallest >= minimum {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Config,
            format!(
                "config `partition.min-partition-size = {minimum}`: with {} the smallest client has {smallest}; \
                 use a value up to {smallest}",
                self.describe()
            ),
        ))
    }
}
