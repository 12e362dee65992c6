//! Role post: a transform of the aggregate on the server, e.g. a clip or noise.

use super::Plugin;
use super::normalize::{Piece, piece, scan_plan};
use crate::abi::op;
use crate::{Block, Map, Result, ScanPlan};

/// The same operations as [`super::normalize::Normalize`], on the aggregate.
pub trait Post: Plugin {
    /// SCAN_PLAN: what to measure on the aggregate of `n` elements before its first APPLY.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none())
    }

    /// APPLY.
    fn apply(&mut self, piece: Piece<'_>) -> Result<()>;
}

pub const IS_STAGE: bool = true;

pub fn call<T: Post>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    (operation == op::SCAN_PLAN).then(|| scan_plan(message, |n, vector| plugin.scan(n, vector)))
}

pub fn block<T: Post>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::APPLY).then(|| plugin.apply(piece(block)?))
}
