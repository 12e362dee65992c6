//! Role attack: what hostile clients send in place of their updates, for experiments with robust aggregation.
//!
//! The configuration says who is hostile; attackers know each other and the honest updates of the round (omniscient, as
//! the papers assume).

use super::{Plugin, require};
use crate::abi::{attack_table, op};
use crate::{Block, Map, Result};

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
    /// ATTACK: must give the same values however the vector is cut into ranges. Random numbers of client scope are the
    /// attacker's.
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()>;
}

/// The word of manifests.
pub const KIND: &str = "attack";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = false;

pub fn call<T: Attack>(_: &mut T, _: u32, _: &Map) -> Option<Result<Map>> {
    None
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
