//! Role server-step: how the aggregate moves the weights.

use super::{Plugin, plugin, require, required_f64, required_u64};
use crate::abi::op;
use crate::{Block, Cohort, Error, Map, Result};
use std::array::from_fn;

/// What is known before the weights move.
#[derive(Clone, Debug, PartialEq)]
pub struct StepBegin<'a> {
    /// Counted from 1.
    pub round: u64,
    /// Clients whose updates are in the aggregate.
    pub accepted: u64,
    /// Clients that were asked to train.
    pub cohort: u64,
    /// Clients in the federation, N.
    pub num_clients: u64,
    /// Clients in a cohort on average: qN for Poisson cohorts.
    pub expected_cohort: f64,
    /// Σ aₖ.
    pub weight_sum: f64,
    /// What the weighted sum was divided by; 1 for rules that are no sums.
    pub denominator: f64,
    /// The aggregate's Euclidean norm.
    pub aggregate_norm2: f64,
    /// Σ of the weights of each of the plugin's own vectors, in the manifest's order.
    pub vector_weight_sums: &'a [f64],
    /// The accepted clients, where the manifest has `needs`; else no clients.
    pub clients: Cohort<'a>,
    /// Their weights aₖ.
    pub weights: &'a [f64],
}

/// A range of the model. All slices are equally long.
#[derive(Debug)]
pub struct Step<'a> {
    /// Index of the first element.
    pub offset: u64,
    /// w, before the step.
    pub weights: &'a [f32],
    /// Δ, the aggregate update.
    pub update: &'a [f32],
    /// Raw sums Σ aₖ·vₖ of the plugin's own vectors, in the manifest's order.
    pub sums: &'a [&'a [f32]],
    /// The manifest's server slots, in its order; read and written.
    pub states: Vec<&'a mut [f32]>,
    /// w, after the step.
    pub new_weights: &'a mut [f32],
}

/// Elements that [`Step::map`] treats at once: two AVX-512 or eight 128-bit registers' worth hides the latency of a division.
const LANES: usize = 32;

impl Step<'_> {
    /// The step of an elementwise rule: `f(w, Δ, states) = (new w, new states)`, for each element.
    ///
    /// Errors: `E_ARG` if the host gave another number of states than `N`.
    pub fn map<const N: usize>(self, f: impl Fn(f32, f32, [f32; N]) -> (f32, [f32; N])) -> Result<()> {
        let given = self.states.len();
        let mut states: [&mut [f32]; N] = self
            .states
            .try_into()
            .map_err(|_| Error::argument(format!("the step needs {N} state slots, the host gave {given}")))?;
        for (block, out) in self.new_weights.chunks_mut(LANES).enumerate() {
            let range = block * LANES..block * LANES + out.len();
            // Local arrays, since a compiler that cannot see that the slices are disjoint would not vectorise.
            let (w, update) = (lanes(&self.weights[range.clone()]), lanes(&self.update[range.clone()]));
            let mut state: [[f32; LANES]; N] = from_fn(|slot| lanes(&states[slot][range.clone()]));
            let mut new = [0.0; LANES];
            for i in 0..LANES {
                let (value, kept) = f(w[i], update[i], from_fn(|slot| state[slot][i]));
                new[i] = value;
                (0..N).for_each(|slot| state[slot][i] = kept[slot]);
            }
            out.copy_from_slice(&new[..out.len()]);
            (0..N).for_each(|slot| states[slot][range.clone()].copy_from_slice(&state[slot][..out.len()]));
        }
        Ok(())
    }
}

/// The values, with zeros after them in the last, incomplete block.
#[inline]
fn lanes(values: &[f32]) -> [f32; LANES] {
    match values.as_array() {
        Some(whole) => *whole,
        None => from_fn(|i| values.get(i).copied().unwrap_or(0.0)),
    }
}

pub trait ServerStep: Plugin {
    /// STEP_BEGIN, once a round on every instance that will run STEP.
    fn begin(&mut self, _step: &StepBegin<'_>) -> Result<()> {
        Ok(())
    }

    /// STEP: must give the same values however the model is cut into ranges.
    fn step(&mut self, step: Step<'_>) -> Result<()>;
}

/// The word of manifests.
pub const KIND: &str = "server-step";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = false;

/// The reply of STEP_BEGIN carries the message itself under this name, so that SYNC brings it to the data-plane instances.
const STEP: &str = "step";

pub fn call<T: ServerStep>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    match operation {
        op::STEP_BEGIN => Some(begin(plugin, message).map(|()| Map::new().with(STEP, message.clone()))),
        op::SYNC => {
            let begun = message.map(STEP).map_or(Ok(()), |step| begin(plugin, step));
            Some(begun.and_then(|()| plugin::call(plugin, operation, message)))
        }
        _ => None,
    }
}

fn begin<T: ServerStep>(plugin: &mut T, message: &Map) -> Result<()> {
    plugin.begin(&StepBegin {
        round: required_u64(message, "round")?,
        accepted: required_u64(message, "accepted")?,
        cohort: required_u64(message, "cohort")?,
        num_clients: required_u64(message, "num_clients")?,
        expected_cohort: required_f64(message, "expected_cohort")?,
        weight_sum: required_f64(message, "weight_sum")?,
        denominator: required_f64(message, "denominator")?,
        aggregate_norm2: required_f64(message, "aggregate_norm2")?,
        vector_weight_sums: message.f64s("vector_weight_sums").unwrap_or_default(),
        clients: Cohort::of_message(message)?,
        weights: message.f64s("weights").unwrap_or_default(),
    })
}

pub fn block<T: ServerStep>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::STEP).then(|| step(plugin, block))
}

fn step<T: ServerStep>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    let (weights, new_weights) = (block.base.take(), block.out.take());
    let complete = weights.is_some() && new_weights.is_some() && !block.rows.is_empty();
    require(complete, "STEP", "`base`, `out` and at least one row")?;
    plugin.step(Step {
        offset: block.offset,
        weights: weights.unwrap_or_default(),
        update: block.rows[0],
        sums: &block.rows[1..],
        states: std::mem::take(&mut block.states),
        new_weights: new_weights.unwrap_or_default(),
    })
}
