//! A partition in a few lines: sizes and classes of the clients.
//!
//! Where in the flow: after partitioning, for people. What it never does: hold one entry per client.

use super::{OwnTest, Partition};
use crate::data::Dataset;
use std::fmt;

/// Smallest, middle, mean and largest value over the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spread {
    pub min: usize,
    pub median: f64,
    pub mean: f64,
    pub max: usize,
}

/// What `colla-host partition` shows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    pub num_clients: usize,
    /// Rows that clients train on and rows held out for their own tests, each counted at every client that holds it, and
    /// rows of the training set.
    pub train_rows: usize,
    pub held_out_rows: usize,
    pub all_rows: usize,
    /// Training rows of a client.
    pub sizes: Spread,
    /// Classes that occur in a client's training rows.
    pub classes: Spread,
    /// Rows of the test set that belong to a client, where the data says so.
    pub own_test_sizes: Option<Spread>,
}

impl Partition {
    pub fn num_clients(&self) -> usize {
        self.train.num_clients()
    }

    /// Training rows of each client.
    pub fn sizes(&self) -> Vec<usize> {
        self.train.sizes().collect()
    }

    /// Training rows of each class at each client, K × C. `data` is the data that was partitioned.
    pub fn class_counts(&self, data: &Dataset) -> Vec<Vec<u32>> {
        let of_client = |client: usize| {
            let mut counts = vec![0; data.num_classes];
            self.train.client(client).iter().for_each(|&row| counts[data.train.labels[row as usize] as usize] += 1);
            counts
        };
        (0..self.num_clients()).map(of_client).collect()
    }

    /// `data` is the data that was partitioned.
    pub fn summary(&self, data: &Dataset) -> Summary {
        // One scratch array for all clients: the last client in which a class was seen.
        let mut last_seen = vec![usize::MAX; data.num_classes];
        let mut classes_of = |client: usize| {
            let new = |row: &&u32| {
                let seen = &mut last_seen[data.train.labels[**row as usize] as usize];
                std::mem::replace(seen, client) != client
            };
            self.train.client(client).iter().filter(new).count()
        };
        Summary {
            num_clients: self.num_clients(),
            train_rows: self.train.rows().len(),
            held_out_rows: match &self.own_test {
                Some(OwnTest::HeldOut(rows)) => rows.rows().len(),
                _ => 0,
            },
            all_rows: data.train.len(),
            sizes: Spread::of(self.sizes()),
            classes: Spread::of((0..self.num_clients()).map(&mut classes_of).collect()),
            own_test_sizes: match &self.own_test {
                Some(OwnTest::OfTestSet(rows)) => Some(Spread::of(rows.sizes().collect())),
                _ => None,
            },
        }
    }
}

impl Spread {
    fn of(mut values: Vec<usize>) -> Spread {
        values.sort_unstable();
        let n = values.len();
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Spread::default() };
        let mean = values.iter().sum::<usize>() as f64 / n as f64;
        Spread { min, median: (values[(n - 1) / 2] + values[n / 2]) as f64 / 2.0, mean, max }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "min {}, median {}, mean {:.1}, max {}", self.min, self.median, self.mean, self.max)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dealt = self.train_rows + self.held_out_rows;
        writeln!(f, "{} clients on {} training rows", self.num_clients, self.all_rows)?;
        writeln!(f, "rows per client:     {}", self.sizes)?;
        write!(f, "classes per client:  {}", self.classes)?;
        if self.held_out_rows > 0 {
            write!(f, "\nheld out for tests:  {}", self.held_out_rows)?;
        }
        if let Some(sizes) = &self.own_test_sizes {
            write!(f, "\nown test rows:       {sizes}")?;
        }
        match self.all_rows.checked_sub(dealt) {
            Some(0) => {}
            Some(unused) => write!(f, "\nrows not used:       {unused}")?,
            None => write!(f, "\nclients of a row:    mean {:.1}", dealt as f64 / self.all_rows as f64)?,
        }
        Ok(())
    }
}
