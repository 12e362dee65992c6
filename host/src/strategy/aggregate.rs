//! Role aggregate: weights for the clients, then one update for all.
//!
//! Two ways: `sum` rules give weights before training and the agents fold exact grid sums in O(P) memory; `rows` rules
//! see every client's update in a range (median, trimmed mean).
//! Where in the flow: `weigh` before training, `collect` names what the agents fill, `finish` after the last client.

use super::{
    Roster,
    facts::{ClientRow, RoundFacts},
    grid::{Grid, GridSum},
    rows::RowStore,
};
use crate::{
    error::{Fault, Kind},
    executor::Executor,
    plugin::{Block, Reduce, Role, Span},
    stages::failure,
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::{op, table};

/// The aggregate update and what was known when it was formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregated {
    /// P values.
    pub update: Vec<f32>,
    /// Σ aₖ.
    pub weight_sum: f64,
    /// What the weighted sum was divided by; 1 for rules that are no sums.
    pub denominator: f64,
}

/// The aggregate rule of the run.
pub struct Aggregator {
    index: usize,
    name: String,
    rows: Option<RowStore>,
    /// Room for the cohort table and the weights in the control instance: clients, table, weights.
    room: Option<(usize, Span, Span)>,
}

/// What the agents fill during a round.
#[derive(Clone, Copy)]
pub enum Collect<'a> {
    Sum(Grid),
    Rows(&'a RowStore),
}

impl Aggregator {
    /// Errors: the plugin reduces in a way that this host does not run.
    pub fn new(roster: &Roster, run_seed: u64, layout: &Layout) -> Result<Self> {
        let index = roster.position_of(Role::Aggregate).unwrap_or(0);
        let member = &roster.members[index];
        let manifest = member.plugin.manifest();
        let rows = match manifest.reduce[..] {
            [] | [Reduce::SumBefore] => None,
            [Reduce::Rows] => Some(RowStore::new(member.plugin.clone(), member.position(), run_seed, layout)),
            ref other => {
                return Err(Fault::new(
                    Kind::Config,
                    format!("plugin `{}` — it reduces by {other:?}, which this host does not run yet", manifest.name),
                ));
            }
        };
        Ok(Aggregator { index, name: manifest.name.clone(), rows, room: None })
    }

    /// One weight per client of the cohort, in its order. Rows rules are handed the numbers of examples.
    pub fn weigh(&mut self, roster: &mut Roster, cohort: &[ClientRow]) -> Result<Vec<f64>> {
        if self.rows.is_some() {
            return Ok(cohort.iter().map(|c| c.num_examples as f64).collect());
        }
        if cohort.is_empty() {
            return Ok(Vec::new());
        }
        let k = cohort.len();
        let (table, out) = self.room_for(roster, k, ClientRow::columns(cohort))?;
        let control = roster.members[self.index].control.as_mut();
        control.doubles_mut(table).copy_from_slice(&ClientRow::table(cohort));
        control.doubles_mut(out).fill(f64::NAN);
        control.block(op::WEIGH, &Block { k, table: Some(table), mix_out: Some(out), ..Block::default() })?;
        let weights = control.doubles(out).to_vec();
        match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            None => Ok(weights),
            Some(i) => {
                let message = format!("weight {i} of {k} is {}; weights must be finite and at least 0", weights[i]);
                Err(failure(&self.name, op::WEIGH, message).into())
            }
        }
    }

    fn room_for(&mut self, roster: &mut Roster, k: usize, columns: usize) -> Result<(Span, Span)> {
        let room = match self.room {
            Some(room) if room.0 >= k => room,
            _ => {
                let control = roster.members[self.index].control.as_mut();
                let clients = k.next_power_of_two();
                let table = Span { buffer: control.alloc(8 * clients * table::COLUMNS_AFTER)?, start: 0, len: 0 };
                let out = Span { buffer: control.alloc(8 * clients)?, start: 0, len: 0 };
                *self.room.insert((clients, table, out))
            }
        };
        Ok((Span { len: k * columns, ..room.1 }, Span { len: k, ..room.2 }))
    }

    /// What the agents of this round fill. `bound`: largest magnitude of an element of an update.
    pub fn collect(&mut self, roster: &Roster, round: u64, weights: &[f64], bound: f64) -> Result<Collect<'_>> {
        match &mut self.rows {
            None => Ok(Collect::Sum(Grid::new(weights.iter().sum(), bound)?)),
            Some(rows) => {
                rows.prepare(weights.len())?;
                rows.open_round(&|instance| roster.members[self.index].open_round(instance, round))?;
                Ok(Collect::Rows(rows))
            }
        }
    }

    /// The aggregate update; zeros for an empty cohort.
    pub fn finish(
        &mut self,
        roster: &mut Roster,
        executor: &Executor,
        facts: &RoundFacts,
        clients: &[ClientRow],
        weights: &[f64],
        sum: Option<GridSum>,
        len: usize,
    ) -> Result<Aggregated> {
        // In cohort order, that is in client-id order.
        let weight_sum = weights.iter().sum();
        let (update, denominator) = match (&mut self.rows, sum) {
            _ if weights.is_empty() => (vec![0.0; len], 1.0),
            (Some(rows), _) => (rows.reduce(executor, weights)?, 1.0),
            (None, Some(sum)) => {
                let denominator = self.denominator(roster, facts, clients, weights, weight_sum)?;
                (self.mean(&sum, denominator)?, denominator)
            }
            (None, None) => (vec![0.0; len], 1.0),
        };
        Ok(Aggregated { update, weight_sum, denominator })
    }

    /// A denominator so small that the mean leaves single precision is the plugin's fault, not a client's.
    fn mean(&self, sum: &GridSum, denominator: f64) -> Result<Vec<f32>> {
        let mean = sum.mean(denominator);
        match mean.iter().position(|x| !x.is_finite()) {
            None => Ok(mean),
            Some(index) => {
                let message = format!(
                    "answered {denominator}, with which element {index} of the aggregate is {}; an aggregate must be finite",
                    mean[index]
                );
                Err(failure(&self.name, op::DENOMINATOR, message).into())
            }
        }
    }

    fn denominator(
        &self,
        roster: &mut Roster,
        facts: &RoundFacts,
        clients: &[ClientRow],
        weights: &[f64],
        weight_sum: f64,
    ) -> Result<f64> {
        let message = facts.message().with("weight_sum", weight_sum).with("accepted", weights.len() as i64);
        let message = ClientRow::tell(message, clients, weights);
        let reply = roster.members[self.index].control.call(op::DENOMINATOR, &message)?;
        match reply.f64("denominator") {
            Some(d) if d.is_finite() && d != 0.0 => Ok(d),
            d => {
                let message = format!(
                    "answered {d:?} for weights that sum to {weight_sum}; a denominator must be finite and not 0"
                );
                Err(failure(&self.name, op::DENOMINATOR, message).into())
            }
        }
    }
}
