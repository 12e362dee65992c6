//! Whether plugins that decide accept as many updates as a round will bring, attacks the data that there are, selectors
//! their settings, and trees of noise the bound that they rest on: asked before a whole cohort has trained.
//!
//! Where in the flow: before round 1 of a run whose cohorts have one size. Instances of its own answer DECIDE_PLAN and
//! DECIDE for updates that are all zero, and are dropped. Where sizes vary, a refusal in a round is told in the same words.
//! What it never does: judge an answer, or touch the run's instances. Only a plugin that refuses what it is asked ends the
//! run; whatever else goes wrong may be due to the zeros.

use super::{
    Roster,
    decide::Decider,
    facts::{ClientRow, RoundFacts, TrainedRow},
    hostile::Hostile,
    local::{self, Trainee},
    requirements::bounding_stage,
    select::Selector,
    weigh::denominator,
};
use crate::{
    config::Federation,
    error::{Fault, Kind, PluginFailure, short},
    plugin::{NoiseMechanism, Plugin, Reduce, Role, operation_name},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

/// `facts`: of the first round, with as many clients as each will have; `arriving`: how many of their updates will arrive;
/// `has_root`: whether the server has data of its own.
///
/// Errors: `Kind::Config` with the plugin's own words, if a mix or a rule by distances refuses so many rows; those of new
/// instances and of ROUND_BEGIN.
pub fn rehearse(
    plugins: &[Plugin],
    run_seed: u64,
    layout: &Layout,
    facts: &RoundFacts,
    arriving: usize,
    has_root: bool,
) -> Result<()> {
    let by_distances = |plugin: &Plugin| plugin.manifest().reduce.contains(&Reduce::Gram);
    if arriving == 0 || !plugins.iter().any(|plugin| plugin.manifest().has(Role::Mix) || by_distances(plugin)) {
        return Ok(());
    }
    let mut roster = Roster::new(plugins.to_vec(), run_seed, layout)?;
    roster.begin(facts)?;
    let with = |wanted: &dyn Fn(&Plugin) -> bool| -> Vec<usize> {
        (0..roster.members.len()).filter(|&index| wanted(&roster.members[index].plugin)).collect()
    };
    // Mixes act before the rule.
    let deciding = [with(&|plugin| plugin.manifest().has(Role::Mix)), with(&by_distances)].concat();
    let mut rows = arriving;
    for index in deciding {
        let member = &mut roster.members[index];
        member.key_control(facts.round);
        match Decider::new(index).rehearse(member, rows, has_root) {
            Ok(rows_out) => rows = rows_out,
            Err(error) => {
                let number = Number { rows, facts, arriving };
                return number.refusal(&error, "a round").map_or(Ok(()), Err);
            }
        }
    }
    Ok(())
}

/// What a round's failure is to be called: a decision that refuses a number of updates that nobody asked it about before
/// the run is told of as [`rehearse`] does it, everything else as it is.
///
/// `facts`: of the round; `arriving`: how many updates there are.
pub fn refused_number(error: anyhow::Error, facts: &RoundFacts, arriving: usize) -> anyhow::Error {
    let decisions = [op::DECIDE_PLAN, op::DECIDE].map(operation_name);
    let decides = |failure: &PluginFailure| decisions.contains(&failure.operation);
    match error.downcast_ref::<PluginFailure>().is_some_and(decides) {
        true => Number { rows: arriving, facts, arriving }.refusal(&error, "this round").unwrap_or(error),
        false => error,
    }
}

/// How many updates a decision is asked about, and why they are so many.
struct Number<'a> {
    rows: usize,
    facts: &'a RoundFacts,
    /// Updates of clients that reach the server.
    arriving: usize,
}

impl Number<'_> {
    fn refusal(&self, error: &anyhow::Error, round: &str) -> Option<anyhow::Error> {
        let Number { rows, facts, arriving } = self;
        let late = facts.cohort.saturating_sub(*arriving);
        let (of, share) = match late {
            0 => (String::new(), ""),
            _ => (
                format!(" ({} clients without {late} stragglers, whose work is dropped)", facts.cohort),
                ", or a smaller `stragglers.share`",
            ),
        };
        let more = match facts.poisson {
            true => {
                let mean = short(facts.expected_cohort);
                let vary = format!("Poisson cohorts vary, and have {mean} clients on average");
                format!("{share}, or a larger `federation.fraction-train`: {vary}")
            }
            false => share.to_owned(),
        };
        refusal_and(error, &format!("the {rows} updates of {round}{of}"), &more)
    }
}

/// Asks for the plan of a hostile client.
///
/// `facts`: of the first round. Errors: `Kind::Config` with the plugin's own words, if one refuses; those of new instances,
/// of ROUND_BEGIN and of the plan.
pub fn rehearse_attack(
    plugins: &[Plugin],
    run_seed: u64,
    layout: &Layout,
    facts: &RoundFacts,
    hostile: &Hostile,
    trainee: Trainee,
) -> Result<()> {
    let mut roster = Roster::new(plugins.to_vec(), run_seed, layout)?;
    roster.begin(facts)?;
    let planned = local::plan(&mut roster, Some(hostile), trainee);
    planned.map(drop).map_err(|error| refusal(&error, "to plan for a hostile client").unwrap_or(error))
}

/// Asks the plugin that chooses cohorts, if there is one, for that of the first round.
///
/// `examples`: of each client, in the order of ids. Errors: `Kind::Config` with the plugin's own words, if it refuses;
/// those of new instances and of [`Selector::new`].
pub fn rehearse_choice(
    plugins: &[Plugin],
    run_seed: u64,
    layout: &Layout,
    federation: &Federation,
    examples: impl Iterator<Item = usize>,
) -> Result<()> {
    if !plugins.iter().any(|plugin| plugin.manifest().has(Role::Select)) {
        return Ok(());
    }
    let mut roster = Roster::new(plugins.to_vec(), run_seed, layout)?;
    let Some(mut selector) = Selector::new(&mut roster, federation, examples)? else { return Ok(()) };
    match selector.choose(&mut roster, 1) {
        Ok(_) => Ok(()),
        Err(error) => refusal(&error, "to choose a cohort").map_or(Ok(()), Err),
    }
}

/// Asks for the bound on the norm of updates before and after a round in which all are zero, if a tree of noise rests on it:
/// what a node adds is taken off again in later rounds, and only as much as was added.
///
/// `facts`: of the first round. Errors: `Kind::Config` if the bound moves; those of new instances and of ROUND_BEGIN.
pub fn rehearse_bound(plugins: &[Plugin], run_seed: u64, layout: &Layout, facts: &RoundFacts) -> Result<()> {
    let is_tree = |plugin: &&Plugin| {
        plugin.manifest().privacy.as_ref().is_some_and(|noise| noise.mechanism == NoiseMechanism::Tree)
    };
    let (Some(tree), Ok(stage)) = (plugins.iter().find(is_tree), bounding_stage(plugins)) else { return Ok(()) };
    let mut roster = Roster::new(plugins.to_vec(), run_seed, layout)?;
    roster.begin(facts)?;
    let before = roster.norm_bound();
    if round_of_zeros(&mut roster, facts).is_err() {
        return Ok(());
    }
    roster.begin(&RoundFacts { round: facts.round + 1, ..*facts })?;
    if roster.norm_bound() == before {
        return Ok(());
    }
    let [tree, stage] = [tree, &plugins[stage]].map(|plugin| &plugin.manifest().name);
    Err(Fault::new(
        Kind::Config,
        format!(
            "plugin `{tree}` — the noise of its tree cancels only while the bound on the norm of updates stays the same, and \
             that of `{stage}` moves from round to round; use a bound that stays, such as `clip`"
        ),
    ))
}

/// What the aggregate and ROUND_END see of a round whose updates are all zero.
fn round_of_zeros(roster: &mut Roster, facts: &RoundFacts) -> Result<()> {
    let client = ClientRow { num_examples: 1, steps: 1, lr_sum: 0.0, trained: Some(TrainedRow::default()) };
    let (clients, weights) = (vec![client; facts.cohort], vec![1.0; facts.cohort]);
    if let Some(index) = roster.position_of(Role::Aggregate) {
        let member = &mut roster.members[index];
        member.key_control(facts.round);
        denominator(member, facts, &clients, &weights, facts.cohort as f64)?;
    }
    let summary = Map::new()
        .with("round", facts.round as i64)
        .with("cohort", facts.cohort as i64)
        .with("num_examples", facts.cohort as i64)
        .with("train_loss", 0.0);
    roster.end(facts.round, &summary).map(drop)
}

fn refusal(error: &anyhow::Error, what: &str) -> Option<anyhow::Error> {
    refusal_and(error, what, "")
}

/// The plugin's refusal with `more` behind its words; `None` for what is none.
fn refusal_and(error: &anyhow::Error, what: &str, more: &str) -> Option<anyhow::Error> {
    let PluginFailure { plugin, refusal, .. } = error.downcast_ref::<PluginFailure>()?;
    let words = refusal.as_ref()?;
    Some(Fault::new(Kind::Config, format!("plugin `{plugin}` refuses {what}: {words}{more}")))
}
