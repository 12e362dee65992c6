//! Role compress upwards: the update becomes bytes on the client and a vector again on the server.
//!
//! Error feedback is the host's, for any compressor: what one upload loses is added to the client's next update, so the
//! sum of what was sent and of the residual telescopes to the sum of the updates (Seide et al., 2014; Karimireddy et
//! al., arXiv:1901.09847).

use super::{StageSpec, Upload, codec::Codec, slots::ClientSlots, stage::Sender};
use crate::{
    client::{ClientId, ClientStates},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::Map;

pub struct Compressor {
    codec: Codec,
    slots: ClientSlots,
    error_feedback: bool,
    /// What the last upload lost, with error feedback.
    residual: Option<Vec<f32>>,
}

impl Compressor {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut codec = Codec::new(spec, run_seed, layout)?;
        let slots = ClientSlots::new(spec, codec.encoder())?;
        Ok(Compressor { codec, slots, error_feedback: spec.plugin.error_feedback(), residual: None })
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.codec.sync(broadcasts)
    }

    /// Replaces the update by what the server decodes, and returns the bytes that travelled.
    pub fn transfer(&mut self, update: &mut [f32], upload: &Upload<'_>) -> Result<u64> {
        let (round, sender) = (upload.round, Sender::Client(upload.client));
        self.slots.load(upload.client, upload.received, upload.states);
        if !self.error_feedback {
            self.codec.encode(update, round, sender, &mut self.slots)?;
            self.codec.decode(update, round, sender)?;
            return Ok(self.codec.bytes());
        }
        let mut residual = upload.states.take_residual(upload.client, update.len());
        for (r, u) in residual.iter_mut().zip(update.iter()) {
            *r += u;
        }
        self.codec.encode(&residual, round, sender, &mut self.slots)?;
        self.codec.decode(update, round, sender)?;
        for (r, sent) in residual.iter_mut().zip(update.iter()) {
            *r -= sent;
        }
        self.residual = Some(residual);
        Ok(self.codec.bytes())
    }

    /// Keeps what belongs to the client whose upload was the last one, for its next round.
    pub fn keep(&mut self, client: ClientId, states: &ClientStates) {
        self.slots.keep(client, states);
        if let Some(residual) = self.residual.take() {
            states.keep_residual(client, residual);
        }
    }
}
