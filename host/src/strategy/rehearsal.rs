//! Whether plugins that decide accept as many updates as a round will bring, and attacks the data that there are: asked
//! before a whole cohort has trained.
//!
//! Where in the flow: before round 1 of a run whose cohorts have one size. Instances of its own answer DECIDE_PLAN and
//! DECIDE for updates that are all zero, and are dropped. What it never does: judge an answer, or touch the run's
//! instances. Only a plugin that refuses what it is asked ends the run; whatever else goes wrong may be due to the zeros.

use super::{
    Roster,
    decide::Decider,
    facts::RoundFacts,
    hostile::Hostile,
    local::{self, Trainee},
};
use crate::{
    error::{Fault, Kind, PluginFailure},
    plugin::{Plugin, Reduce, Role},
    train::Layout,
};
use anyhow::Result;

/// `facts`: of the first round, with as many clients as each will have; `arriving`: how many of their updates will arrive;
/// `has_root`: whether the server has data of its own.
///
/// Errors: `Kind::Config` with the plugin's own words, if a mix or a rule by distances refuses so many rows; those of new instances and of ROUND_BEGIN.
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
            Err(error) => return refusal(&error, &format!("the {rows} updates of a round")).map_or(Ok(()), Err),
        }
    }
    Ok(())
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

fn refusal(error: &anyhow::Error, what: &str) -> Option<anyhow::Error> {
    let PluginFailure { plugin, refusal, .. } = error.downcast_ref::<PluginFailure>()?;
    let words = refusal.as_ref()?;
    Some(Fault::new(Kind::Config, format!("plugin `{plugin}` refuses {what}: {words}")))
}
