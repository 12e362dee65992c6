//! The obvious engine: one agent, one client after another. It is the oracle of the others.

use super::{AgentSpec, Engine, Evaluation, Received, RoundJob, agent::Agent, gather, longest_first};
use crate::train::Score;
use anyhow::Result;

pub struct SequentialEngine(Agent);

impl SequentialEngine {
    pub fn new(spec: &AgentSpec) -> Result<Self> {
        Agent::new(spec).map(SequentialEngine)
    }
}

impl Engine for SequentialEngine {
    fn round(&mut self, job: &RoundJob<'_>, progress: &mut dyn FnMut(usize)) -> Result<Received> {
        self.0.begin_round(job)?;
        let mut reports = Vec::with_capacity(job.tasks.len());
        for task in longest_first(job.tasks) {
            reports.push(self.0.client(job, task)?);
            progress(reports.len());
        }
        Ok(gather(reports, [&mut self.0]))
    }

    fn evaluate(&mut self, weights: &[f32], lists: &[Evaluation<'_>]) -> Result<Vec<Score>> {
        self.0.begin_evaluation();
        lists.iter().map(|evaluation| self.0.evaluate(weights, evaluation)).collect()
    }
}
