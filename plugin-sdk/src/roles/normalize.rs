//! Role normalize: a transform of a vector on the client, after training and before compression.

use super::{Plugin, require, required_u32, required_u64};
use crate::abi::op;
use crate::{Block, Error, Input, Map, Measures, Output, Result, ScanPlan};

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

/// One frame of a vector in a stage's own scan. Frames have 65,536 elements and come in index order.
#[derive(Debug)]
pub struct ScanFrame<'a> {
    pub offset: u64,
    pub vector: u32,
    pub values: &'a [f32],
    /// What the frames before this one gave; zeros before the first.
    pub before: &'a [f64],
    /// What the frames up to this one give; all of it must be written.
    pub after: &'a mut [f64],
}

pub trait Normalize: Plugin {
    /// SCAN_PLAN: what to measure on a vector of `n` elements before its first APPLY.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none())
    }

    /// SCAN: one frame of the stage's own scan, see [`ScanPlan::own`].
    fn scan_frame(&mut self, _frame: ScanFrame<'_>) -> Result<()> {
        Err(Error::unsupported("this stage has no scan of its own"))
    }

    /// APPLY. What is put into `header` travels with the piece to [`Normalize::undo`]; its capacity is the manifest's
    /// `max_header`, 0 where that is not given.
    fn apply(&mut self, piece: Piece<'_>, header: &mut Output<'_>) -> Result<()>;

    /// UNDO, on the server: the inverse of `apply` on a piece that compression may have changed. Asked only where the
    /// manifest gives `max_header`. `header` comes from the network, so check everything; there are no measures.
    fn undo(&mut self, _piece: Piece<'_>, _header: Input<'_>) -> Result<()> {
        Err(Error::unsupported("this stage cannot be undone"))
    }
}

/// The word of manifests.
pub const KIND: &str = "normalize";
pub const IS_STAGE: bool = true;
pub const DECIDES: bool = false;

pub fn call<T: Normalize>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    (operation == op::SCAN_PLAN).then(|| scan_plan(message, |n, vector| plugin.scan(n, vector)))
}

pub fn block<T: Normalize>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::SCAN => Some(scan_frame(block).and_then(|frame| plugin.scan_frame(frame))),
        op::APPLY => Some(piece("APPLY", block).and_then(|piece| plugin.apply(piece, &mut block.output))),
        op::UNDO => Some(piece("UNDO", block).and_then(|piece| plugin.undo(piece, Input::new(block.input)))),
        _ => None,
    }
}

pub(super) fn scan_plan(message: &Map, scan: impl FnOnce(u64, u32) -> Result<ScanPlan>) -> Result<Map> {
    Ok(scan(required_u64(message, "n")?, required_u32(message, "vector")?)?.encode())
}

pub(super) fn scan_frame<'a>(block: &mut Block<'a>) -> Result<ScanFrame<'a>> {
    let complete = block.rows.len() == 1 && block.table.len() == block.mix_out.len();
    require(complete, "SCAN", "exactly one row, and as many values in `table` as in `mix_out`")?;
    Ok(ScanFrame {
        offset: block.offset,
        vector: block.vector,
        values: block.rows[0],
        before: block.table,
        after: std::mem::take(&mut block.mix_out),
    })
}

pub(super) fn piece<'a>(operation: &str, block: &mut Block<'a>) -> Result<Piece<'a>> {
    let values = block.out.take();
    require(values.is_some(), operation, "`out`")?;
    Ok(Piece {
        offset: block.offset,
        vector: block.vector,
        unit: block.unit,
        values: values.unwrap_or_default(),
        measures: Measures(block.table),
    })
}
