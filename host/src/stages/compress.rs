//! Role compress upwards: the update becomes bytes on the client and a vector again on the server.
//!
//! Error feedback is the host's, for any compressor: what one upload loses is added to the client's next update, so the
//! sum of what was sent and of the residual telescopes to the sum of the updates (Seide et al., 2014; Karimireddy et
//! al., arXiv:1901.09847).

use super::{
    StageSpec, Upload,
    codec::Codec,
    slots::ClientSlots,
    stage::{Address, Sender, Stage},
};
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
    /// With error feedback, what the last upload lost of each vector.
    residuals: Vec<(u32, Vec<f32>)>,
}

impl Compressor {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let mut codec = Codec::new(spec, run_seed, layout)?;
        let slots = ClientSlots::new(spec, codec.encoder())?;
        Ok(Compressor { codec, slots, error_feedback: spec.plugin.error_feedback(), residuals: Vec::new() })
    }

    /// The side that gives the update.
    pub fn decoder(&self) -> &Stage {
        self.codec.decoder()
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.codec.sync(broadcasts)
    }

    /// Replaces a vector, 0 being the update, by what the server decodes, and returns the bytes that travelled.
    pub fn transfer(&mut self, vector: u32, values: &mut [f32], upload: &Upload<'_>) -> Result<u64> {
        let address = Address { round: upload.round, sender: Sender::Client(upload.client), vector };
        let mut none = ClientSlots::default();
        let slots = match vector {
            0 => &mut self.slots,
            // Client slots belong to the update.
            _ => &mut none,
        };
        slots.load(upload.client, upload.received, upload.states)?;
        if !self.error_feedback {
            self.codec.encode(values, address, slots)?;
            self.codec.decode(values, address)?;
            return Ok(self.codec.bytes());
        }
        let mut residual = upload.states.residual(vector, upload.client, values.len())?;
        for (r, u) in residual.iter_mut().zip(values.iter()) {
            *r += u;
        }
        self.codec.encode(&residual, address, slots)?;
        self.codec.decode(values, address)?;
        for (r, sent) in residual.iter_mut().zip(values.iter()) {
            *r -= sent;
        }
        self.residuals.push((vector, residual));
        Ok(self.codec.bytes())
    }

    /// Keeps what belongs to the client whose upload was the last one, for its next round.
    pub fn keep(&mut self, client: ClientId, states: &ClientStates) -> Result<()> {
        self.slots.keep(client, states)?;
        self.residuals.drain(..).try_for_each(|(vector, residual)| states.keep_residual(vector, client, residual))
    }
}
