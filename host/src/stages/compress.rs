//! Role compress upwards: the update becomes bytes on the client and a vector again on the server.
//!
//! Error feedback is the host's, for any compressor: what one upload loses is added to the client's next update, so the
//! sum of what was sent and of the residual telescopes to the sum of the updates (Seide et al., 2014; Karimireddy et
//! al., arXiv:1901.09847).

use super::{StageSpec, Upload, codec::Codec, slots::ClientSlots, stage::Sender};
use crate::train::Layout;
use anyhow::Result;
use colla_plugin_sdk::Map;

pub struct Compressor {
    codec: Codec,
    slots: ClientSlots,
    error_feedback: bool,
    /// With error feedback: what each vector of the last upload lost.
    residuals: Vec<(u32, Vec<f32>)>,
}

impl Compressor {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut codec = Codec::new(spec, run_seed, layout)?;
        let slots = ClientSlots::new(spec, codec.encoder())?;
        Ok(Compressor { codec, slots, error_feedback: spec.plugin.error_feedback(), residuals: Vec::new() })
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.codec.sync(broadcasts)
    }

    /// Replaces a vector, 0 being the update, by what the server decodes, and returns the bytes that travelled.
    pub fn transfer(&mut self, vector: u32, values: &mut [f32], upload: &Upload<'_>) -> Result<u64> {
        let (round, sender) = (upload.round, Sender::Client(upload.client));
        let mut none = ClientSlots::default();
        let slots = if vector == 0 { &mut self.slots } else { &mut none };
        slots.load(upload)?;
        if !self.error_feedback {
            self.codec.encode(vector, values, round, sender, slots)?;
            self.codec.decode(vector, values, round, sender)?;
            return Ok(self.codec.bytes());
        }
        let mut residual = upload.states.residual(vector, upload.client, values.len())?;
        for (r, u) in residual.iter_mut().zip(values.iter()) {
            *r += u;
        }
        self.codec.encode(vector, &residual, round, sender, slots)?;
        self.codec.decode(vector, values, round, sender)?;
        for (r, sent) in residual.iter_mut().zip(values.iter()) {
            *r -= sent;
        }
        self.residuals.push((vector, residual));
        Ok(self.codec.bytes())
    }

    /// Keeps what belongs to the client whose upload was the last one, for its next round.
    pub fn keep(&mut self, upload: &Upload<'_>) -> Result<()> {
        self.slots.keep(upload)?;
        for (vector, residual) in self.residuals.drain(..) {
            upload.states.keep_residual(vector, upload.client, residual)?;
        }
        Ok(())
    }
}
