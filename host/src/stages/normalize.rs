//! Role normalize: a transform of the update on the client, in place, and where it has a side header its undoing on the
//! server.
//!
//! Where in the flow: APPLY before compression, UNDO behind decompression. The header of each piece travels with the
//! update and is counted as it would be sent, its length included.
//! What it never does: let the server's side know more than what travelled.

use super::{
    StageSpec,
    stage::{Address, Stage},
};
use crate::{
    plugin::{Block, Span},
    train::Layout,
    wire::Message,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

pub struct Normalizer {
    stage: Stage,
    /// Only with a header.
    undo: Option<Undo>,
}

/// What a stage with a header has besides.
struct Undo {
    /// The server's side, an instance of its own.
    stage: Stage,
    /// Where APPLY writes the header of a piece, in the client's instance.
    written: Span,
    /// Where UNDO reads it, in the server's.
    read: Span,
    /// The headers of one update.
    message: Message,
}

impl Normalizer {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut stage = Stage::new(spec, run_seed, layout)?;
        let undo = match spec.plugin.manifest().max_header {
            0 => None,
            len => {
                let written = Span { buffer: stage.instance.alloc(len)?, start: 0, len };
                let mut stage = Stage::new(spec, run_seed, layout)?;
                let read = Span { buffer: stage.instance.alloc(len)?, start: 0, len };
                Some(Undo { stage, written, read, message: Message::default() })
            }
        };
        Ok(Normalizer { stage, undo })
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.stage.sync(broadcasts)?;
        self.undo.as_mut().map_or(Ok(()), |undo| undo.stage.sync(broadcasts))
    }

    /// Transforms the update and returns the bytes of its headers.
    pub fn apply(&mut self, update: &mut [f32], of: Address) -> Result<u64> {
        let stage = &mut self.stage;
        let mut scan = stage.begin(update, of)?;
        if let Some(undo) = &mut self.undo {
            undo.message.clear();
        }
        for unit in 0..stage.pieces.len() {
            let range = stage.pieces[unit].clone();
            let piece = &mut update[range.clone()];
            let (data, table) = stage.load(&mut scan, of.vector, piece);
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                table: Some(table),
                out: Some(data),
                output: self.undo.as_ref().map(|undo| undo.written),
                ..Block::default()
            };
            let done = stage.instance.block(op::APPLY, &block)?;
            if let Some(undo) = &mut self.undo {
                undo.message.push(&stage.instance.bytes(undo.written.buffer)[..done.output_len]);
            }
            stage.store(data, op::APPLY, piece)?;
        }
        Ok(self.undo.as_ref().map_or(0, |undo| undo.message.len() as u64))
    }

    /// Undoes on what the server decoded what the last [`Normalizer::apply`] did; nothing without a header.
    pub fn undo(&mut self, update: &mut [f32], of: Address) -> Result<()> {
        self.undo.as_mut().map_or(Ok(()), |undo| undo.run(update, of))
    }
}

impl Undo {
    fn run(&mut self, update: &mut [f32], of: Address) -> Result<()> {
        let stage = &mut self.stage;
        stage.key_streams(of);
        for (unit, header) in self.message.pieces().enumerate() {
            let range = stage.pieces[unit].clone();
            let piece = &mut update[range.clone()];
            let data = stage.put(piece);
            stage.instance.bytes_mut(self.read.buffer)[..header.len()].copy_from_slice(header);
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                input: Some(Span { len: header.len(), ..self.read }),
                out: Some(data),
                ..Block::default()
            };
            stage.instance.block(op::UNDO, &block)?;
            stage.store(data, op::UNDO, piece)?;
        }
        Ok(())
    }
}
