//! Role post: a transform of the aggregate on the server, e.g. a clip or noise.

use super::normalize::{Piece, ScanFrame, piece, scan_frame, scan_plan};
use super::{Plugin, plugin, required_f64, required_u64};
use crate::abi::op;
use crate::{Block, Error, Map, Result, ScanPlan};

/// What is known of the aggregate before it is transformed.
#[derive(Clone, Debug, PartialEq)]
pub struct PostBegin {
    /// Counted from 1.
    pub round: u64,
    /// Clients whose updates are in the aggregate.
    pub accepted: u64,
    /// Clients that were asked to train.
    pub cohort: u64,
    /// Clients in the federation, N.
    pub num_clients: u64,
    /// Clients in a cohort on average: qN for Poisson cohorts.
    pub expected_cohort: f64,
    /// Whether each client takes part independently; else cohorts have a fixed size.
    pub poisson: bool,
    /// Σ aₖ.
    pub weight_sum: f64,
    /// The largest aₖ.
    pub max_weight: f64,
    /// What the weighted sum was divided by; 1 for rules that are no sums.
    pub denominator: f64,
    /// Largest Euclidean norm of an update that enters the sum, where a stage bounds it.
    pub norm_bound: Option<f64>,
    /// By how much one client can move the aggregate, in Euclidean norm: norm_bound · max_weight / denominator when a client
    /// comes or goes (Poisson cohorts), twice that when one is replaced (fixed cohorts). Known where `norm_bound` is and
    /// the rule is a sum.
    pub sensitivity: Option<f64>,
}

/// The same operations as [`super::normalize::Normalize`] without a header, on the aggregate.
pub trait Post: Plugin {
    /// POST_BEGIN, once a round on every instance that will run APPLY.
    fn begin(&mut self, _begin: &PostBegin) -> Result<()> {
        Ok(())
    }

    /// SCAN_PLAN: what to measure on the aggregate of `n` elements before its first APPLY.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none())
    }

    /// SCAN: one frame of the stage's own scan, see [`ScanPlan::own`].
    fn scan_frame(&mut self, _frame: ScanFrame<'_>) -> Result<()> {
        Err(Error::unsupported("this stage has no scan of its own"))
    }

    /// APPLY. Random numbers have round scope.
    fn apply(&mut self, piece: Piece<'_>) -> Result<()>;
}

/// The word of manifests.
pub const KIND: &str = "post";
pub const IS_STAGE: bool = true;
pub const DECIDES: bool = false;

/// The reply of POST_BEGIN carries the message itself under this name, so that SYNC brings it to the data-plane instances.
const POST: &str = "post";

pub fn call<T: Post>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    match operation {
        op::SCAN_PLAN => Some(scan_plan(message, |n, vector| plugin.scan(n, vector))),
        op::POST_BEGIN => Some(begin(plugin, message).map(|()| Map::new().with(POST, message.clone()))),
        op::SYNC => {
            let begun = message.map(POST).map_or(Ok(()), |post| begin(plugin, post));
            Some(begun.and_then(|()| plugin::call(plugin, operation, message)))
        }
        _ => None,
    }
}

fn begin<T: Post>(plugin: &mut T, message: &Map) -> Result<()> {
    plugin.begin(&PostBegin {
        round: required_u64(message, "round")?,
        accepted: required_u64(message, "accepted")?,
        cohort: required_u64(message, "cohort")?,
        num_clients: required_u64(message, "num_clients")?,
        expected_cohort: required_f64(message, "expected_cohort")?,
        poisson: message.str("sampling") == Some("poisson"),
        weight_sum: required_f64(message, "weight_sum")?,
        max_weight: required_f64(message, "max_weight")?,
        denominator: required_f64(message, "denominator")?,
        norm_bound: message.f64("norm_bound"),
        sensitivity: message.f64("sensitivity"),
    })
}

pub fn block<T: Post>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::SCAN => Some(scan_frame(block).and_then(|frame| plugin.scan_frame(frame))),
        op::APPLY => Some(piece("APPLY", block).and_then(|piece| plugin.apply(piece))),
        _ => None,
    }
}
