//! Role aggregate, with attack and mix before it: from the updates of a cohort to one.
//!
//! Three ways lead there. A sum whose weights are known before training is folded by the agents, in O(P) memory. A rule over rows
//! is handed the updates where its plugin can reach them. Everything else keeps the updates until all are there:
//! sums whose weights need losses, distances, attacks, mixes, and cohorts beyond `host.update-memory`.
//! Where in the flow: `weigh` before training, `collect` names what the agents fill, `finish` after the last client.

mod keep;

use super::{
    Roster,
    attack::Attack,
    decide::{Decider, DecisionPlan, ExtraRow},
    facts::{ClientRow, RoundFacts, TrainedRow},
    grid::{Grid, GridSum},
    kept::{Kept, Storage},
    rows::RowStore,
    shard::ShardSpec,
    staged::Staged,
    weigh::{Weigher, denominator, denominator_of_nobody},
};
use crate::{
    client::ClientId,
    executor::Executor,
    finite::first_not_finite,
    plugin::{Reduce, Requirement, Role},
    stages::failure,
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::op;

/// The aggregate update and what was known when it was formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregated {
    /// P values.
    pub update: Vec<f32>,
    /// Σ aₖ.
    pub weight_sum: f64,
    /// The largest aₖ; for an empty cohort, that of a client with one example.
    pub max_weight: f64,
    /// What the weighted sum was divided by; 1 for rules that are no sums.
    pub denominator: f64,
    /// Whether it is Σ aₖ·Δₖ / denominator over the clients' own updates.
    pub is_sum: bool,
    /// The accepted clients, after training.
    pub clients: Vec<ClientRow>,
    /// Their weights.
    pub weights: Vec<f64>,
}

/// The aggregate rule of the run.
pub struct Aggregator {
    index: usize,
    name: String,
    reduce: Vec<Reduce>,
    layout: Layout,
    settings: Settings,
    /// Whether some plugin requires that every client counts the same.
    uniform: bool,
    weigher: Weigher,
    decider: Decider,
    mixers: Vec<Decider>,
    attack: Option<Attack>,
    direct: RowStore,
    staged: Staged,
    /// The updates of the round, where they are kept; used again in the next one.
    kept: Option<Kept>,
    /// This round's answers to DECIDE_PLAN, of the mixers and of the rule.
    plans: Vec<DecisionPlan>,
    previous: Option<Vec<f32>>,
    /// Whether some decision has ever asked for the row `previous`.
    wants_previous: bool,
}

/// What a run says of its aggregation.
#[derive(Clone, Debug)]
pub struct Settings {
    pub storage: Storage,
    /// Whether the server has data of its own.
    pub has_root: bool,
    /// Keep the updates whatever the rule, so that the grid of a sum follows from their actual maximum.
    pub keep: bool,
    /// Whether the scalar of this need is wanted of replaced updates.
    pub update_norm2: bool,
}

/// What the agents fill during a round.
#[derive(Clone, Copy)]
pub enum Collect<'a> {
    Sum(Grid),
    Rows(&'a RowStore),
    /// Each client's update in the row of its slot.
    Keep(&'a Kept),
}

/// What has arrived when the last client is done.
pub struct Arrived<'a> {
    pub facts: &'a RoundFacts,
    /// Ids of the cohort, in its order.
    pub cohort: &'a [ClientId],
    /// The same clients, after training.
    pub clients: Vec<ClientRow>,
    /// What [`Aggregator::weigh`] gave.
    pub weights: Vec<f64>,
    pub sum: Option<GridSum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Fold,
    Direct,
    Keep,
}

impl Aggregator {
    /// `attack`: who replaces updates, if anybody does.
    pub fn new(roster: &Roster, run_seed: u64, layout: &Layout, attack: Option<Attack>, settings: Settings) -> Self {
        let index = roster.position_of(Role::Aggregate).unwrap_or(0);
        let member = &roster.members[index];
        let spec =
            ShardSpec { plugin: member.plugin.clone(), position: member.position(), run_seed, layout: layout.clone() };
        Aggregator {
            index,
            name: member.name().into(),
            reduce: match &member.plugin.manifest().reduce[..] {
                [] => vec![Reduce::SumBefore],
                given => given.to_vec(),
            },
            layout: layout.clone(),
            settings,
            uniform: roster.requires(Requirement::UniformWeights),
            weigher: Weigher::default(),
            decider: Decider::new(index),
            mixers: (0..roster.members.len()).filter(|&i| roster.members[i].has(Role::Mix)).map(Decider::new).collect(),
            attack,
            direct: RowStore::new(spec.clone()),
            staged: Staged::new(spec),
            kept: None,
            plans: Vec::new(),
            previous: None,
            wants_previous: false,
        }
    }

    /// Before the run: the updates of the largest cohort must find room. Errors: `Kind::Data` with the numbers.
    pub fn check_room(&self, largest_cohort: usize) -> Result<()> {
        let changes_rows = !self.mixers.is_empty() || self.reduce.contains(&Reduce::Gram);
        match self.way(largest_cohort) {
            Way::Keep => {
                let copies = if changes_rows { 2 } else { 1 };
                self.settings.storage.check(largest_cohort + 1, self.layout.len(), copies)
            }
            Way::Fold | Way::Direct => Ok(()),
        }
    }

    fn way(&self, cohort: usize) -> Way {
        if self.settings.keep || self.attack.is_some() || !self.mixers.is_empty() {
            return Way::Keep;
        }
        match self.reduce[..] {
            [Reduce::SumBefore] => Way::Fold,
            [Reduce::Rows] if self.settings.storage.fits_memory(cohort, self.layout.len()) => Way::Direct,
            _ => Way::Keep,
        }
    }

    /// One weight per client of the cohort, in its order, as far as they are known before training; the numbers
    /// of examples for rules that weigh later or not at all. Mixers and rules say here which rows they will want.
    pub fn weigh(&mut self, roster: &mut Roster, round: u64, cohort: &[ClientRow]) -> Result<Vec<f64>> {
        self.plan_decisions(roster, round, cohort.len())?;
        if self.reduce == [Reduce::SumBefore] && self.mixers.is_empty() {
            let member = &mut roster.members[self.index];
            member.key_control(round);
            return self.weigher.weigh(member, cohort, 0);
        }
        Ok(self.examples(cohort))
    }

    /// What rules that do not weigh are told of the clients: their numbers of examples, or 1 for each where a plugin
    /// requires that all count the same.
    fn examples(&self, cohort: &[ClientRow]) -> Vec<f64> {
        cohort.iter().map(|client| if self.uniform { 1.0 } else { client.num_examples as f64 }).collect()
    }

    fn plan_decisions(&mut self, roster: &mut Roster, round: u64, cohort: usize) -> Result<()> {
        self.plans.clear();
        if cohort == 0 {
            return Ok(());
        }
        let last = self.reduce.contains(&Reduce::Gram).then_some(&self.decider);
        let mut rows = cohort;
        for decider in self.mixers.iter().chain(last) {
            let member = &mut roster.members[decider.index];
            member.key_control(round);
            let plan = decider.plan(member, rows, self.settings.has_root)?;
            self.wants_previous |= plan.extra.contains(&ExtraRow::Previous);
            rows = plan.rows_out;
            self.plans.push(plan);
        }
        if self.reduce == [Reduce::Gram] && rows != 1 {
            let message = format!("`rows_out` is {rows}; an aggregate by distances alone is 1 row");
            return Err(failure(&self.name, op::DECIDE_PLAN, message).into());
        }
        Ok(())
    }

    /// Whether this round the server's own client must train: some decision sees the row `root`.
    pub fn wants_root(&self) -> bool {
        self.plans.iter().any(|plan| plan.extra.contains(&ExtraRow::Root))
    }

    /// What the agents of this round fill. `bound`: largest magnitude of an element of an update that is folded.
    pub fn collect(&mut self, roster: &Roster, round: u64, weights: &[f64], bound: f64) -> Result<Collect<'_>> {
        match self.way(weights.len()) {
            Way::Fold => Ok(Collect::Sum(Grid::new(weights.iter().sum(), bound)?)),
            Way::Direct => {
                self.direct.prepare(weights.len())?;
                self.direct.open_round(&|instance| roster.members[self.index].open_round(instance, round))?;
                Ok(Collect::Rows(&self.direct))
            }
            Way::Keep => Ok(Collect::Keep(self.keep_for(weights.len())?)),
        }
    }

    /// The aggregate update; zeros for an empty cohort.
    /// Errors: failures of the plugins that attack, mix or aggregate; rows that cannot be kept or read.
    pub fn finish(&mut self, roster: &mut Roster, executor: &Executor, arrived: Arrived<'_>) -> Result<Aggregated> {
        let Arrived { facts, cohort, mut clients, weights, sum } = arrived;
        if clients.is_empty() {
            return self.of_nobody(roster, facts);
        }
        roster.members[self.index].key_control(facts.round);
        let way = self.way(clients.len());
        if let (Some(attack), Some(kept)) = (&mut self.attack, &self.kept) {
            let replaced = attack.apply(roster, executor, kept, cohort, facts)?;
            self.measure_again(&mut clients, &replaced)?;
        }
        match (way, sum) {
            (Way::Keep, _) => self.reduce_kept(roster, executor, facts, clients, weights),
            (Way::Direct, _) => {
                let update = self.direct.reduce(executor, &weights)?;
                Ok(Aggregated::new(update, clients, weights))
            }
            (Way::Fold, sum) => {
                let mut aggregated = Aggregated::new(Vec::new(), clients, weights);
                self.divide(roster, facts, &mut aggregated)?;
                aggregated.update = match sum {
                    Some(sum) => sum.mean(aggregated.denominator),
                    None => vec![0.0; self.layout.len()],
                };
                check_mean(&self.name, &aggregated)?;
                Ok(aggregated)
            }
        }
    }

    /// Asks for the denominator of the sum over the clients' own updates.
    fn divide(&self, roster: &mut Roster, facts: &RoundFacts, of: &mut Aggregated) -> Result<()> {
        let member = &mut roster.members[self.index];
        of.denominator = denominator(member, facts, &of.clients, &of.weights, of.weight_sum)?;
        of.is_sum = true;
        Ok(())
    }

    /// Nobody took part: zeros. What a post plugin must know all the same, what one client could have done, is asked
    /// for a client with one example and one step.
    fn of_nobody(&mut self, roster: &mut Roster, facts: &RoundFacts) -> Result<Aggregated> {
        let mut nobody = Aggregated::new(vec![0.0; self.layout.len()], Vec::new(), Vec::new());
        let sums = matches!(self.reduce[..], [Reduce::SumBefore | Reduce::SumAfter]) && self.mixers.is_empty();
        if !sums || roster.position_of(Role::Post).is_none() {
            return Ok(nobody);
        }
        let trained = (self.reduce == [Reduce::SumAfter]).then(TrainedRow::default);
        let one = ClientRow { num_examples: 1, steps: 1, lr_sum: 0.0, trained };
        let member = &mut roster.members[self.index];
        member.key_control(facts.round);
        nobody.max_weight = self.weigher.weigh(member, &[one], 0)?[0];
        if let Some(denominator) = denominator_of_nobody(member, facts)? {
            (nobody.denominator, nobody.is_sum) = (denominator, true);
        }
        Ok(nobody)
    }

    /// Keeps what DECIDE may ask for in the next round as the row `previous`: what the server step has received. Where nobody
    /// asks, the memory of a mean of rows serves the next one.
    pub fn remember(&mut self, update: Vec<f32>) {
        if self.wants_previous {
            self.previous = Some(update);
        } else if self.direct.is_in_use() {
            self.direct.reuse(update);
        }
    }
}

impl Aggregated {
    /// Weights that were known only after training.
    fn set_weights(&mut self, weights: Vec<f64>) {
        self.weight_sum = weights.iter().sum();
        self.max_weight = weights.iter().copied().fold(0.0, f64::max);
        self.weights = weights;
    }

    /// An update that is no sum: the weights are the numbers of examples, the denominator is 1.
    fn new(update: Vec<f32>, clients: Vec<ClientRow>, weights: Vec<f64>) -> Self {
        Aggregated {
            update,
            // In cohort order, that is in client-id order.
            weight_sum: weights.iter().sum(),
            max_weight: weights.iter().copied().fold(0.0, f64::max),
            denominator: 1.0,
            is_sum: false,
            clients,
            weights,
        }
    }
}

/// A denominator so small that the mean leaves single precision is the plugin's fault, not a client's.
fn check_mean(name: &str, aggregated: &Aggregated) -> Result<()> {
    match first_not_finite(&aggregated.update) {
        None => Ok(()),
        Some(index) => {
            let message = format!(
                "answered {}, with which element {index} of the aggregate is {}; an aggregate must be finite",
                aggregated.denominator, aggregated.update[index]
            );
            Err(failure(name, op::DENOMINATOR, message).into())
        }
    }
}
