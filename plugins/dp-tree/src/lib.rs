//! The noise of DP-FTRL, Kairouz et al. (arXiv:2103.00039): what is released is each running sum S_t = Σ Δ_s over the rounds
//! s ≤ t, with the noise Z_t of binary tree aggregation. Each node of a binary tree over the rounds has noise N(0, I·σ²),
//! σ = z·𝕊, and Z_t is the sum of the nodes into which the rounds 1..t fall, one for each 1 in t's binary form. So the noise on
//! the weights grows with log t, not with √t, and no cohort needs to be drawn at random.
//!
//! The round's aggregate gets Z_t − Z_(t−1), which makes the server step w + η·Δ the paper's w_t = w_0 + η·(S_t + Z_t). With ℓ the
//! zeros at the end of t's binary form, that is the node of level ℓ that ends with round t, less the nodes of the levels
//! 0..ℓ−1 that end with round t − 1; on average two nodes a round. Nodes are not kept: each is drawn again from the run's
//! stream, so a resumed run goes on with the same noise, whatever was lost.
//!
//! 𝕊 is how far one client can move one aggregate, as the host works it out for `dp-gaussian`. A client that takes part once in
//! a tree of R rounds touches at most ⌈log₂ R⌉ + 1 nodes: (α, α·(⌈log₂ R⌉ + 1)/(2z²))-RDP for each tree. One that takes part
//! c times in the rounds of a node moves its sum by up to c·𝕊, which costs α·c²/(2z²). Nothing here limits how often a client
//! takes part: the host's ledger counts it. `restart` begins a new tree on top of the noise that the last one left; trees
//! compose. 𝕊 must stay the same during the run, for a node's noise is taken off again in later rounds: a bound that moves
//! (`adaptive-clip`) is refused.
//!
//! Departures: the plain tree, not Honaker's estimator with up to half the variance, which the paper's experiments use: it
//! draws all nodes below one again, up to 2t of them in a round. Every round must release: a tree counts rounds.
//!
//! Node k = 0, 1, .. of level ℓ, over the rounds k·2^ℓ + 1 .. (k + 1)·2^ℓ of its tree, has the number k·2^(ℓ+1) + 2^ℓ − 1, and
//! tree r = 0, 1, .. begins at the number r·2^(⌈log₂ R⌉+1). That is the stream (of normals, in run scope) of its noise,
//! element i for weight i. The nodes are added in f64, the new one first, then the others from level 0 up; then
//! value + σ·sum in f64, rounded once.
//!
//! This simulates differential privacy, it does not give it: the noise comes from the run's seed, and who reads the seed
//! can take the noise off again.

mod tree;

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Error, Map, Parameters, Piece, Plugin, Post, PostBegin, Result, colla_plugin};
use tree::{Change, Tree};

struct DpTree {
    /// z.
    multiplier: f64,
    tree: Tree,
    /// 𝕊 of the first round that this run has seen.
    sensitivity: Option<f64>,
    /// What this round adds, known from its begin on.
    round: Option<Round>,
}

struct Round {
    /// σ.
    deviation: f64,
    changes: Vec<Change>,
}

impl Plugin for DpTree {
    fn create(parameters: &Parameters) -> Result<Self> {
        let restart = parameters.i64("restart")?;
        let rounds = u64::try_from(restart)
            .map_err(|_| Error::config(format!("`restart` is {restart}; use 0 for one tree, or a number of rounds")))?;
        Ok(DpTree {
            multiplier: parameters.f64("noise-multiplier")?,
            tree: Tree { rounds, completed: parameters.bool("completion")? },
            sensitivity: None,
            round: None,
        })
    }

    fn save(&self) -> Result<Map> {
        Ok(self.sensitivity.map_or_else(Map::new, |sensitivity| Map::new().with("sensitivity", sensitivity)))
    }

    fn load(&mut self, saved: &Map) -> Result<()> {
        self.sensitivity = saved.f64("sensitivity");
        Ok(())
    }
}

impl Post for DpTree {
    fn begin(&mut self, begin: &PostBegin) -> Result<()> {
        let sensitivity = begin.sensitivity.ok_or_else(|| {
            Error::state(
                "how far one client can move the aggregate is not known: it takes a bound on the norm of each update \
                 (plugin `clip`) and an aggregation that is a sum (plugin `fedavg`)",
            )
        })?;
        let first = *self.sensitivity.get_or_insert(sensitivity);
        if first != sensitivity {
            return Err(Error::state(
                "how far one client can move the aggregate has changed since the tree began, so that its noise would not \
                 cancel; use a bound that stays, such as plugin `clip`",
            ));
        }
        let deviation = self.multiplier * sensitivity;
        if !(deviation >= 0.0 && deviation.is_finite()) {
            return Err(Error::numeric("the noise's standard deviation is negative or not finite"));
        }
        self.round = Some(Round { deviation, changes: self.tree.changes(begin.round)? });
        Ok(())
    }

    fn apply(&mut self, piece: Piece<'_>) -> Result<()> {
        let round = self.round.as_ref();
        let round = round.ok_or_else(|| Error::state("the round has not begun: APPLY came before POST_BEGIN"))?;
        if round.deviation == 0.0 {
            return Ok(());
        }
        let mut sums = vec![0.0f64; piece.values.len()];
        for change in &round.changes {
            random::each_normal(Scope::Run, change.node, piece.offset, sums.iter_mut(), |sum, noise| {
                *sum += change.sign * f64::from(noise);
            })?;
        }
        for (value, sum) in piece.values.iter_mut().zip(sums) {
            *value = (f64::from(*value) + round.deviation * sum) as f32;
        }
        Ok(())
    }
}

colla_plugin!(DpTree: post);

#[cfg(test)]
mod tests;
