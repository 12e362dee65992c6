//! Aggregation offline: updates from a file pass through the stages and the server's side of a round, nothing is trained.
//!
//! For checking a rule against other code, and for looking at what a composition does to given updates.
//! Where in the flow: beside it, of the same parts as [`crate::run`]: normalize, compress, attack, mix, aggregate, post,
//! server step. What it never does: know a bound on updates unless it is given one; the grid of a sum follows from
//! their actual maximum.

mod compose;
mod input;
mod source;

pub use compose::load;
pub use input::Updates;

use crate::{
    client::{ClientId, ClientStates},
    error::{Fault, Kind},
    executor::Executor,
    plugin::{Plugin, Role},
    stages::{Stages, Upload, norm2, squared_norm},
    strategy::{
        Roster,
        aggregate::{Aggregator, Arrived, Collect, Settings},
        attack::Attack,
        facts::{ClientRow, RoundFacts, TrainedRow},
        hostile::Hostile,
        kept::Storage,
        post::Posts,
        rehearsal::refused_number,
        server_step::ServerStep,
    },
    train::{Layout, weights_file},
};
use anyhow::Result;
use colla_plugin_sdk::Map;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the file does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest magnitude of an element of an update; none by default.
    pub update_bound: Option<f64>,
    /// Leave out clients whose updates are not finite or beyond the bound, instead of refusing them.
    pub quarantine: bool,
    /// Learning rate of the clients' steps, for rules that read it.
    pub learning_rate: f64,
    /// Keys the plugins' draws.
    pub seed: u64,
    pub threads: usize,
}

/// One round's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// Counts from 1, in the order of the file's rounds.
    pub round: u64,
    /// Clients whose updates count.
    pub accepted: usize,
    /// Clients that were left out.
    pub left_out: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attackers: Option<usize>,
    pub upload_bytes: u64,
    pub weight_sum: f64,
    pub denominator: f64,
    /// Euclidean norm of the aggregate.
    pub aggregate_norm: f64,
    /// What plugins report, `plugin.<name>.<metric>`.
    pub metrics: BTreeMap<String, f64>,
    /// After the server step, P values.
    #[serde(skip)]
    pub weights: Vec<f32>,
}

/// The parts of a round that need no training.
struct Server<'a> {
    hostile: Option<Hostile>,
    updates: &'a Updates,
    options: &'a Options,
    executor: Executor,
    roster: Roster,
    stages: Stages,
    states: ClientStates,
    aggregator: Aggregator,
    posts: Posts,
    server_step: ServerStep,
    weights: Vec<f32>,
}

/// Applies the plugins to each round of the file; one of them aggregates.
///
/// `plugins`: as [`load`] gives them. They see rounds that count from 1.
/// Errors: `Kind::Config` for a plugin that acts in training or downwards, for a requirement that does not hold, for an
/// attack without attackers; `Kind::Data` for what a plugin needs and the file lacks; `Kind::Diverged` for an update that
/// is not finite or beyond the bound, unless it is left out; plugin failures.
pub fn apply(plugins: Vec<Plugin>, updates: &Updates, options: &Options) -> Result<Vec<Applied>> {
    let mut server = Server::new(plugins, updates, options)?;
    (1..).zip(&updates.rounds).map(|(round, clients)| server.round(round, clients)).collect()
}

/// Writes the weights after each round: by their tensors' names, for several rounds as `<round>/<name>`.
/// Errors: `Kind::Io` naming the file.
pub fn save(path: &Path, updates: &Updates, results: &[Applied]) -> Result<()> {
    let mut layout = Layout::default();
    let mut values = Vec::new();
    for result in results {
        for tensor in &updates.layout.tensors {
            let name = if updates.several { format!("{}/{}", result.round, tensor.name) } else { tensor.name.clone() };
            layout.tensors.push(crate::train::TensorInfo { name, offset: layout.len(), ..tensor.clone() });
        }
        values.extend_from_slice(&result.weights);
    }
    weights_file::save(path, &layout, &values, &BTreeMap::new())
}

/// All clients of the file are the cohort.
fn facts(round: u64, num_clients: usize) -> RoundFacts {
    RoundFacts { round, cohort: num_clients, num_clients, expected_cohort: num_clients as f64, poisson: false }
}

impl<'a> Server<'a> {
    fn new(plugins: Vec<Plugin>, updates: &'a Updates, options: &'a Options) -> Result<Self> {
        compose::check(&plugins, updates)?;
        let (layout, seed) = (&updates.layout, options.seed);
        let start: Arc<[f32]> = updates.start.as_slice().into();
        let roster = Roster::new(plugins, seed, layout)?;
        if let Some(clients) = updates.rounds.first() {
            roster.check_norm_bound(&facts(1, clients.len()), layout)?;
        }
        let hostile = match (roster.position_of(Role::Attack), &updates.attackers) {
            (None, _) => None,
            (Some(index), Some(attackers)) => {
                let clients = attackers.iter().map(|&id| ClientId(id as u32)).collect();
                Some(Hostile::of(&roster, index, clients))
            }
            (Some(index), None) => {
                let name = roster.members[index].name();
                let message = format!("plugin `{name}` attacks — but the file has no `attackers`; say who is hostile");
                return Err(Fault::new(Kind::Config, message));
            }
        };
        let settings = Settings {
            // The file's updates are in memory already, and so is their copy.
            storage: Storage { memory_bytes: u64::MAX, folder: std::env::temp_dir() },
            has_root: updates.root.is_some(),
            keep: true,
            update_norm2: true,
        };
        let attack = hostile.clone().map(|hostile| Attack::new(hostile, seed, layout));
        Ok(Server {
            hostile,
            updates,
            options,
            executor: Executor::new(options.threads)?,
            stages: Stages::new(&roster.stages(&start), seed, layout)?,
            states: ClientStates::default(),
            aggregator: Aggregator::new(&roster, seed, layout, attack, settings),
            posts: Posts::new(&roster, seed, layout, &start)?,
            server_step: ServerStep::new(&roster, seed, 1.0, layout, &start)?,
            weights: updates.start.clone(),
            roster,
        })
    }

    fn round(&mut self, round: u64, updates: &[Vec<f32>]) -> Result<Applied> {
        let num_clients = updates.len();
        let facts = facts(round, num_clients);
        let (accepted, left_out) = self.sift(updates)?;
        self.roster.begin(&facts)?;
        let broadcasts: Vec<Map> = self.roster.members.iter().map(|member| member.broadcast.clone()).collect();
        self.stages.begin_round(&broadcasts)?;
        let before: Vec<ClientRow> = accepted.iter().map(|&client| self.row(client)).collect();
        let received = RoundFacts { cohort: accepted.len(), ..facts };
        let named = |error| refused_number(error, &received, accepted.len());
        let weights = self.aggregator.weigh(&mut self.roster, facts.round, &before).map_err(named)?;
        let (clients, upload_bytes) = self.receive(round, updates, &accepted, before, &weights)?;
        let cohort: Vec<ClientId> = accepted.iter().map(|&client| ClientId(client as u32)).collect();
        let arrived = Arrived { facts: &facts, cohort: &cohort, clients, weights, sum: None };
        let mut aggregated = self.aggregator.finish(&mut self.roster, &self.executor, arrived).map_err(named)?;
        self.posts.apply(&mut self.roster, &mut aggregated, &facts)?;
        self.weights =
            self.server_step.apply(&mut self.roster, &self.weights, &aggregated, &[], &facts, accepted.len())?;
        let aggregate_norm = norm2(&aggregated.update);
        self.aggregator.remember(aggregated.update);
        let summary = Map::new()
            .with("round", round as i64)
            .with("cohort", accepted.len() as i64)
            .with("num_examples", accepted.iter().map(|&i| self.updates.num_examples[i] as i64).sum::<i64>())
            .with("train_loss", self.mean_loss(&accepted));
        Ok(Applied {
            round,
            accepted: accepted.len(),
            left_out,
            attackers: self.hostile.as_ref().map(|hostile| hostile.count(&cohort)),
            upload_bytes,
            weight_sum: aggregated.weight_sum,
            denominator: aggregated.denominator,
            aggregate_norm,
            metrics: self.roster.end(round, &summary)?,
            weights: self.weights.clone(),
        })
    }

    /// Which clients count, and which do not.
    fn sift(&self, updates: &[Vec<f32>]) -> Result<(Vec<usize>, Vec<usize>)> {
        let bound = self.options.update_bound.unwrap_or(f64::INFINITY);
        let fine = |x: &f32| x.is_finite() && f64::from(x.abs()) <= bound;
        let wrong = |client: usize| updates[client].iter().find(|&x| !fine(x));
        let (left_out, accepted): (Vec<usize>, Vec<usize>) =
            (0..updates.len()).partition(|&client| wrong(client).is_some());
        match left_out.first().and_then(|&client| Some((client, wrong(client)?))) {
            Some((client, value)) if !self.options.quarantine => Err(Fault::new(
                Kind::Diverged,
                format!(
                    "client {client} — an element of its update is {value}{}; leave such clients out with `--on-bad-update quarantine`",
                    if value.is_finite() { format!(", beyond `--update-bound {bound}`") } else { String::new() }
                ),
            )),
            _ => Ok((accepted, left_out)),
        }
    }

    fn row(&self, client: usize) -> ClientRow {
        let steps = self.updates.steps[client];
        ClientRow {
            num_examples: self.updates.num_examples[client],
            steps,
            lr_sum: steps as f64 * self.options.learning_rate,
            trained: None,
        }
    }

    /// Takes each update through the stages to where the aggregator keeps it. Returns what is known of the clients then,
    /// and the bytes that travelled.
    fn receive(
        &mut self,
        round: u64,
        updates: &[Vec<f32>],
        accepted: &[usize],
        mut clients: Vec<ClientRow>,
        weights: &[f64],
    ) -> Result<(Vec<ClientRow>, u64)> {
        let wants_root = self.aggregator.wants_root();
        let Collect::Keep(kept) = self.aggregator.collect(&self.roster, round, weights, f64::MAX)? else {
            return Err(anyhow::anyhow!("an aggregator that was told to keep updates does not"));
        };
        let mut upload_bytes = 0;
        for (slot, (&client, row)) in accepted.iter().zip(&mut clients).enumerate() {
            let mut update = updates[client].clone();
            let id = ClientId(client as u32);
            let upload = Upload { round, client: id, received: &self.weights, states: &self.states };
            upload_bytes += self.stages.transfer(&mut update, &upload)?;
            self.stages.keep(id, &self.states)?;
            let loss = self.updates.losses.as_ref().map_or(0.0, |losses| losses[client]);
            row.trained = Some(TrainedRow { train_loss: loss, loss_before: loss, update_norm2: squared_norm(&update) });
            kept.put(slot, &update)?;
        }
        if let (true, Some(root)) = (wants_root, &self.updates.root) {
            let mut root = root.clone();
            self.stages.normalize(&mut root, round)?;
            kept.put(accepted.len(), &root)?;
        }
        Ok((clients, upload_bytes))
    }

    fn mean_loss(&self, accepted: &[usize]) -> f64 {
        let Some(losses) = self.updates.losses.as_ref().filter(|_| !accepted.is_empty()) else { return 0.0 };
        let weight = |&client: &usize| self.updates.num_examples[client] as f64;
        let sum: f64 = accepted.iter().map(|client| losses[*client] * weight(client)).sum();
        let examples: f64 = accepted.iter().map(weight).sum();
        if examples > 0.0 { sum / examples } else { 0.0 }
    }
}
