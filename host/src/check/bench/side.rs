//! One instance of the plugin and the buffers that every operation may need.
//!
//! Where in the flow: below the roles' files, which know what an operation means.
//! What it never does: know which plane it answers.

use super::{DOUBLES, RUN_SEED, cut_to, whole};
use crate::{
    plugin::{Block, Callbacks, Instance, Plugin, Span},
    stages::{failure, open_and_listen},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::Map;

pub struct Side {
    pub instance: Box<dyn Instance>,
    name: String,
    table: Span,
    weights: Span,
    mixing: Span,
    pub out: Span,
    bytes: Span,
}

impl Side {
    /// A new instance, and what it answered to LAYOUT. `payload`: elements that it will see at once; `bytes`: of a header or
    /// an encoded piece.
    pub fn open(plugin: &Plugin, layout: &Layout, payload: usize, bytes: usize) -> Result<(Self, Map)> {
        let (mut instance, reply) = open_and_listen(plugin, 0, RUN_SEED, payload, layout)?;
        let out = whole(instance.alloc(4 * layout.len())?, layout.len());
        let mut doubles = || -> Result<Span> { Ok(whole(instance.alloc(8 * DOUBLES)?, DOUBLES)) };
        let (table, weights, mixing) = (doubles()?, doubles()?, doubles()?);
        let bytes = whole(instance.alloc(bytes)?, bytes);
        let mut side = Side { instance, name: plugin.manifest().name.clone(), table, weights, mixing, out, bytes };
        side.key_streams(1);
        Ok((side, reply))
    }

    pub fn key_streams(&mut self, round: u64) {
        self.instance.set_callbacks(Callbacks { run_seed: RUN_SEED, position: 0, round, client: 3 });
    }

    /// A data operation that may not be skipped.
    pub fn must_do(&mut self, op: u32, block: &Block<'_>) -> Result<usize> {
        let done = self.instance.block(op, block)?;
        match done.skipped {
            true => Err(failure(&self.name, op, "skipped a range; it must write every value").into()),
            false => Ok(done.output_len),
        }
    }

    /// Puts numbers where a block's table is.
    pub fn put_table(&mut self, values: &[f64]) -> Span {
        self.put_doubles(self.table, values)
    }

    /// Puts numbers of examples where a block's weights are.
    pub fn put_weights(&mut self, values: &[f64]) -> Span {
        self.put_doubles(self.weights, values)
    }

    /// Room for `len` numbers that the plugin must write.
    pub fn blank_doubles(&mut self, len: usize) -> Span {
        let span = cut_to(self.mixing, len);
        self.instance.doubles_mut(span).fill(f64::NAN);
        span
    }

    /// Puts a piece where it is changed in place.
    pub fn put(&mut self, piece: &[f32]) -> Span {
        let span = cut_to(self.out, piece.len());
        self.instance.floats_mut(span).copy_from_slice(piece);
        span
    }

    /// Room for `len` values that the plugin must write.
    pub fn blank(&mut self, len: usize) -> Span {
        let span = cut_to(self.out, len);
        self.instance.floats_mut(span).fill(f32::NAN);
        span
    }

    /// Puts a header or an encoded piece where the plugin reads it; what is beyond the room is left out.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Span {
        let bytes = &bytes[..bytes.len().min(self.bytes.len)];
        self.instance.bytes_mut(self.bytes.buffer)[..bytes.len()].copy_from_slice(bytes);
        cut_to(self.bytes, bytes.len())
    }

    /// Room for so many bytes that the plugin may write.
    pub fn room(&self, bytes: usize) -> Span {
        cut_to(self.bytes, bytes)
    }

    fn put_doubles(&mut self, span: Span, values: &[f64]) -> Span {
        let span = cut_to(span, values.len());
        self.instance.doubles_mut(span).copy_from_slice(values);
        span
    }
}
