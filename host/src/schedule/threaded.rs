//! One agent per thread over a shared queue.

use super::{AgentSpec, Engine, Evaluation, Received, RoundJob, agent::Agent, gather, longest_first};
use crate::{executor::Executor, train::Score};
use anyhow::Result;
use std::sync::Arc;

pub struct ThreadedEngine {
    executor: Arc<Executor>,
    agents: Vec<Agent>,
}

impl ThreadedEngine {
    /// Builds an agent for each thread, however few clients a cohort has.
    pub fn new(spec: &AgentSpec, executor: Arc<Executor>) -> Result<Self> {
        let agents = (0..executor.threads()).map(|_| Agent::new(spec)).collect::<Result<_>>()?;
        Ok(ThreadedEngine { executor, agents })
    }
}

impl Engine for ThreadedEngine {
    fn round(&mut self, job: &RoundJob<'_>, progress: &mut dyn FnMut(usize)) -> Result<Received> {
        for agent in &mut self.agents {
            agent.begin_round(job)?;
        }
        let queue = longest_first(job.tasks);
        let reports = self.executor.each(&mut self.agents, &queue, progress, |agent, task| agent.client(job, task))?;
        Ok(gather(reports, &mut self.agents))
    }

    fn evaluate(&mut self, weights: &[f32], lists: &[Evaluation<'_>]) -> Result<Vec<Score>> {
        self.agents.iter_mut().for_each(Agent::begin_evaluation);
        self.executor.each(&mut self.agents, lists, &mut |_| {}, |agent, list| agent.evaluate(weights, list))
    }
}
