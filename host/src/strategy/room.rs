//! Room in an instance's memory for tables whose size changes from round to round.
//!
//! An instance never gives memory back, so a buffer is used again as long as it is large enough, and its successor is
//! a power of two. What it never does: keep values from one use to the next.

use crate::plugin::{Buffer, Instance, Span};
use anyhow::Result;

#[derive(Debug, Default)]
pub struct Room(Option<(Buffer, usize)>);

impl Room {
    /// A span of `len` elements of `size` bytes. Errors: the plugin's memory limit is reached.
    pub fn span(&mut self, instance: &mut dyn Instance, len: usize, size: usize) -> Result<Span> {
        let bytes = len.saturating_mul(size);
        let buffer = match self.0 {
            Some((buffer, capacity)) if capacity >= bytes => buffer,
            _ => {
                let capacity = bytes.next_power_of_two();
                let buffer = instance.alloc(capacity)?;
                self.0 = Some((buffer, capacity));
                buffer
            }
        };
        Ok(Span { buffer, start: 0, len })
    }

    /// A span with these values.
    pub fn doubles(&mut self, instance: &mut dyn Instance, values: &[f64]) -> Result<Span> {
        let span = self.span(instance, values.len(), 8)?;
        instance.doubles_mut(span).copy_from_slice(values);
        Ok(span)
    }
}
