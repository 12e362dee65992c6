//! Matching clients and agents: the CollA paper's scheduler.
//!
//! An agent (a built model, its stages, its buffers) is made once per core. A round hands out the cohort, longest client
//! first; an agent trains a client apart, hands its update back, and takes the next one. Messages are plain data
//! (weights and tasks out, reports and partial sums back), so that an engine may also live in other processes.
//! What it never does: decide weights or make new ones.

mod agent;
mod client_side;
mod device;
mod divergence;
mod sequential;
#[cfg(test)]
mod tests;
mod threaded;

use crate::{
    client::{ClientId, ClientStates, SlotId},
    config,
    data::Dataset,
    error::{Fault, PluginFailure},
    stages::StageSpecs,
    strategy::{
        aggregate::Collect,
        client_slots::ClientPlugins,
        grid::{Grid, GridSum},
        local::SlotRef,
    },
    train::{LocalReport, Model, Part, Score, Term},
};
use anyhow::Result;
use colla_plugin_sdk::Map;
use std::sync::Arc;

pub use device::DeviceEngine;
pub use sequential::SequentialEngine;
pub use threaded::ThreadedEngine;

/// What every agent is built from.
#[derive(Clone)]
pub struct AgentSpec {
    pub model: Arc<dyn Model>,
    pub data: Arc<Dataset>,
    pub stages: StageSpecs,
    pub train: config::Train,
    pub run_seed: u64,
    /// Largest magnitude of an element of an update that enters a sum.
    pub update_bound: f64,
    pub clients: Arc<ClientStates>,
    pub client_plugins: ClientPlugins,
    /// Whether reports tell the loss of the received weights, for one more pass over each client's rows.
    pub loss_before: bool,
    /// Whether reports tell the squared norm of the update as received.
    pub update_norm2: bool,
}

/// One client's work in one round.
#[derive(Clone, Debug)]
pub struct ClientTask<'a> {
    /// Position in the cohort; also the row of a rows rule.
    pub slot: usize,
    pub client: ClientId,
    /// Its rows of the training set, not empty.
    pub rows: &'a [u32],
    pub steps: u64,
    /// At most `rows.len()`.
    pub batch_size: usize,
    pub terms: Vec<Term<SlotRef>>,
    /// What it takes each class for in all of its training, if it is misled.
    pub relabel: Option<Arc<[u32]>>,
    /// The slot with the tensors that stay the client's own, if some do.
    pub own_tensors: Option<SlotId>,
    /// Trained after the uploaded phase, in this order.
    pub personal: Vec<PersonalTask>,
    /// Aggregation weight.
    pub weight: f64,
    /// Weights of the client's own vectors.
    pub vector_weights: Vec<f64>,
}

/// Training of a model that stays with its client.
#[derive(Clone, Debug)]
pub struct PersonalTask {
    /// Where the model lies before and after.
    pub slot: SlotId,
    /// Of its batch order, above 0.
    pub stream: u32,
    pub steps: u64,
    pub terms: Vec<Term<SlotRef>>,
}

impl ClientTask<'_> {
    /// Examples that pass through the model: what the client costs.
    fn cost(&self) -> u64 {
        let steps = self.personal.iter().fold(self.steps, |sum, phase| sum.saturating_add(phase.steps));
        steps.saturating_mul(self.batch_size as u64)
    }
}

/// One round as it goes out to the agents.
pub struct RoundJob<'a> {
    pub round: u64,
    /// The common model, P values.
    pub weights: &'a [f32],
    pub tasks: &'a [ClientTask<'a>],
    pub collect: Collect<'a>,
    /// What plugins broadcast this round, by position; empty maps are not sent.
    pub broadcasts: &'a [Map],
    /// The server step's slots that travel down with the weights, P values each.
    pub broadcast_slots: &'a [&'a [f32]],
    /// One for each vector that clients upload besides the update.
    pub vector_grids: &'a [Grid],
}

/// What comes back of one client besides its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientReport {
    pub slot: usize,
    pub client: ClientId,
    pub num_examples: usize,
    pub local: LocalReport,
    pub upload_bytes: u64,
    /// Mean loss of the received weights on the client's rows; 0 where nobody asked.
    pub loss_before: f64,
    /// ‖Δₖ‖² as received; 0 where nobody asked.
    pub update_norm2: f64,
}

/// What comes back of a round. Rows lie in the row store or among the kept updates.
#[derive(Debug)]
pub struct Received {
    /// In cohort order.
    pub reports: Vec<ClientReport>,
    /// The merged partial sums, where the rule sums and the cohort was not empty.
    pub sum: Option<GridSum>,
    /// The same of each own vector.
    pub vector_sums: Vec<Option<GridSum>>,
    /// What happened that a user should know of, a line each.
    pub warnings: Vec<String>,
}

/// Rows to be evaluated, and whose model is.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    pub part: Part,
    pub rows: &'a [u32],
    /// The client whose personal model it is; `None` for the common one.
    pub personal: Option<ClientId>,
}

/// Whoever trains cohorts and evaluates. Implementations on the CPU agree bit for bit.
pub trait Engine {
    /// Trains the cohort. `progress` hears how many clients are done.
    /// Errors: that of the failed client nearest to the front of the queue.
    fn round(&mut self, job: &RoundJob<'_>, progress: &mut dyn FnMut(usize)) -> Result<Received>;

    /// Scores on several lists of rows, in their order. `weights`: the common model, also that of clients whose personal
    /// one begins with what they receive first.
    fn evaluate(&mut self, weights: &[f32], lists: &[Evaluation<'_>]) -> Result<Vec<Score>>;
}

/// The order in which clients are handed out: longest first, so that a long one does not begin when the others are done
/// (LPT: Graham, 1969; at most 4/3 of the optimal time). Ties go by position.
fn longest_first<'a, 'b>(tasks: &'a [ClientTask<'b>]) -> Vec<&'a ClientTask<'b>> {
    let mut queue: Vec<_> = tasks.iter().collect();
    queue.sort_by_key(|task| std::cmp::Reverse(task.cost()));
    queue
}

/// Puts reports back into cohort order and merges the partial sums.
fn gather<'a>(mut reports: Vec<ClientReport>, agents: impl IntoIterator<Item = &'a mut agent::Agent>) -> Received {
    reports.sort_by_key(|report| report.slot);
    let mut received = Received { reports, sum: None, vector_sums: Vec::new(), warnings: Vec::new() };
    for agent in agents {
        merge(&mut received.sum, agent.take_sum());
        let sums = agent.take_vector_sums();
        received.vector_sums.resize(sums.len(), None);
        received.vector_sums.iter_mut().zip(sums).for_each(|(merged, sum)| merge(merged, sum));
    }
    received
}

fn merge(merged: &mut Option<GridSum>, sum: Option<GridSum>) {
    match (merged.as_mut(), sum) {
        (Some(merged), Some(sum)) => merged.merge(&sum),
        (None, sum) => *merged = sum,
        (Some(_), None) => {}
    }
}

/// Names round and client once, and only there.
fn at_client(error: anyhow::Error, round: u64, client: ClientId) -> anyhow::Error {
    if error.downcast_ref::<PluginFailure>().is_some() || error.downcast_ref::<Fault>().is_some() {
        error.context(format!("round {round}, client {client}"))
    } else {
        error
    }
}
