//! Role compress: a vector becomes bytes on one side of the network and a vector again on the other.

use super::normalize::{ScanFrame, scan_frame, scan_plan};
use super::{Plugin, require};
use crate::abi::op;
use crate::{Block, Error, Input, Map, Measures, Output, Result, ScanPlan};

/// A frame, tensor or whole vector to encode.
#[derive(Debug)]
pub struct Source<'a> {
    /// Index of the first element in its vector.
    pub offset: u64,
    /// 0 is the update.
    pub vector: u32,
    pub unit: u32,
    pub values: &'a [f32],
    /// What [`Compress::scan`] asked for, measured on the whole vector.
    pub measures: Measures<'a>,
    /// The manifest's client slots in its order, read and written: the encoding client's, of the piece's length or of the
    /// length that [`Plugin::layout`] gave. None for the downlink and for vectors other than the update.
    pub states: Vec<&'a mut [f32]>,
}

/// The place of a decoded piece. All of `values` must be written; they are not zero before.
#[derive(Debug)]
pub struct Target<'a> {
    pub offset: u64,
    pub vector: u32,
    pub unit: u32,
    pub values: &'a mut [f32],
}

/// Error feedback, the direction and lossless coding are the host's: a compressor only says what it loses.
pub trait Compress: Plugin {
    /// SCAN_PLAN: what to measure on a vector of `n` elements before its first ENCODE.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none())
    }

    /// SCAN: one frame of the stage's own scan, see [`ScanPlan::own`].
    fn scan_frame(&mut self, _frame: ScanFrame<'_>) -> Result<()> {
        Err(Error::unsupported("this stage has no scan of its own"))
    }

    /// ENCODE: at most the manifest's `max_encoded` bytes.
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()>;

    /// DECODE: exactly the bytes of one ENCODE, but from the network, so check everything.
    fn decode(&mut self, input: Input<'_>, target: Target<'_>) -> Result<()>;
}

/// The word of manifests.
pub const KIND: &str = "compress";
pub const IS_STAGE: bool = true;
pub const DECIDES: bool = false;

pub fn call<T: Compress>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    (operation == op::SCAN_PLAN).then(|| scan_plan(message, |n, vector| plugin.scan(n, vector)))
}

pub fn block<T: Compress>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::SCAN => Some(scan_frame(block).and_then(|frame| plugin.scan_frame(frame))),
        op::ENCODE => Some(encode(plugin, block)),
        op::DECODE => Some(decode(plugin, block)),
        _ => None,
    }
}

fn encode<T: Compress>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(block.rows.len() == 1, "ENCODE", "exactly one row")?;
    let source = Source {
        offset: block.offset,
        vector: block.vector,
        unit: block.unit,
        values: block.rows[0],
        measures: Measures(block.table),
        states: std::mem::take(&mut block.states),
    };
    plugin.encode(source, &mut block.output)
}

fn decode<T: Compress>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    let values = block.out.take();
    require(values.is_some(), "DECODE", "`out`")?;
    let target =
        Target { offset: block.offset, vector: block.vector, unit: block.unit, values: values.unwrap_or_default() };
    plugin.decode(Input::new(block.input), target)
}
