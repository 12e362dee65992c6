//! Role attack: what hostile clients train on, or send in place of their updates, for experiments with robust aggregation.
//!
//! The configuration says who is hostile, `attacks` in the manifest which of the two functions are asked. Attackers that
//! send something else know each other and the honest updates of the round (omniscient, as the papers assume).

use super::{Plugin, require, required_u64};
use crate::abi::{attack_table, op};
use crate::{Block, Error, Map, Plan, Result};

/// Whom an attack on training is planned for.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackBegin {
    /// Counted from 1.
    pub round: u64,
    /// The hostile client.
    pub client: u64,
    pub num_examples: u64,
    /// Classes of the data, at least 2; labels are below it.
    pub num_classes: u64,
    /// What [`Plugin::round_begin`] replied this round.
    pub broadcast: Map,
}

/// One attacker's view of a range of the updates.
#[derive(Debug)]
pub struct Attacked<'a> {
    /// Index of the first element.
    pub offset: u64,
    /// Updates of the honest clients of the cohort, in the order of their ids; there may be none.
    pub honest: &'a [&'a [f32]],
    /// What the attacker would have sent: it trained like everyone.
    pub own: &'a [f32],
    /// Clients in the cohort, n.
    pub cohort: usize,
    /// Attackers in the cohort, f ≥ 1.
    pub attackers: usize,
    /// Position of this attacker among them.
    pub index: usize,
    /// What it sends; all of it must be written.
    pub sent: &'a mut [f32],
}

pub trait Attack: Plugin {
    /// ATTACK_BEGIN, before a hostile client trains: how it does, such as on which labels ([`crate::Term::Relabel`]). The
    /// terms join those of client plugins. Asked with `training` in the manifest's `attacks`. Must depend on nothing but
    /// the instance's parameters and `client`. Default: like everyone.
    fn plan(&mut self, _client: &AttackBegin) -> Result<Plan> {
        Ok(Plan::default())
    }

    /// ATTACK, asked unless the manifest's `attacks` lack `updates`: must give the same values however the vector is cut
    /// into ranges. Random numbers of client scope are the attacker's.
    fn attack(&mut self, _attacked: Attacked<'_>) -> Result<()> {
        Err(Error::unsupported(
            "the plugin replaces no updates; its manifest must say so: `\"attacks\": [\"training\"]`",
        ))
    }
}

/// The word of manifests.
pub const KIND: &str = "attack";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = false;

pub fn call<T: Attack>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    let plan = |plugin: &mut T| {
        let client = AttackBegin {
            round: required_u64(message, "round")?,
            client: required_u64(message, "client")?,
            num_examples: required_u64(message, "num_examples")?,
            num_classes: required_u64(message, "num_classes")?,
            broadcast: message.map("broadcast").cloned().unwrap_or_default(),
        };
        Ok(plugin.plan(&client)?.encode())
    };
    (operation == op::ATTACK_BEGIN).then(|| plan(plugin))
}

pub fn block<T: Attack>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::ATTACK).then(|| attack(plugin, block))
}

fn attack<T: Attack>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    let (own, sent) = (block.base.take(), block.out.take());
    let complete = own.is_some() && sent.is_some() && block.table.len() >= attack_table::LEN;
    require(complete, "ATTACK", "`base`, `out` and a `table` of at least 3 values")?;
    let count = |at: usize| block.table[at] as usize;
    plugin.attack(Attacked {
        offset: block.offset,
        honest: &block.rows,
        own: own.unwrap_or_default(),
        cohort: count(attack_table::COHORT),
        attackers: count(attack_table::ATTACKERS),
        index: count(attack_table::INDEX),
        sent: sent.unwrap_or_default(),
    })
}
