//! A compressor's two sides: a vector becomes bytes on one, and a vector again on the other.
//!
//! Where in the flow: below `compress.rs` for uploads and `downlink.rs` for the weights.
//! What it never does: let the decoding side know more than the bytes that travelled.

use super::{
    StageSpec,
    slots::ClientSlots,
    stage::{Address, Stage, failure},
};
use crate::{
    plugin::{Block, MaxEncoded, Span},
    train::Layout,
    wire::Message,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

pub struct Codec {
    encoder: Stage,
    /// An instance of its own, so that a plugin that remembers what it encoded gains nothing.
    decoder: Stage,
    encoded: Span,
    received: Span,
    message: Message,
}

impl Codec {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut sides = [Stage::new(spec, run_seed, layout)?, Stage::new(spec, run_seed, layout)?];
        let capacity = capacity(spec.plugin.manifest().max_encoded, sides[0].data.len);
        let mut room = |side: usize| -> Result<Span> {
            Ok(Span { buffer: sides[side].instance.alloc(capacity)?, start: 0, len: capacity })
        };
        let (encoded, received) = (room(0)?, room(1)?);
        let [encoder, decoder] = sides;
        Ok(Codec { encoder, decoder, encoded, received, message: Message::default() })
    }

    pub fn name(&self) -> &str {
        &self.encoder.name
    }

    /// The side whose plugin sees client slots.
    pub fn encoder(&mut self) -> &mut Stage {
        &mut self.encoder
    }

    pub fn decoder(&self) -> &Stage {
        &self.decoder
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.encoder.sync(broadcasts)?;
        self.decoder.sync(broadcasts)
    }

    /// Bytes of the last encoded vector, lengths of its pieces included.
    pub fn bytes(&self) -> u64 {
        self.message.len() as u64
    }

    /// Makes a vector's values into the message. `slots`: those of the client that sends, loaded.
    pub fn encode(&mut self, values: &[f32], of: Address, slots: &mut ClientSlots) -> Result<()> {
        let stage = &mut self.encoder;
        let mut scan = stage.begin(values, of)?;
        self.message.clear();
        for unit in 0..stage.pieces.len() {
            let range = stage.pieces[unit].clone();
            let (data, table) = stage.load(&mut scan, of.vector, &values[range.clone()]);
            let block = Block {
                offset: range.start as u64,
                vector: of.vector,
                unit: unit as u32,
                n: data.len,
                rows: &[data],
                table: Some(table),
                states: slots.put(stage.instance.as_mut(), unit),
                output: Some(self.encoded),
                ..Block::default()
            };
            let done = stage.instance.block(op::ENCODE, &block)?;
            slots.take(stage.instance.as_ref(), &stage.name, unit)?;
            self.message.push(&stage.instance.bytes(self.encoded.buffer)[..done.output_len]);
        }
        Ok(())
    }

    /// Writes what the other side makes of the message.
    pub fn decode(&mut self, values: &mut [f32], of: Address) -> Result<()> {
        let stage = &mut self.decoder;
        stage.key_streams(of);
        for (unit, piece) in self.message.pieces().enumerate() {
            let range = stage.pieces[unit].clone();
            let data = Span { len: range.len(), ..stage.data };
            stage.instance.bytes_mut(self.received.buffer)[..piece.len()].copy_from_slice(piece);
            // What the last message left here must not shine through.
            stage.instance.floats_mut(data).fill(0.0);
            let block = Block {
                offset: range.start as u64,
                vector: of.vector,
                unit: unit as u32,
                n: data.len,
                input: Some(Span { len: piece.len(), ..self.received }),
                out: Some(data),
                ..Block::default()
            };
            let done = stage.instance.block(op::DECODE, &block)?;
            if done.skipped {
                return Err(failure(&stage.name, op::DECODE, "skipped a piece; it must write every value").into());
            }
            stage.store(data, op::DECODE, &mut values[range])?;
        }
        Ok(())
    }
}

/// Bytes for the encoded form of a piece of `n` elements, as the manifest promises.
pub fn capacity(max: Option<MaxEncoded>, n: usize) -> usize {
    let MaxEncoded { num, den, plus } = max.unwrap_or(MaxEncoded { num: 8, den: 1, plus: 64 });
    n.saturating_mul(num).div_ceil(den.max(1)).saturating_add(plus)
}
