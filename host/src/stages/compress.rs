//! Role compress: the update becomes bytes on the client and a vector again on the server.
//!
//! Error feedback is the host's, for any compressor: what one upload loses is added to the client's next update, so the
//! sum of what was sent and of the residual telescopes to the sum of the updates (Seide et al., 2014; Karimireddy et
//! al., arXiv:1901.09847).

use super::{
    StageSpec,
    stage::{Stage, failure},
};
use crate::{
    client::{ClientId, ClientStates},
    plugin::{Block, MaxEncoded, Span},
    train::Layout,
    wire::Message,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

pub struct Compressor {
    /// The client's side.
    encoder: Stage,
    /// The server's side, an instance of its own: it knows the bytes that travelled and nothing else.
    decoder: Stage,
    encoded: Span,
    received: Span,
    message: Message,
    error_feedback: bool,
}

impl Compressor {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut sides = [Stage::new(spec, run_seed, layout)?, Stage::new(spec, run_seed, layout)?];
        let capacity = capacity(spec.plugin.manifest().max_encoded, sides[0].data.len);
        let mut room = |side: usize| -> Result<Span> {
            Ok(Span { buffer: sides[side].instance.alloc(capacity)?, start: 0, len: capacity })
        };
        let (encoded, received) = (room(0)?, room(1)?);
        let [encoder, decoder] = sides;
        Ok(Compressor {
            encoder,
            decoder,
            encoded,
            received,
            message: Message::default(),
            error_feedback: spec.plugin.error_feedback(),
        })
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.encoder.sync(broadcasts)?;
        self.decoder.sync(broadcasts)
    }

    /// Replaces a vector, 0 being the update, by what the server decodes, and returns the bytes that travelled.
    pub fn transfer(
        &mut self,
        vector: u32,
        update: &mut [f32],
        round: u64,
        client: ClientId,
        states: &ClientStates,
    ) -> Result<u64> {
        if !self.error_feedback {
            self.encode(vector, update, round, client)?;
            self.decode(vector, update, round, client)?;
            return Ok(self.message.len() as u64);
        }
        let mut residual = states.residual(vector, client, update.len())?;
        for (r, u) in residual.iter_mut().zip(update.iter()) {
            *r += u;
        }
        self.encode(vector, &residual, round, client)?;
        self.decode(vector, update, round, client)?;
        for (r, sent) in residual.iter_mut().zip(update.iter()) {
            *r -= sent;
        }
        states.keep_residual(vector, client, residual)?;
        Ok(self.message.len() as u64)
    }

    fn encode(&mut self, vector: u32, values: &[f32], round: u64, client: ClientId) -> Result<()> {
        let stage = &mut self.encoder;
        let mut scan = stage.begin(values, round, client);
        self.message.clear();
        for unit in 0..stage.pieces.len() {
            let range = stage.pieces[unit].clone();
            let (data, table) = stage.load(&mut scan, &values[range.clone()]);
            let block = Block {
                offset: range.start as u64,
                vector,
                unit: unit as u32,
                n: data.len,
                rows: &[data],
                table: Some(table),
                output: Some(self.encoded),
                ..Block::default()
            };
            let done = stage.instance.block(op::ENCODE, &block)?;
            self.message.push(&stage.instance.bytes(self.encoded.buffer)[..done.output_len]);
        }
        Ok(())
    }

    fn decode(&mut self, vector: u32, values: &mut [f32], round: u64, client: ClientId) -> Result<()> {
        let stage = &mut self.decoder;
        stage.key_streams(round, client);
        for (unit, piece) in self.message.pieces().enumerate() {
            let range = stage.pieces[unit].clone();
            let data = Span { len: range.len(), ..stage.data };
            stage.instance.bytes_mut(self.received.buffer)[..piece.len()].copy_from_slice(piece);
            // What the last upload left here must not shine through.
            stage.instance.floats_mut(data).fill(0.0);
            let block = Block {
                offset: range.start as u64,
                vector,
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
