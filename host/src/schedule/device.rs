//! Stacks of clients on an accelerator, and agents on the CPU for what follows training.
//!
//! ```text
//! cohort, longest first ──▶ stacks of G clients ──▶ device: the uploaded phase of all G ──▶ agents: the rest, one client each
//! ```
//! Clients of similar length stand beside each other in the queue, so that few in a stack wait for the others. G is what
//! fits `host.device-memory`. Personal phases and everything that plugins do run on the agents, as without a device; so
//! does the evaluation of personal models. What it never does: train an uploaded phase on the CPU.

use super::{
    AgentSpec, ClientReport, ClientTask, Engine, Evaluation, Received, RoundJob,
    agent::{Agent, Trained, local_task, open_slots},
    at_client,
    client_side::{resolve, start},
    gather, longest_first,
};
use crate::{
    executor::Executor,
    train::{LocalReport, Part, Score, StackTrainer},
};
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError};

pub struct DeviceEngine {
    spec: AgentSpec,
    executor: Arc<Executor>,
    agents: Vec<Agent>,
    trainer: Box<dyn StackTrainer>,
}

impl DeviceEngine {
    /// Builds an agent for each thread beside the device's one trainer.
    pub fn new(spec: &AgentSpec, executor: Arc<Executor>, trainer: Box<dyn StackTrainer>) -> Result<Self> {
        let agents = (0..executor.threads()).map(|_| Agent::new(spec)).collect::<Result<_>>()?;
        Ok(DeviceEngine { spec: spec.clone(), executor, agents, trainer })
    }

    /// Trains a stack and lets the agents finish its clients.
    fn stack(
        &mut self,
        job: &RoundJob<'_>,
        stack: &[&ClientTask<'_>],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<ClientReport>> {
        let trained = self.train(job, stack)?;
        // Each place is emptied by the agent that takes its client.
        let queue: Vec<_> =
            stack.iter().zip(trained).map(|(task, trained)| (*task, Mutex::new(Some(trained)))).collect();
        self.executor.each(&mut self.agents, &queue, progress, |agent, (task, trained)| {
            let trained = trained.lock().unwrap_or_else(PoisonError::into_inner).take();
            agent.trained(job, task, trained.expect("each client of the queue is taken once"))
        })
    }

    fn train(&mut self, job: &RoundJob<'_>, stack: &[&ClientTask<'_>]) -> Result<Vec<Trained>> {
        let (spec, trainer) = (&self.spec, &mut self.trainer);
        let open = |task: &&ClientTask<'_>| {
            open_slots(spec, job, task).map_err(|error| at_client(error, job.round, task.client))
        };
        let slots: Vec<_> = stack.iter().map(open).collect::<Result<_>>()?;
        let terms: Vec<_> = stack.iter().zip(&slots).map(|(task, slots)| resolve(&task.terms, slots, job)).collect();
        let starts: Vec<_> = stack.iter().zip(&slots).map(|(task, slots)| start(spec, job, task, slots)).collect();
        let each = stack.iter().zip(&starts).zip(&terms);
        let tasks: Vec<_> = each.map(|((task, start), terms)| local_task(spec, job, task, start, terms)).collect();
        let common = starts.first().map_or(job.weights, |start| &**start);
        let mut weights = vec![vec![0.0; job.weights.len()]; stack.len()];
        let reports: Vec<LocalReport> = trainer.train(common, &tasks, &mut weights)?;
        let trained = slots.into_iter().zip(weights).zip(reports);
        Ok(trained.map(|((slots, weights), report)| Trained { slots, weights, report }).collect())
    }
}

impl Engine for DeviceEngine {
    fn round(&mut self, job: &RoundJob<'_>, progress: &mut dyn FnMut(usize)) -> Result<Received> {
        for agent in &mut self.agents {
            agent.begin_round(job)?;
        }
        let queue = longest_first(job.tasks);
        let batch_size = queue.iter().map(|task| task.batch_size).max().unwrap_or(1);
        let terms = queue.iter().any(|task| !task.terms.is_empty());
        let mut reports = Vec::with_capacity(queue.len());
        // The clients of a stack start from the same weights.
        let apart = queue.iter().any(|task| task.own_tensors.is_some());
        let capacity = if apart { 1 } else { self.trainer.capacity(batch_size, terms)? };
        for stack in queue.chunks(capacity) {
            let before = reports.len();
            reports.extend(self.stack(job, stack, &mut |done| progress(before + done))?);
        }
        Ok(Received { warnings: self.trainer.warnings(), ..gather(reports, &mut self.agents) })
    }

    fn evaluate(&mut self, weights: &[f32], lists: &[Evaluation<'_>]) -> Result<Vec<Score>> {
        let common: Vec<(Part, &[u32])> =
            lists.iter().filter(|list| list.personal.is_none()).map(|list| (list.part, list.rows)).collect();
        let personal: Vec<Evaluation<'_>> = lists.iter().filter(|list| list.personal.is_some()).copied().collect();
        let mut common = self.trainer.evaluate(weights, &common)?.into_iter();
        let work = |agent: &mut Agent, list: &Evaluation<'_>| agent.evaluate(weights, list);
        let mut personal = self.executor.each(&mut self.agents, &personal, &mut |_| {}, work)?.into_iter();
        let score = |list: &Evaluation<'_>| if list.personal.is_none() { common.next() } else { personal.next() };
        Ok(lists.iter().filter_map(score).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{ClientId, ClientStates},
        config::{self, ModelName},
        schedule::SequentialEngine,
        stages::StageSpecs,
        strategy::{aggregate::Collect, client_slots::ClientPlugins, grid::Grid},
        train::{Accelerator, Term, model_from_config},
    };

    #[test]
    fn stacks_of_any_size_bring_back_what_one_client_after_another_does() {
        let data = Arc::new(crate::data::load(&config::Data::default()).unwrap());
        let model = config::Model { name: ModelName::Mlp, hidden: Some(vec![600]), init: None };
        let model = model_from_config(&model, &data).unwrap();
        let spec = AgentSpec {
            model: model.clone(),
            data: data.clone(),
            stages: StageSpecs::default(),
            train: config::Train::default(),
            run_seed: 1,
            update_bound: 64.0,
            clients: Arc::new(ClientStates::default()),
            client_plugins: ClientPlugins::default(),
            loss_before: true,
            update_norm2: true,
        };
        let rows: Vec<Vec<u32>> = (1..=40).map(|n| (0..n * 2).map(|i| i * 31 % 1000).collect()).collect();
        let task = |(slot, rows)| ClientTask {
            slot,
            client: ClientId(slot as u32),
            rows,
            steps: 3 + slot as u64 % 5,
            batch_size: 10.min(rows.len()),
            terms: vec![Term::Prox { mu: 0.1 }],
            relabel: None,
            own_tensors: None,
            personal: Vec::new(),
            weight: 1.0,
            vector_weights: Vec::new(),
        };
        let tasks: Vec<ClientTask<'_>> = rows.iter().map(Vec::as_slice).enumerate().map(task).collect();
        let job = RoundJob {
            round: 1,
            weights: &model.initial_weights(1).unwrap(),
            tasks: &tasks,
            collect: Collect::Sum(Grid::new(40.0, 64.0).unwrap()),
            broadcasts: &[],
            broadcast_slots: &[],
            vector_grids: &[],
        };
        for accelerator in Accelerator::all_for_tests(64) {
            let trainer = model.stack_trainer(data.clone(), &accelerator).unwrap();
            let stacks = tasks.len().div_ceil(trainer.capacity(10, true).unwrap());
            assert!(stacks > 1, "the test needs several stacks: {stacks}");
            let executor = Arc::new(Executor::new(2).unwrap());
            let mut device = DeviceEngine::new(&spec, executor, trainer).unwrap();
            let mut done = 0;
            let ours = device.round(&job, &mut |count| done = count).unwrap();
            assert_eq!(done, 40);
            let mut sequential = SequentialEngine::new(&spec).unwrap();
            let theirs = sequential.round(&job, &mut |_| {}).unwrap();
            let [our_sum, their_sum] = [&ours, &theirs].map(|received| received.sum.as_ref().unwrap().mean(40.0));
            assert!(our_sum.iter().zip(&their_sum).all(|(a, b)| (a - b).abs() < 1e-6));
            for (a, b) in ours.reports.iter().zip(&theirs.reports) {
                assert_eq!((a.slot, a.num_examples, a.loss_before), (b.slot, b.num_examples, b.loss_before));
                assert!((a.local.loss - b.local.loss).abs() < 1e-5 && (a.update_norm2 - b.update_norm2).abs() < 1e-4);
            }
            let rows: Vec<u32> = (0..700).collect();
            let lists = [(Part::Test, &rows[..500]), (Part::Train, &rows[..]), (Part::Test, &rows[500..])]
                .map(|(part, rows)| Evaluation { part, rows, personal: None });
            let [ours, theirs] = [device.evaluate(job.weights, &lists), sequential.evaluate(job.weights, &lists)];
            for (a, b) in ours.unwrap().iter().zip(theirs.unwrap()) {
                assert_eq!(a.rows, b.rows);
                assert!((a.loss_sum - b.loss_sum).abs() < 1e-5 * b.loss_sum && a.correct.abs_diff(b.correct) <= 1);
            }
        }
    }
}
