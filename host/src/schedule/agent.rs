//! One agent: a built model that clients pass through.

use super::{
    AgentSpec, ClientReport, ClientTask, Evaluation, RoundJob, at_client,
    client_side::{ClientSide, keep_own_tensors, own_tensors, resolve, start},
    divergence::{Divergence, STAGES, TRAINING},
};
use crate::{
    client,
    stages::{Stages, Upload, squared_norm},
    strategy::{aggregate::Collect, client_slots::OpenSlots, grid::GridSum},
    train::{BatchOrder, Layout, LocalReport, LocalTask, Part, Score, Term, Trainer},
};
use anyhow::Result;

pub struct Agent {
    spec: AgentSpec,
    layout: Layout,
    trainer: Box<dyn Trainer>,
    stages: Stages,
    side: ClientSide,
    /// Local weights, then the update: P values, kept from client to client.
    update: Vec<f32>,
    /// This round's partial sum, once there is one.
    sum: Option<GridSum>,
    /// Whether the trainer holds the weights that this evaluation measures.
    measures_common: bool,
}

impl Agent {
    pub fn new(spec: &AgentSpec) -> Result<Self> {
        let layout = spec.model.layout().clone();
        Ok(Agent {
            trainer: spec.model.trainer(spec.data.clone())?,
            stages: Stages::new(&spec.stages, spec.run_seed, &layout)?,
            side: ClientSide::new(spec, &layout)?,
            update: vec![0.0; layout.len()],
            sum: None,
            measures_common: false,
            spec: spec.clone(),
            layout,
        })
    }

    /// Tells the agent's instances what their plugins broadcast.
    pub fn begin_round(&mut self, job: &RoundJob<'_>) -> Result<()> {
        self.stages.begin_round(job.broadcasts)?;
        self.side.begin_round(job)
    }

    /// Trains one client and hands its update to the round's sum or rows.
    pub fn client(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<ClientReport> {
        let done = self.train(job, task).and_then(|(slots, local)| self.follow(job, task, slots, local));
        done.map_err(|error| at_client(error, job.round, task.client))
    }

    /// Does for a client that was trained elsewhere what follows training.
    pub fn trained(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>, trained: Trained) -> Result<ClientReport> {
        let Trained { slots, weights, report } = trained;
        self.update = weights;
        self.follow(job, task, slots, report).map_err(|error| at_client(error, job.round, task.client))
    }

    /// The uploaded phase: local weights into the buffer.
    fn train(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<(OpenSlots, LocalReport)> {
        let slots = open_slots(&self.spec, job, task)?;
        let (start, terms) = (start(&self.spec, job, task, &slots), resolve(&task.terms, &slots, job));
        let local = self.trainer.train(&local_task(&self.spec, job, task, &start, &terms), &mut self.update)?;
        Ok((slots, local))
    }

    /// What follows the uploaded phase, from the local weights in the buffer to the fold.
    fn follow(
        &mut self,
        job: &RoundJob<'_>,
        task: &ClientTask<'_>,
        slots: OpenSlots,
        local: LocalReport,
    ) -> Result<ClientReport> {
        match task.client {
            client::SERVER => self.own_client(job, task, local),
            _ => self.cohort_client(job, task, slots, local),
        }
    }

    fn cohort_client(
        &mut self,
        job: &RoundJob<'_>,
        task: &ClientTask<'_>,
        mut slots: OpenSlots,
        local: LocalReport,
    ) -> Result<ClientReport> {
        let loss_before = if self.spec.loss_before { self.loss_before(job, task, &slots)? } else { 0.0 };
        keep_own_tensors(&self.spec, job, task, &mut self.update, &mut slots)?;
        self.side.trained(&self.update);
        self.subtract(job.weights);
        // Where rows are kept, values may have any size; a sum rounds to a grid that is made for this bound.
        let bound = match job.collect {
            Collect::Sum(_) => self.spec.update_bound as f32,
            Collect::Rows(_) | Collect::Keep(_) => f32::MAX,
        };
        self.check(TRAINING, bound, job.weights)?;
        let base = local_task(&self.spec, job, task, job.weights, &[]);
        self.side.train_personal(self.trainer.as_mut(), &self.spec, &base, job, task, &mut slots)?;
        // Vectors are always summed.
        let vector_bound = self.spec.update_bound as f32;
        self.side.end(job, task, local, vector_bound, &mut slots)?;
        let states = &*self.spec.clients;
        let upload = Upload { round: job.round, client: task.client, received: job.weights, states };
        let upload_bytes = self.stages.transfer(&mut self.update, &upload)?;
        if let Some((_, tensors)) = own_tensors(&self.spec, task) {
            // Zeros, whatever the stages made of them.
            tensors.clear(&mut self.update);
        }
        // Without stages nothing has changed since the check after training.
        if !self.stages.is_empty() {
            self.check(STAGES, bound, job.weights)?;
        }
        let vector_bytes = self.side.transfer(&mut self.stages, &upload, vector_bound)?;
        match job.collect {
            Collect::Sum(grid) => {
                self.sum.get_or_insert_with(|| GridSum::new(grid, job.weights.len())).fold(task.weight, &self.update)
            }
            Collect::Rows(rows) => rows.put(task.slot, &self.update),
            Collect::Keep(kept) => kept.put(task.slot, &self.update)?,
        }
        let update_norm2 = if self.spec.update_norm2 { squared_norm(&self.update) } else { 0.0 };
        self.side.fold(job, task);
        slots.commit(task.client, &self.spec.clients)?;
        self.stages.keep(task.client, &self.spec.clients)?;
        if self.spec.train.persist_iterator {
            self.spec.clients.add_steps(task.client, local.steps);
        }
        Ok(ClientReport {
            slot: task.slot,
            client: task.client,
            num_examples: task.rows.len(),
            local,
            upload_bytes: upload_bytes + vector_bytes,
            loss_before,
            update_norm2,
        })
    }

    /// The server's own client trains plainly, and its update passes the normalizers alone, since it does not travel.
    fn own_client(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>, local: LocalReport) -> Result<ClientReport> {
        self.subtract(job.weights);
        self.check(TRAINING, f32::MAX, job.weights)?;
        self.stages.normalize(&mut self.update, job.round)?;
        if let Collect::Keep(kept) = job.collect {
            kept.put(task.slot, &self.update)?;
        }
        if self.spec.train.persist_iterator {
            self.spec.clients.add_steps(task.client, local.steps);
        }
        let (slot, client, num_examples) = (task.slot, task.client, task.rows.len());
        Ok(ClientReport { slot, client, num_examples, local, upload_bytes: 0, loss_before: 0.0, update_norm2: 0.0 })
    }

    /// Turns local weights into an update.
    fn subtract(&mut self, received: &[f32]) {
        for (local, received) in self.update.iter_mut().zip(received) {
            *local -= received;
        }
    }

    /// Of the weights that training started from.
    fn loss_before(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>, slots: &OpenSlots) -> Result<f64> {
        let start = start(&self.spec, job, task, slots);
        self.trainer.receive(&start)?;
        let score = self.trainer.score_as(Part::Train, task.rows, task.relabel.as_deref())?;
        Ok(score.loss_sum / score.rows as f64)
    }

    /// A client that diverged stops the run: dropping it silently would bias the result.
    fn check(&self, after: &str, bound: f32, received: &[f32]) -> Result<()> {
        // A comparison with what is not a number is false. Blocks without an early end are compared in vectors.
        let fits = |block: &[f32]| block.iter().fold(true, |fits, x| fits & (x.abs() <= bound));
        if self.update.chunks(64).all(fits) {
            return Ok(());
        }
        let Some(index) = self.update.iter().position(|x| !x.is_finite() || x.abs() > bound) else {
            return Ok(());
        };
        let tensor = self.layout.tensors.iter().rfind(|t| t.offset <= index).map_or("", |t| t.name.as_str());
        let compress = self.spec.stages.compress.as_ref().filter(|compress| compress.plugin.error_feedback());
        let divergence = Divergence {
            after,
            tensor,
            value: self.update[index],
            update_bound: self.spec.update_bound as f32,
            received: received.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())),
            feedback: compress.map(|compress| compress.plugin.manifest().name.as_str()),
        };
        Err(divergence.fault())
    }

    pub fn take_sum(&mut self) -> Option<GridSum> {
        self.sum.take()
    }

    /// Sums of the own vectors of the clients that passed through, a place for each vector.
    pub fn take_vector_sums(&mut self) -> Vec<Option<GridSum>> {
        self.side.take_sums()
    }

    /// Forgets which weights it measured last; others may follow.
    pub fn begin_evaluation(&mut self) {
        self.measures_common = false;
    }

    /// Shapes: the same `weights` until the next [`begin_evaluation`](Self::begin_evaluation), so that the trainer takes
    /// them in once.
    pub fn evaluate(&mut self, weights: &[f32], of: &Evaluation<'_>) -> Result<Score> {
        if let (Some(client), Some(slot)) = (of.personal, &self.spec.client_plugins.personal) {
            let own = slot.personal(client, weights, &self.spec.clients)?;
            self.measures_common = false;
            return self.trainer.evaluate(&own, of.part, of.rows);
        }
        if !self.measures_common {
            self.trainer.receive(weights)?;
            self.measures_common = true;
        }
        self.trainer.score(of.part, of.rows)
    }
}

/// What a client's uploaded phase left, wherever it ran.
pub struct Trained {
    /// As they were opened for its terms.
    pub slots: OpenSlots,
    /// P values.
    pub weights: Vec<f32>,
    pub report: LocalReport,
}

/// The slots that a client's terms may read. The server's own client has none.
pub fn open_slots(spec: &AgentSpec, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<OpenSlots> {
    match task.client {
        client::SERVER => Ok(OpenSlots::default()),
        client => OpenSlots::open(&spec.client_plugins, client, job.weights, &spec.clients),
    }
}

/// A client's uploaded phase. `start`: as [`start`] says.
pub fn local_task<'a>(
    spec: &AgentSpec,
    job: &RoundJob<'_>,
    task: &'a ClientTask<'a>,
    start: &'a [f32],
    terms: &'a [Term<&'a [f32]>],
) -> LocalTask<'a> {
    let train = &spec.train;
    LocalTask {
        start,
        rows: task.rows,
        steps: task.steps,
        batch_size: task.batch_size,
        learning_rate: train.learning_rate,
        momentum: train.momentum,
        weight_decay: train.weight_decay,
        terms,
        relabel: task.relabel.as_deref(),
        order: BatchOrder {
            seed: spec.run_seed,
            round: job.round,
            client: task.client.0.into(),
            phase: 0,
            steps_before: train.persist_iterator.then(|| spec.clients.steps(task.client)),
            shuffle: train.shuffle,
        },
    }
}
