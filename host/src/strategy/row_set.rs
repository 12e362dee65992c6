//! The rows that a decision sees: those of the cohort, or of a mix before it, and the extra rows that it asked for.
//!
//! What it never does: copy more than the range that is asked for.

use super::kept::Kept;
use anyhow::Result;

/// Rows `0..clients` of a store, then the extra rows.
pub struct RowSet<'a> {
    kept: &'a Kept,
    clients: usize,
    extra: Vec<Extra<'a>>,
}

/// A row that is no client's.
#[derive(Clone, Copy, Debug)]
pub enum Extra<'a> {
    /// P values.
    Values(&'a [f32]),
    Zero,
}

impl<'a> RowSet<'a> {
    /// `clients`: at most the rows of the store.
    pub fn new(kept: &'a Kept, clients: usize, extra: Vec<Extra<'a>>) -> Self {
        RowSet { kept, clients, extra }
    }

    /// Rows, extra ones included.
    pub fn rows(&self) -> usize {
        self.clients + self.extra.len()
    }

    /// Elements of a row, P.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Elements `start..` of a row.
    pub fn read(&self, row: usize, start: usize, out: &mut [f32]) -> Result<()> {
        match row.checked_sub(self.clients).map(|extra| self.extra[extra]) {
            None => return self.kept.read(row, start, out),
            Some(Extra::Zero) => out.fill(0.0),
            Some(Extra::Values(values)) => out.copy_from_slice(&values[start..start + out.len()]),
        }
        Ok(())
    }

    /// Largest magnitude in a row.
    pub fn largest(&self, row: usize) -> f32 {
        match row.checked_sub(self.clients).map(|extra| self.extra[extra]) {
            None => self.kept.largest(row),
            Some(Extra::Zero) => 0.0,
            Some(Extra::Values(values)) => values.iter().fold(0.0, |largest, x| largest.max(x.abs())),
        }
    }
}
