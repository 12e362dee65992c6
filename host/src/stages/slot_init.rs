//! First values of a state slot, as the manifest declares them.
//!
//! Where in the flow: slots of clients, of compressors and of the server step begin with them.
//! What it never does: keep a slot.

use super::failure;
use crate::plugin::{InitialWeights, Plugin, PluginFailure, StateInit, StateSlot};
use colla_plugin_sdk::abi::op;
use std::sync::Arc;

/// First values of a slot.
#[derive(Clone, Debug)]
pub enum SlotInit {
    Value(f32),
    /// The weights before round 1.
    Initial(Arc<[f32]>),
    /// What the client receives when it first takes part.
    Received,
}

impl SlotInit {
    /// As the manifest declares it; `initial`: the weights before round 1.
    /// Errors: a parameter that is no finite number in single precision.
    pub fn new(plugin: &Plugin, slot: &StateSlot, initial: &Arc<[f32]>) -> Result<Self, PluginFailure> {
        let parameter = match &slot.init {
            StateInit::Value(value) => return Ok(SlotInit::Value(*value as f32)),
            StateInit::Weights(InitialWeights::InitialWeights) => return Ok(SlotInit::Initial(initial.clone())),
            StateInit::Weights(InitialWeights::ReceivedWeights) => return Ok(SlotInit::Received),
            StateInit::Parameter(name) => name,
        };
        let values = plugin.parameters();
        let value = values.f64(parameter).or_else(|| values.i64(parameter).map(|value| value as f64));
        match value {
            Some(value) if (value as f32).is_finite() => Ok(SlotInit::Value(value as f32)),
            value => {
                let text = format!(
                    "state `{}` starts at the parameter `{parameter}`, which is {value:?}; it must be a finite number in single precision",
                    slot.name
                );
                Err(failure(&plugin.manifest().name, op::LAYOUT, text))
            }
        }
    }

    /// `len` of them, which is the model's length where they are weights; `received`: what the client received.
    pub fn values(&self, len: usize, received: &[f32]) -> Vec<f32> {
        match self {
            SlotInit::Value(value) => vec![*value; len],
            SlotInit::Initial(weights) => weights.to_vec(),
            SlotInit::Received => received.to_vec(),
        }
    }
}
