//! The clients of a round as a table: what is known of each, before and after training.
//!
//! Where in the flow: arguments of [`crate::Aggregate`], [`crate::Client`] and [`crate::ServerStep`]. Rows are in the order
//! of client ids.

use crate::abi::table;
use crate::roles::{require, required_u64};
use crate::{Block, Map, Result};

/// The clients of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cohort<'a> {
    table: &'a [f64],
    columns: usize,
}

/// One row of the cohort table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    pub num_examples: f64,
    /// Local steps that the client's plan holds.
    pub steps: f64,
    /// Sum of the learning rates of these steps.
    pub lr_sum: f64,
    /// Rounds since the weights that the client trained from; 0 in synchronous rounds.
    pub staleness: f64,
    /// `None` before training.
    pub trained: Option<Trained>,
}

/// What is known of a client after it trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trained {
    /// Mean loss over the examples seen.
    pub train_loss: f64,
    /// Mean loss of the received weights on the client's examples; 0 unless the manifest `needs` `loss-before`.
    pub loss_before: f64,
    /// ‖Δₖ‖² of the update as received; 0 unless the manifest `needs` `update-norm2`.
    pub update_norm2: f64,
}

impl<'a> Cohort<'a> {
    /// Clients.
    pub fn len(&self) -> usize {
        self.table.len() / self.columns
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn members(self) -> impl ExactSizeIterator<Item = Member> + 'a {
        self.table.chunks_exact(self.columns).map(|row| Member {
            num_examples: row[table::NUM_EXAMPLES],
            steps: row[table::STEPS],
            lr_sum: row[table::LR_SUM],
            staleness: row[table::STALENESS],
            trained: (row.len() >= table::COLUMNS_AFTER).then(|| Trained {
                train_loss: row[table::TRAIN_LOSS],
                loss_before: row[table::LOSS_BEFORE],
                update_norm2: row[table::UPDATE_NORM2],
            }),
        })
    }

    /// Later minor versions append columns, so the width comes from the table.
    pub(crate) fn of_block(block: &Block<'a>) -> Result<Self> {
        let columns = block.table.len().checked_div(block.k).unwrap_or(table::COLUMNS);
        let whole = columns * block.k == block.table.len() && columns >= table::COLUMNS;
        require(whole, "WEIGH", "a `table` of k rows with at least 4 columns")?;
        Ok(Cohort { table: block.table, columns })
    }

    /// `{columns, table}` of a message; no clients where it has no table.
    pub(crate) fn of_message(message: &'a Map) -> Result<Self> {
        let Some(table) = message.f64s("table") else { return Ok(Cohort { table: &[], columns: table::COLUMNS }) };
        let columns = usize::try_from(required_u64(message, "columns")?).unwrap_or(usize::MAX);
        let whole = columns >= table::COLUMNS && table.len().is_multiple_of(columns);
        require(whole, "the message", "a `table` of whole rows with at least 4 `columns`")?;
        Ok(Cohort { table, columns })
    }
}
