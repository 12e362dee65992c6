//! What messages tell plugins of a round: its size, and the table of its clients before and after training.
//!
//! Where in the flow: filled by the round loop, read by whoever calls a plugin's control plane.
//! What it never does: compute anything beyond what the ABI names.

use colla_plugin_sdk::{Map, abi::table};

/// What is fixed before the round's first client trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundFacts {
    pub round: u64,
    /// Clients that are asked to train.
    pub cohort: usize,
    /// Clients in the federation, N.
    pub num_clients: usize,
    /// Clients in a cohort on average: qN for Poisson cohorts, else the cohort's size.
    pub expected_cohort: f64,
    /// Whether each client takes part independently.
    pub poisson: bool,
}

impl RoundFacts {
    /// `{round, cohort, num_clients, expected_cohort}`.
    pub fn message(&self) -> Map {
        Map::new()
            .with("round", self.round as i64)
            .with("cohort", self.cohort as i64)
            .with("num_clients", self.num_clients as i64)
            .with("expected_cohort", self.expected_cohort)
    }
}

/// One client of the cohort as the table of WEIGH, DENOMINATOR and STEP_BEGIN shows it. The default is a row that no client sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientRow {
    pub num_examples: usize,
    pub steps: u64,
    /// Sum of the learning rates of these steps.
    pub lr_sum: f64,
    /// `None` before training.
    pub trained: Option<TrainedRow>,
}

/// What is known of a client after it trained.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainedRow {
    pub train_loss: f64,
    /// 0 unless the aggregate or the server step needs it.
    pub loss_before: f64,
    /// ‖Δₖ‖² as received; 0 unless the aggregate or the server step needs it.
    pub update_norm2: f64,
}

impl ClientRow {
    /// Columns of a table of such rows.
    pub fn columns(rows: &[ClientRow]) -> usize {
        match rows.first() {
            Some(ClientRow { trained: Some(_), .. }) => table::COLUMNS_AFTER,
            _ => table::COLUMNS,
        }
    }

    /// The row-major table.
    pub fn table(rows: &[ClientRow]) -> Vec<f64> {
        let columns = Self::columns(rows);
        let mut values = vec![0.0; columns * rows.len()];
        values.chunks_exact_mut(columns).zip(rows).for_each(|(values, row)| row.write(values));
        values
    }

    /// `{columns, table, weights}` of the cohort behind what `message` holds already.
    pub fn tell(message: Map, rows: &[ClientRow], weights: &[f64]) -> Map {
        message
            .with("columns", Self::columns(rows) as i64)
            .with("table", Self::table(rows))
            .with("weights", weights.to_vec())
    }

    fn write(&self, values: &mut [f64]) {
        values[table::NUM_EXAMPLES] = self.num_examples as f64;
        values[table::STEPS] = self.steps as f64;
        values[table::LR_SUM] = self.lr_sum;
        values[table::STALENESS] = 0.0;
        if let (Some(trained), true) = (self.trained, values.len() >= table::COLUMNS_AFTER) {
            values[table::TRAIN_LOSS] = trained.train_loss;
            values[table::LOSS_BEFORE] = trained.loss_before;
            values[table::UPDATE_NORM2] = trained.update_norm2;
        }
    }
}
