//! A stage's own scan: SCAN over a whole vector, frame by frame, before its first APPLY or ENCODE.
//!
//! Frames have 65,536 elements and come in index order, each with what the frames before it gave, so the values depend on
//! the vector alone: not on the stage's unit, and not on threads.
//! What it never does: know what the values mean.

use super::failure;
use crate::plugin::{Block, Instance, Span};
use anyhow::Result;
use colla_plugin_sdk::abi::{FRAME, op};

/// Buffers of one instance for its scan.
pub struct OwnScan {
    plugin: String,
    frame: Span,
    before: Span,
    after: Span,
}

impl OwnScan {
    /// For vectors of `len` elements and `values` numbers, at least one.
    pub fn new(instance: &mut dyn Instance, plugin: &str, values: usize, len: usize) -> Result<Self> {
        let frame = FRAME.min(len);
        let frame = Span { buffer: instance.alloc(4 * frame.max(1))?, start: 0, len: frame };
        let mut doubles =
            || -> Result<Span> { Ok(Span { buffer: instance.alloc(8 * values)?, start: 0, len: values }) };
        Ok(OwnScan { plugin: plugin.into(), frame, before: doubles()?, after: doubles()? })
    }

    /// What the last frame of a vector's values gave; zeros if it has none.
    /// Errors: a plugin failure, also when a frame is skipped or a value is not finite.
    pub fn run(&self, instance: &mut dyn Instance, vector: u32, values: &[f32]) -> Result<Vec<f64>> {
        let mut carried = vec![0.0; self.after.len];
        for (unit, frame) in values.chunks(FRAME).enumerate() {
            let data = Span { len: frame.len(), ..self.frame };
            instance.floats_mut(data).copy_from_slice(frame);
            instance.doubles_mut(self.before).copy_from_slice(&carried);
            // What is not written must not pass for a value.
            instance.doubles_mut(self.after).fill(f64::NAN);
            let block = Block {
                offset: (unit * FRAME) as u64,
                vector,
                unit: unit as u32,
                n: data.len,
                rows: &[data],
                table: Some(self.before),
                mix_out: Some(self.after),
                ..Block::default()
            };
            if instance.block(op::SCAN, &block)?.skipped {
                return Err(failure(&self.plugin, op::SCAN, "skipped a frame; it must write every value").into());
            }
            carried.copy_from_slice(instance.doubles(self.after));
            if let Some(at) = carried.iter().position(|value| !value.is_finite()) {
                let message =
                    format!("value {at} after frame {unit} is {}; a scan must give finite values", carried[at]);
                return Err(failure(&self.plugin, op::SCAN, message).into());
            }
        }
        Ok(carried)
    }
}
