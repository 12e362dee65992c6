//! Aggregation of updates that are kept: mixes, then the sum, the decision or the reduction over what they made.
//!
//! What it never does: know whether rows lie in memory or in a file.

use super::{Aggregated, Aggregator, check_mean};
use crate::{
    executor::Executor,
    plugin::Reduce,
    stages::squared_norm,
    strategy::{
        Roster,
        combine::Combinations,
        decide::{Deciding, Extras},
        facts::{ClientRow, RoundFacts},
        kept::Kept,
        row_set::RowSet,
        weigh::denominator,
    },
};
use anyhow::Result;

/// The rows that the rule sees.
struct Seen<'a> {
    rows: &'a Kept,
    /// Numbers of examples, one per row; 0 for mixed rows.
    examples: &'a [f64],
    /// Whether they are no longer the clients' own.
    mixed: bool,
}

impl Aggregator {
    /// A store for the cohort and, behind it, the server's own client.
    pub(super) fn keep_for(&mut self, cohort: usize) -> Result<&Kept> {
        let rows = cohort + usize::from(self.wants_root());
        let kept = match self.kept.take() {
            Some(kept) if kept.rows() >= rows => kept,
            _ => Kept::new(&self.settings.storage, rows, self.layout.len())?,
        };
        Ok(self.kept.insert(kept))
    }

    /// What was measured of an update is measured again where it was replaced.
    pub(super) fn measure_again(&self, clients: &mut [ClientRow], replaced: &[usize]) -> Result<()> {
        let Some(kept) = self.kept.as_ref().filter(|_| self.settings.update_norm2) else { return Ok(()) };
        for &row in replaced {
            if let Some(trained) = &mut clients[row].trained {
                trained.update_norm2 = squared_norm(&kept.row(row)?);
            }
        }
        Ok(())
    }

    /// The aggregate of the kept rows of `clients`, one each, in their order.
    pub(super) fn reduce_kept(
        &mut self,
        roster: &mut Roster,
        executor: &Executor,
        facts: &RoundFacts,
        clients: Vec<ClientRow>,
        weights: Vec<f64>,
    ) -> Result<Aggregated> {
        let aggregated = Aggregated::new(vec![0.0; self.layout.len()], clients, weights);
        // Both are taken out, since the mixers and the rule change while they read them.
        let Some(kept) = self.kept.take() else { return Ok(aggregated) };
        let previous = self.previous.take();
        let root = self.wants_root().then(|| kept.row(aggregated.clients.len())).transpose()?;
        let extras = Extras { root: root.as_deref(), previous: previous.as_deref() };
        let storage = self.settings.storage.clone();
        let deciding = Deciding { executor, storage: &storage, extras };
        let aggregated = self.mix_and_reduce(roster, facts, deciding, &kept, aggregated);
        (self.kept, self.previous) = (Some(kept), previous);
        aggregated
    }

    fn mix_and_reduce(
        &mut self,
        roster: &mut Roster,
        facts: &RoundFacts,
        deciding: Deciding<'_>,
        kept: &Kept,
        mut aggregated: Aggregated,
    ) -> Result<Aggregated> {
        let mut examples = self.examples(&aggregated.clients);
        let mut mixed: Option<Kept> = None;
        for (mixer, plan) in self.mixers.iter_mut().zip(&self.plans) {
            let member = &mut roster.members[mixer.index];
            member.key_control(facts.round);
            let made = mixer.decide(member, deciding, plan, mixed.as_ref().unwrap_or(kept), &examples)?;
            examples = vec![0.0; made.rows()];
            mixed = Some(made);
        }
        let seen = Seen { rows: mixed.as_ref().unwrap_or(kept), examples: &examples, mixed: mixed.is_some() };
        match self.reduce[..] {
            [Reduce::SumBefore | Reduce::SumAfter] => {
                self.sum(roster, facts, deciding.executor, &seen, &mut aggregated)?
            }
            [Reduce::Rows] => {
                let weights = if seen.mixed { vec![1.0; examples.len()] } else { examples.clone() };
                aggregated.update = self.stage(roster, facts, deciding.executor, seen.rows, &weights)?;
            }
            _ => aggregated.update = self.decide(roster, facts, deciding, &seen)?,
        }
        if seen.mixed {
            aggregated.weight_sum = seen.examples.len() as f64;
            aggregated.max_weight = 1.0;
        }
        Ok(aggregated)
    }

    /// The sum with weights that are known by now; mixed rows count the same.
    fn sum(
        &mut self,
        roster: &mut Roster,
        facts: &RoundFacts,
        executor: &Executor,
        seen: &Seen<'_>,
        aggregated: &mut Aggregated,
    ) -> Result<()> {
        let member = &mut roster.members[self.index];
        let weights = if seen.mixed {
            let weights = vec![1.0; seen.examples.len()];
            let nobody = vec![ClientRow::default(); weights.len()];
            aggregated.denominator = denominator(member, facts, &nobody, &weights, weights.len() as f64)?;
            weights
        } else {
            if self.reduce == [Reduce::SumAfter] {
                let weights = self.weigher.weigh(member, &aggregated.clients, 0)?;
                aggregated.set_weights(weights);
            }
            self.divide(roster, facts, aggregated)?;
            aggregated.weights.clone()
        };
        let rows = RowSet::new(seen.rows, weights.len(), Vec::new());
        let mean = Kept::in_memory(1, seen.rows.len());
        Combinations { rows: &rows, coefficients: &weights, divisor: aggregated.denominator }
            .form(executor, |result, start, values| mean.write(result, start, values))?;
        aggregated.update = mean.row(0)?;
        check_mean(&self.name, aggregated)
    }

    /// REDUCE over the first rows of a store, as many as there are weights.
    fn stage(
        &mut self,
        roster: &Roster,
        facts: &RoundFacts,
        executor: &Executor,
        rows: &Kept,
        weights: &[f64],
    ) -> Result<Vec<f32>> {
        let open =
            |instance: &mut dyn crate::plugin::Instance| roster.members[self.index].open_round(instance, facts.round);
        self.staged.reduce(executor, rows, weights, &open)
    }

    /// DECIDE, and REDUCE over what it made where the rule has both.
    fn decide(
        &mut self,
        roster: &mut Roster,
        facts: &RoundFacts,
        deciding: Deciding<'_>,
        seen: &Seen<'_>,
    ) -> Result<Vec<f32>> {
        let Some(plan) = self.plans.last() else { return Ok(vec![0.0; self.layout.len()]) };
        let member = &mut roster.members[self.index];
        let made = self.decider.decide(member, deciding, plan, seen.rows, seen.examples)?;
        match self.reduce[..] {
            [Reduce::Gram] => made.row(0),
            _ => self.stage(roster, facts, deciding.executor, &made, &vec![1.0; made.rows()]),
        }
    }
}
