//! Role normalize: a transform of a vector on the client, after training and before compression.

use super::{Plugin, require, required_u32, required_u64};
use crate::abi::op;
use crate::{Block, Map, Measures, Result, ScanPlan};

/// A frame, tensor or whole vector (the manifest's `unit`), transformed in place.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Index of the first element in its vector.
    pub offset: u64,
    /// 0 is the update.
    pub vector: u32,
    pub unit: u32,
    pub values: &'a mut [f32],
    /// What [`Normalize::scan`] asked for, measured on the whole vector.
    pub measures: Measures<'a>,
}

pub trait Normalize: Plugin {
    /// SCAN_PLAN: what to measure on a vector of `n` elements before its first APPLY.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none())
    }

    /// APPLY.
    fn apply(&mut self, piece: Piece<'_>) -> Result<()>;
}

pub const IS_STAGE: bool = true;

pub fn call<T: Normalize>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    (operation == op::SCAN_PLAN).then(|| scan_plan(message, |n, vector| plugin.scan(n, vector)))
}

pub fn block<T: Normalize>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::APPLY).then(|| plugin.apply(piece(block)?))
}

pub(super) fn scan_plan(message: &Map, scan: impl FnOnce(u64, u32) -> Result<ScanPlan>) -> Result<Map> {
    Ok(scan(required_u64(message, "n")?, required_u32(message, "vector")?)?.encode())
}

pub(super) fn piece<'a>(block: &mut Block<'a>) -> Result<Piece<'a>> {
    let values = block.out.take();
    require(values.is_some(), "APPLY", "`out`")?;
    Ok(Piece {
        offset: block.offset,
        vector: block.vector,
        unit: block.unit,
        values: values.unwrap_or_default(),
        measures: Measures(block.table),
    })
}
