//! Role post: transforms of the aggregate on the server, such as noise or a clip, in the order given.
//!
//! Where in the flow: between aggregation and server step, in every round, also where nobody took part: noise that
//! is left out in an empty round would tell that it was empty.
//! What it never does: run on a client.

use super::{Member, Roster, aggregate::Aggregated, facts::RoundFacts};
use crate::{
    plugin::{Block, Role},
    stages::{Address, Sender, Stage, StageSpec},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};
use std::sync::Arc;

/// The post plugins of a run.
pub struct Posts(Vec<Post>);

struct Post {
    /// Position in the roster.
    index: usize,
    stage: Stage,
}

impl Posts {
    /// `initial_weights`: those before round 1. Errors: a plugin failure while an instance is opened.
    pub fn new(roster: &Roster, run_seed: u64, layout: &Layout, initial_weights: &Arc<[f32]>) -> Result<Self> {
        let members = roster.members.iter().enumerate().filter(|(_, member)| member.has(Role::Post));
        let posts = members.map(|(index, member)| {
            let spec = StageSpec {
                plugin: member.plugin.clone(),
                position: member.position(),
                initial_weights: initial_weights.clone(),
            };
            Ok(Post { index, stage: Stage::new(&spec, run_seed, layout)? })
        });
        Ok(Posts(posts.collect::<Result<_>>()?))
    }

    /// Transforms the aggregate in place. Errors: a plugin failure, also for a value that is not finite.
    pub fn apply(&mut self, roster: &mut Roster, aggregated: &mut Aggregated, facts: &RoundFacts) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let message = begin(facts, aggregated, roster.norm_bound());
        for post in &mut self.0 {
            post.apply(&mut roster.members[post.index], &message, &mut aggregated.update, facts.round)?;
        }
        Ok(())
    }
}

impl Post {
    fn apply(&mut self, member: &mut Member, message: &Map, aggregate: &mut [f32], round: u64) -> Result<()> {
        member.key_control(round);
        // The control instance answers the control plane; its reply makes the data-plane instance ready.
        let begun = member.control.call(op::POST_BEGIN, message)?;
        let stage = &mut self.stage;
        member.open_round(stage.instance.as_mut(), round)?;
        stage.instance.call(op::SYNC, &begun)?;
        let mut scan = stage.begin(aggregate, Address { round, sender: Sender::Server, vector: 0 })?;
        for unit in 0..stage.pieces.len() {
            let range = stage.pieces[unit].clone();
            let piece = &mut aggregate[range.clone()];
            let (data, table) = stage.load(&mut scan, 0, piece);
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                table: Some(table),
                out: Some(data),
                ..Block::default()
            };
            stage.instance.block(op::APPLY, &block)?;
            stage.store(data, op::APPLY, piece)?;
        }
        Ok(())
    }
}

/// What POST_BEGIN tells.
fn begin(facts: &RoundFacts, aggregated: &Aggregated, norm_bound: Option<f64>) -> Map {
    let message = facts
        .message()
        .with("accepted", aggregated.clients.len() as i64)
        .with("sampling", if facts.poisson { "poisson" } else { "fixed" })
        .with("weight_sum", aggregated.weight_sum)
        .with("max_weight", aggregated.max_weight)
        .with("denominator", aggregated.denominator);
    match norm_bound {
        None => message,
        Some(bound) if aggregated.is_sum => {
            message.with("norm_bound", bound).with("sensitivity", sensitivity(facts.poisson, bound, aggregated))
        }
        Some(bound) => message.with("norm_bound", bound),
    }
}

/// By how much one client can move the sum's mean: it comes or goes in a Poisson cohort, it is replaced by another one
/// in a fixed cohort.
fn sensitivity(poisson: bool, bound: f64, aggregated: &Aggregated) -> f64 {
    let alone = bound * aggregated.max_weight / aggregated.denominator.abs();
    if poisson { alone } else { 2.0 * alone }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(poisson: bool) -> RoundFacts {
        RoundFacts { round: 3, cohort: 4, num_clients: 40, expected_cohort: 5.0, poisson }
    }

    fn aggregated(is_sum: bool) -> Aggregated {
        Aggregated {
            update: vec![0.0],
            weight_sum: 4.0,
            max_weight: 1.5,
            denominator: 6.0,
            is_sum,
            clients: Vec::new(),
            weights: Vec::new(),
        }
    }

    #[test]
    fn a_client_that_is_replaced_moves_the_mean_twice_as_far_as_one_that_comes_or_goes() {
        // 0.8 · 1.5 / 6 = 0.2.
        let told = |poisson| begin(&facts(poisson), &aggregated(true), Some(0.8)).f64("sensitivity").unwrap();
        assert!((told(true) - 0.2).abs() < 1e-15 && (told(false) - 0.4).abs() < 1e-15);
        assert_eq!(begin(&facts(true), &aggregated(true), Some(0.8)).str("sampling"), Some("poisson"));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(begin(&facts(true), &aggregated(true), None).get("sensitivity"), None);
        let rows = begin(&facts(false), &aggregated(false), Some(0.8));
        assert_eq!((rows.f64("norm_bound"), rows.get("sensitivity")), (Some(0.8), None));
    }
}
