//! Which nodes a round adds to the noise of the running sum, and which it takes off.

use colla_plugin_sdk::{Error, Result};

/// How the rounds of a run are cut into trees.
pub struct Tree {
    /// Rounds of each tree, R; 0 for one tree without end.
    pub rounds: u64,
    /// Whether the last round of a tree counts as that of the next power of two.
    pub completed: bool,
}

/// A node whose noise is added or taken off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Its number, which is its random stream.
    pub node: u16,
    /// 1 or −1.
    pub sign: f64,
}

impl Tree {
    /// Z_t − Z_(t−1) of round t, counted from 1.
    ///
    /// Errors: `E_ARG` for round 0, `E_STATE` where a node's number is beyond the plugin's streams.
    pub fn changes(&self, round: u64) -> Result<Vec<Change>> {
        let before = round.checked_sub(1).ok_or_else(|| Error::argument("rounds count from 1, this one is 0"))?;
        let (tree, within) = match self.rounds {
            0 => (0, before),
            rounds => (before / rounds, before % rounds),
        };
        // The root of a tree of R rounds has this level; trees without end are all one.
        let root = self.rounds.max(1).next_power_of_two().trailing_zeros();
        let first = tree.checked_mul(2 << root);
        let number = |level: u32, k: u64| {
            first.and_then(|first| number(first, level, k)).ok_or_else(|| {
                Error::state(format!(
                    "round {round} needs more than 65,536 nodes of noise; set `restart`, or a larger one"
                ))
            })
        };
        // Before a node of level ℓ ends, those of all lower levels end with the round before. A completed tree ends in
        // its root, and every node of the round before goes.
        let ends = self.rounds > 0 && self.completed && within + 1 == self.rounds;
        let level = if ends { root } else { (within + 1).trailing_zeros() };
        let added = Change { node: number(level, within >> level)?, sign: 1.0 };
        let gone = (0..level).filter(|level| within >> level & 1 == 1);
        let gone = gone.map(|level| Ok(Change { node: number(level, (within >> level) - 1)?, sign: -1.0 }));
        std::iter::once(Ok(added)).chain(gone).collect()
    }
}

/// The number of node k of a level, in order from left to right, in the tree that begins at `first`.
fn number(first: u64, level: u32, k: u64) -> Option<u16> {
    // From one node of a level to the next; a tree of 2¹⁶ rounds is beyond the streams anyway.
    let stride = 2u64 << level.min(16);
    let node = first.checked_add(k.checked_mul(stride)?)?.checked_add(stride / 2 - 1)?;
    if level < 16 { u16::try_from(node).ok() } else { None }
}
