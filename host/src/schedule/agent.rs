//! One agent: a built model that clients pass through.

use super::{AgentSpec, ClientReport, ClientTask, RoundJob, at_client};
use crate::{
    client,
    error::{Fault, Kind},
    stages::{Stages, Upload, squared_norm},
    strategy::{aggregate::Collect, grid::GridSum},
    train::{BatchOrder, Layout, LocalTask, Part, Score, Trainer},
};
use anyhow::Result;

pub struct Agent {
    spec: AgentSpec,
    layout: Layout,
    trainer: Box<dyn Trainer>,
    stages: Stages,
    /// Local weights, then the update: P values, kept from client to client.
    update: Vec<f32>,
    /// This round's partial sum, once there is one.
    sum: Option<GridSum>,
}

impl Agent {
    pub fn new(spec: &AgentSpec) -> Result<Self> {
        let layout = spec.model.layout().clone();
        Ok(Agent {
            trainer: spec.model.trainer(spec.data.clone())?,
            stages: Stages::new(&spec.stages, spec.run_seed, &layout)?,
            update: vec![0.0; layout.len()],
            sum: None,
            spec: spec.clone(),
            layout,
        })
    }

    /// Tells the agent's stages what their plugins broadcast.
    pub fn begin_round(&mut self, job: &RoundJob<'_>) -> Result<()> {
        self.stages.begin_round(job.broadcasts)
    }

    /// Trains one client and hands its update to the round's sum or rows.
    pub fn client(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<ClientReport> {
        self.try_client(job, task).map_err(|error| at_client(error, job.round, task.client))
    }

    fn try_client(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<ClientReport> {
        let loss_before = if self.spec.loss_before { self.loss_before(job, task)? } else { 0.0 };
        let local = self.trainer.train(&self.local_task(job, task), &mut self.update)?;
        for (local, received) in self.update.iter_mut().zip(job.weights) {
            *local -= received;
        }
        // Where rows are kept, values may have any size; a sum rounds to a grid that is made for this bound.
        let bound = match job.collect {
            Collect::Sum(_) => self.spec.update_bound as f32,
            Collect::Rows(_) | Collect::Keep(_) => f32::MAX,
        };
        self.check("local training", bound)?;
        let states = &*self.spec.clients;
        let upload = Upload { round: job.round, client: task.client, received: job.weights, states };
        let upload_bytes = match task.client {
            client::SERVER => self.stages.normalize(&mut self.update, job.round).map(|()| 0)?,
            _ => self.stages.transfer(&mut self.update, &upload)?,
        };
        self.check("the stages", bound)?;
        if task.client != client::SERVER {
            self.stages.keep(task.client, &self.spec.clients);
        }
        match job.collect {
            Collect::Sum(grid) => {
                self.sum.get_or_insert_with(|| GridSum::new(grid, job.weights.len())).fold(task.weight, &self.update)
            }
            Collect::Rows(rows) => rows.put(task.slot, &self.update),
            Collect::Keep(kept) => kept.put(task.slot, &self.update)?,
        }
        let update_norm2 = if self.spec.update_norm2 { squared_norm(&self.update) } else { 0.0 };
        if self.spec.train.persist_iterator {
            self.spec.clients.add_steps(task.client, local.steps);
        }
        Ok(ClientReport {
            slot: task.slot,
            client: task.client,
            num_examples: task.rows.len(),
            local,
            upload_bytes,
            loss_before,
            update_norm2,
        })
    }

    fn loss_before(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) -> Result<f64> {
        let score = self.trainer.evaluate(job.weights, Part::Train, task.rows)?;
        Ok(score.loss_sum / score.rows as f64)
    }

    fn local_task<'a>(&self, job: &RoundJob<'a>, task: &'a ClientTask<'a>) -> LocalTask<'a> {
        let train = &self.spec.train;
        LocalTask {
            start: job.weights,
            rows: task.rows,
            steps: task.steps,
            batch_size: task.batch_size,
            learning_rate: train.learning_rate,
            momentum: train.momentum,
            weight_decay: train.weight_decay,
            terms: &task.terms,
            order: BatchOrder {
                seed: self.spec.run_seed,
                round: job.round,
                client: task.client.0.into(),
                steps_before: train.persist_iterator.then(|| self.spec.clients.steps(task.client)),
                shuffle: train.shuffle,
            },
        }
    }

    /// A client that diverged stops the run: dropping it silently would bias the result.
    fn check(&self, after: &str, bound: f32) -> Result<()> {
        let Some(index) = self.update.iter().position(|x| !x.is_finite() || x.abs() > bound) else {
            return Ok(());
        };
        let tensor = self.layout.tensors.iter().rfind(|t| t.offset <= index).map_or("", |t| t.name.as_str());
        let value = self.update[index];
        let (wrong, remedy) = if value.is_finite() {
            (
                format!("{value}, beyond `federation.update-bound = {bound}`"),
                "lower `train.learning-rate`, or raise the bound",
            )
        } else {
            (value.to_string(), "lower `train.learning-rate`")
        };
        Err(Fault::new(
            Kind::Diverged,
            format!("the update diverged — after {after}, an element of `{tensor}` is {wrong}; {remedy}"),
        ))
    }

    pub fn take_sum(&mut self) -> Option<GridSum> {
        self.sum.take()
    }

    pub fn evaluate(&mut self, weights: &[f32], part: Part, rows: &[u32]) -> Result<Score> {
        self.trainer.evaluate(weights, part, rows)
    }
}
