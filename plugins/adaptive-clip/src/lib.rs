//! Clipping at a quantile, Algorithm 1 of Andrew et al. (arXiv:1905.03871): Δₖ ← Δₖ · min(1, C/‖Δₖ‖), and after each round
//! C ← C·exp(−η_C·(b̃ − γ)), with b̃ the noisy share of clients whose update was within the bound:
//! b̃ = ½ + (Σₖ (bₖ − ½) + N(0, σ_b²))/m, bₖ = 1 if ‖Δₖ‖ ≤ C, else 0, m the expected cohort (section 3: the ½ halves the
//! sensitivity of the count). C is broadcast as the bound that noise is scaled to.
//!
//! The plugin is the normalizer that clips and the aggregate, in place of `fedavg`, since the count must reach the server:
//! from the norms of the updates that the server received. A clipped update arrives shorter than C by 2⁻²² of it, and bₖ = 1
//! below C·(1 − 2⁻²¹); an update that was within these last 5·10⁻⁷ counts as clipped. So nothing may change norms in
//! between: a compressor that shortens updates (`topk`), or another normalizer behind this one, would spoil the count and is
//! refused. Server steps and noise compose freely.
//!
//! Privacy: the noisy count is released, too. With `dp-gaussian` at the noise multiplier z_Δ = (z⁻² − (2σ_b)⁻²)^(−½), both
//! together cost what z alone costs (the paper's Theorem 1); it takes z < 2σ_b. The user gives z_Δ, and the host's ledger
//! works out z from both, with σ_b in the place of 2σ_b for cohorts of fixed size, where a client that is replaced moves the
//! count by 1.
//!
//! Order of operations: clipping as in `clip`. The round's noise is element 0 of the normal stream 0 in round scope; the sum
//! over the accepted clients in the order of their ids, all in f64, `exp` of libm. The bound of the next round is taken
//! at the end of a round that had a sum, and stays otherwise. Metrics: `clip_norm`, the round's C, and `share_within_bound`, b̃.

use colla_plugin_sdk::math::libm::exp;
use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{
    Aggregate, Cohort, Error, Map, Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, Sums, colla_plugin,
    math,
};

struct AdaptiveClip {
    /// C: on the control instance that of the round, on the data plane what was broadcast last.
    norm: f64,
    /// γ.
    quantile: f64,
    /// η_C.
    learning_rate: f64,
    /// σ_b/m.
    count_noise: f64,
    uniform: bool,
    denominator: f64,
    /// b̃ of the round that is ending.
    share: Option<f64>,
}

/// The plugin's only random stream.
const COUNT: u16 = 0;
/// Below this part of the bound an update was not clipped.
const UNCLIPPED: f64 = 1.0 - 1.0 / (1 << 21) as f64;
/// Names in messages: the host's for the bound, the metrics.
const NORM_BOUND: &str = "norm_bound";

impl Plugin for AdaptiveClip {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(AdaptiveClip {
            norm: parameters.f64("norm")?,
            quantile: parameters.f64("quantile")?,
            learning_rate: parameters.f64("bound-learning-rate")?,
            count_noise: parameters.f64("count-noise")?,
            uniform: parameters.choice("weights")? == "uniform",
            denominator: parameters.f64("denominator")?,
            share: None,
        })
    }

    fn sync(&mut self, reply: &Map) -> Result<()> {
        if let Some(norm) = reply.f64(NORM_BOUND) {
            self.norm = norm;
        }
        Ok(())
    }

    fn round_begin(&mut self, _message: &Map) -> Result<Map> {
        self.share = None;
        Ok(Map::new().with(NORM_BOUND, self.norm))
    }

    fn round_end(&mut self, _message: &Map) -> Result<Map> {
        let metrics = Map::new().with("clip_norm", self.norm);
        let Some(share) = self.share.take() else { return Ok(metrics) };
        let next = self.norm * exp(-self.learning_rate * (share - self.quantile));
        if !(next > 0.0 && next.is_finite()) {
            return Err(Error::numeric("the bound has left the range of f64; use a smaller `bound-learning-rate`"));
        }
        self.norm = next;
        Ok(metrics.with("share_within_bound", share))
    }

    fn save(&self) -> Result<Map> {
        Ok(Map::new().with("norm", self.norm))
    }

    fn load(&mut self, saved: &Map) -> Result<()> {
        self.norm = saved.f64("norm").ok_or_else(|| Error::argument("what was saved has no `norm`"))?;
        Ok(())
    }
}

impl Normalize for AdaptiveClip {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let norm = piece.measures.value(0)?;
        if norm > self.norm {
            math::scale(piece.values, math::clip_factor(norm, self.norm));
        }
        Ok(())
    }
}

impl Aggregate for AdaptiveClip {
    fn weigh(&mut self, cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        for (weight, client) in weights.iter_mut().zip(cohort.members()) {
            *weight = if self.uniform { 1.0 } else { client.num_examples };
        }
        Ok(())
    }

    fn denominator(&mut self, sums: &Sums<'_>) -> Result<f64> {
        self.share = Some(self.noisy_share(sums)?);
        Ok(if self.denominator > 0.0 { self.denominator } else { sums.weight_sum })
    }
}

impl AdaptiveClip {
    /// b̃.
    fn noisy_share(&self, sums: &Sums<'_>) -> Result<f64> {
        let limit = self.norm * UNCLIPPED;
        let mut centred = 0.0;
        for member in sums.clients.members() {
            let trained =
                member.trained.ok_or_else(|| Error::argument("the table of the cohort has no norms of updates"))?;
            centred += if trained.update_norm2 < limit * limit { 0.5 } else { -0.5 };
        }
        let mut noise = [0.0];
        if self.count_noise > 0.0 {
            random::normal(Scope::Round, COUNT, 0, &mut noise)?;
        }
        let share = 0.5 + centred / sums.expected_cohort + self.count_noise * f64::from(noise[0]);
        if share.is_finite() { Ok(share) } else { Err(Error::numeric("the expected cohort is not positive")) }
    }
}

colla_plugin!(AdaptiveClip: normalize, aggregate);

#[cfg(test)]
mod tests;
