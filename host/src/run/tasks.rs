//! From a cohort to the tasks that go out to the agents, and back to the table that rules weigh by.
//!
//! Where in the flow: before and after the engine's part of a round. What it never does: decide who trains or what counts.

use crate::{
    client::{self, ClientId, WorstCase, stragglers::Late},
    config::{self, BatchSize, Config},
    error::{Fault, Kind},
    partition::Partition,
    plugin::Role,
    random::{Purpose, Stream},
    schedule::{ClientReport, ClientTask, PersonalTask},
    strategy::{
        Roster,
        client_slots::ClientPlugins,
        facts::{ClientRow, TrainedRow},
        hostile::Hostile,
        local::{self, Length, LocalPlan, PersonalPhase, Trainee},
        vectors::VectorWeights,
    },
    train,
};
use anyhow::Result;

/// What the plans of a round depend on, besides plugins and clients.
pub(super) struct Circumstances<'a> {
    pub config: &'a Config,
    pub partition: &'a Partition,
    pub num_classes: usize,
    pub hostile: Option<&'a Hostile>,
    pub round: u64,
}

/// Tasks of the cohort, in its order, not weighed yet. Clients that are late do less in the uploaded phase.
///
/// Errors: those of the plugins that plan; `Kind::Config` for a late client that cannot do less than its plan says.
pub(super) fn plan<'a>(
    circumstances: &Circumstances<'a>,
    roster: &mut Roster,
    cohort: &[ClientId],
    late: &Late,
) -> Result<Vec<ClientTask<'a>>> {
    let &Circumstances { config, partition, num_classes, hostile, round } = circumstances;
    let task = |(slot, &client): (usize, &ClientId)| {
        let rows = partition.train.client(client.index());
        let trainee = Trainee { round, client, num_examples: rows.len(), num_classes };
        let LocalPlan { upload, own_tensors, personal, relabel } = local::plan(roster, hostile, trainee)?;
        let length = done(late, client, upload.length.unwrap_or_else(|| configured(&config.train)))?;
        let (batch_size, steps) = steps(&config.train, length, rows.len());
        let personal = personal.into_iter().map(|PersonalPhase { slot, stream, phase }| {
            let length = phase.length.unwrap_or_else(|| configured(&config.train));
            let (_, steps) = self::steps(&config.train, length, rows.len());
            PersonalTask { slot, stream, steps, terms: phase.terms }
        });
        let (weight, vector_weights) = (0.0, Vec::new());
        let (terms, personal) = (upload.terms, personal.collect());
        Ok(ClientTask {
            slot,
            client,
            rows,
            steps,
            batch_size,
            terms,
            relabel,
            own_tensors,
            personal,
            weight,
            vector_weights,
        })
    };
    cohort.iter().enumerate().map(task).collect()
}

/// Tells every task what its client's update and vectors count.
pub(super) fn weighted<'a>(
    mut tasks: Vec<ClientTask<'a>>,
    weights: &[f64],
    vectors: &[VectorWeights],
) -> Vec<ClientTask<'a>> {
    for (index, (task, &weight)) in tasks.iter_mut().zip(weights).enumerate() {
        task.weight = weight;
        task.vector_weights = vectors.iter().map(|vector| vector.weights[index]).collect();
    }
    tasks
}

/// What is known of a client before it trains.
pub(super) fn planned(task: &ClientTask<'_>, learning_rate: f64) -> ClientRow {
    let scale: f64 = task.terms.iter().map(train::Term::learning_rate_factor).product();
    let lr_sum = learning_rate * scale * task.steps as f64;
    ClientRow { num_examples: task.rows.len(), steps: task.steps, lr_sum, trained: None }
}

/// The same rows with what is known after training.
pub(super) fn trained(mut clients: Vec<ClientRow>, reports: &[ClientReport]) -> Vec<ClientRow> {
    for (client, report) in clients.iter_mut().zip(reports) {
        client.trained = Some(TrainedRow {
            train_loss: report.local.loss,
            loss_before: report.loss_before,
            update_norm2: report.update_norm2,
        });
    }
    clients
}

/// The rows that the server draws for itself, ascending. Errors: it wants more than there are.
pub(super) fn root_rows(config: &Config, train_rows: usize) -> Result<Vec<u32>> {
    let count = config.federation.root_rows;
    if count > train_rows {
        return Err(Fault::new(
            Kind::Config,
            format!("config `federation.root-rows = {count}`: the training set has {train_rows} rows; use fewer"),
        ));
    }
    let chosen = Stream::new(config.seed, Purpose::RootRows, 0, 0).choose(train_rows as u64, count);
    Ok(chosen.into_iter().map(|row| row as u32).collect())
}

/// The server's own client trains plainly, behind the cohort.
pub(super) fn root_task<'a>(config: &Config, rows: &'a [u32], slot: usize) -> ClientTask<'a> {
    let (batch_size, steps) = steps(&config.train, configured(&config.train), rows.len());
    ClientTask {
        slot,
        client: client::SERVER,
        rows,
        steps,
        batch_size,
        terms: Vec::new(),
        relabel: None,
        own_tensors: None,
        personal: Vec::new(),
        weight: 0.0,
        vector_weights: Vec::new(),
    }
}

/// How long a phase is of which no plugin says it.
fn configured(config: &config::Train) -> Length {
    match config.local_steps {
        Some(steps) => Length::Steps(steps as u64),
        None => Length::Epochs(config.local_epochs as u64),
    }
}

/// What the client gets done of its uploaded phase. Errors: it is late, and there is nothing to leave out.
fn done(late: &Late, client: ClientId, whole: Length) -> Result<Length> {
    let done = match whole {
        Length::Epochs(epochs) => late.done(client, epochs).map(Length::Epochs),
        Length::Steps(steps) => late.done(client, steps).map(Length::Steps),
    };
    done.ok_or_else(|| {
        Fault::new(
            Kind::Config,
            format!(
                "config `stragglers`: client {client} is late and its plan is {whole}, of which nothing can be left out; let \
                 the plugin that plans train longer, or set `stragglers.work` to \"dropped\""
            ),
        )
    })
}

/// Batch size and number of steps of a phase for a client with `rows` rows.
fn steps(config: &config::Train, length: Length, rows: usize) -> (usize, u64) {
    let batch_size = batch_size(config, rows);
    let steps = match length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs.saturating_mul(rows.div_ceil(batch_size) as u64),
    };
    (batch_size, steps)
}

/// Rows of a batch of a client with `rows` rows.
pub(super) fn batch_size(config: &config::Train, rows: usize) -> usize {
    match config.batch_size {
        BatchSize::Rows(size) => size.min(rows),
        BatchSize::Full => rows,
    }
}

/// The most that is kept of clients: slots and, with error feedback, residuals of everything that is compressed.
pub(super) fn client_state(
    config: &Config,
    roster: &Roster,
    client_plugins: &ClientPlugins,
    num_clients: usize,
    len: usize,
) -> WorstCase {
    let declared = roster.members.iter().flat_map(|member| &member.plugin.manifest().vectors);
    let compressed = 1 + declared.filter(|vector| vector.compressible).count();
    let feedback = roster.members.iter().any(|member| member.plugin.error_feedback());
    let residuals = if feedback { compressed } else { 0 };
    let compressors = roster.members.iter().filter(|member| member.has(Role::Compress));
    // A slot of pieces is rarely longer than the model.
    let slots_of_compressors = compressors.flat_map(|member| &member.plugin.manifest().state).count();
    let cohort = client::largest_cohort(&config.federation, num_clients);
    let clients = cohort.saturating_mul(config.federation.num_server_rounds).min(num_clients);
    let slots: usize = client_plugins.slots().map(|slot| slot.num_values(len)).sum();
    let values = len.saturating_mul(slots_of_compressors + residuals).saturating_add(slots);
    WorstCase { values, clients }
}
