//! Role server-step: the aggregate update becomes new weights.
//!
//! Without a plugin: w ← w + server-learning-rate · Δ. With one: STEP over frames of 65,536 elements, with the state
//! slots (momentum, moments) that the manifest declares; the host owns them, so that checkpoints need no help.

use super::{
    Member, Roster,
    aggregate::Aggregated,
    facts::{ClientRow, RoundFacts},
    vectors::VectorSum,
};
use crate::{
    error::{Fault, Kind},
    finite::first_not_finite,
    plugin::{Block, Instance, Role, Span, StateScope},
    stages::{SlotInit, failure, norm2, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::{FRAME, op};
use std::sync::Arc;

pub enum ServerStep {
    Plain { learning_rate: f32 },
    Plugin(Box<PluginStep>),
}

/// A server step done by a plugin.
pub struct PluginStep {
    /// Position in the roster.
    index: usize,
    name: String,
    instance: Box<dyn Instance>,
    base: Span,
    aggregate: Span,
    out: Span,
    /// For the raw sum of each of the plugin's own vectors.
    sums: Vec<Span>,
    spans: Vec<Span>,
    /// One vector of P values for each server slot.
    states: Vec<Vec<f32>>,
    /// Which of them travel down with the weights.
    broadcast: Vec<usize>,
}

impl ServerStep {
    /// `initial`: the weights before round 1.
    /// Errors: a plugin takes the step although `server-learning-rate` is set as well.
    pub fn new(
        roster: &Roster,
        run_seed: u64,
        learning_rate: f64,
        layout: &Layout,
        initial: &Arc<[f32]>,
    ) -> Result<Self> {
        let Some(index) = roster.position_of(Role::ServerStep) else {
            return Ok(ServerStep::Plain { learning_rate: learning_rate as f32 });
        };
        let member = &roster.members[index];
        if learning_rate != 1.0 {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "config `federation.server-learning-rate = {learning_rate}` — `{}` takes the server step; set the plugin's own parameter instead",
                    member.name()
                ),
            ));
        }
        PluginStep::new(roster, index, run_seed, layout, initial).map(|step| ServerStep::Plugin(Box::new(step)))
    }

    /// The slots that every client of a cohort receives with the weights, P values each, in the manifest's order.
    pub fn broadcast(&self) -> Vec<&[f32]> {
        match self {
            ServerStep::Plain { .. } => Vec::new(),
            ServerStep::Plugin(step) => step.broadcast.iter().map(|&slot| step.states[slot].as_slice()).collect(),
        }
    }

    /// New weights, P values. `vectors`: sums of the plugin's own vectors. Errors: a plugin failure, also when a new weight is not finite.
    pub fn apply(
        &mut self,
        roster: &mut Roster,
        weights: &[f32],
        aggregated: &Aggregated,
        vectors: &[VectorSum],
        facts: &RoundFacts,
        accepted: usize,
    ) -> Result<Vec<f32>> {
        match self {
            ServerStep::Plain { learning_rate } => plain(weights, &aggregated.update, *learning_rate),
            ServerStep::Plugin(step) => {
                step.apply(&mut roster.members[step.index], weights, aggregated, vectors, facts, accepted)
            }
        }
    }
}

fn plain(weights: &[f32], aggregate: &[f32], learning_rate: f32) -> Result<Vec<f32>> {
    let new: Vec<f32> = weights.iter().zip(aggregate).map(|(w, d)| w + learning_rate * d).collect();
    match first_not_finite(&new) {
        None => Ok(new),
        Some(index) => Err(Fault::new(
            Kind::Diverged,
            format!(
                "the server step — new weight {index} is {} with `federation.server-learning-rate = {learning_rate}`; lower it",
                new[index]
            ),
        )),
    }
}

impl PluginStep {
    fn new(roster: &Roster, index: usize, run_seed: u64, layout: &Layout, initial: &Arc<[f32]>) -> Result<Self> {
        let member = &roster.members[index];
        let manifest = member.plugin.manifest();
        let frame = FRAME.min(layout.len());
        let slots: Vec<_> = manifest.state.iter().filter(|slot| slot.scope == StateScope::Server).collect();
        let payload = frame * (3 + slots.len() + manifest.vectors.len());
        let mut instance = open(&member.plugin, member.position(), run_seed, payload, layout)?;
        let mut span = || -> Result<Span> { Ok(Span { buffer: instance.alloc(4 * frame)?, start: 0, len: frame }) };
        let (base, aggregate, out) = (span()?, span()?, span()?);
        let sums = manifest.vectors.iter().map(|_| span()).collect::<Result<_>>()?;
        let spans = slots.iter().map(|_| span()).collect::<Result<_>>()?;
        let start = |slot| SlotInit::new(&member.plugin, slot, initial).map(|init| init.values(initial.len(), initial));
        let states = slots.iter().map(|slot| start(slot)).collect::<Result<_, _>>()?;
        let broadcast = (0..slots.len()).filter(|&slot| slots[slot].broadcast).collect();
        let name = manifest.name.clone();
        Ok(PluginStep { index, name, instance, base, aggregate, out, sums, spans, states, broadcast })
    }

    fn apply(
        &mut self,
        member: &mut Member,
        weights: &[f32],
        aggregated: &Aggregated,
        vectors: &[VectorSum],
        facts: &RoundFacts,
        accepted: usize,
    ) -> Result<Vec<f32>> {
        let aggregate = aggregated.update.as_slice();
        let mut message = facts
            .message()
            .with("accepted", accepted as i64)
            .with("weight_sum", aggregated.weight_sum)
            .with("denominator", aggregated.denominator)
            .with("aggregate_norm2", norm2(aggregate))
            .with("vector_weight_sums", vectors.iter().map(|vector| vector.weight_sum).collect::<Vec<f64>>());
        if !member.plugin.manifest().needs.is_empty() {
            message = ClientRow::tell(message, &aggregated.clients, &aggregated.weights);
        }
        // The control instance answers the control plane; its reply makes the data-plane instance ready.
        member.control.set_callbacks(member.callbacks(facts.round, None));
        let begun = member.control.call(op::STEP_BEGIN, &message)?;
        member.open_round(self.instance.as_mut(), facts.round)?;
        self.instance.call(op::SYNC, &begun)?;
        let mut new = vec![0.0; weights.len()];
        for (unit, out) in new.chunks_mut(FRAME).enumerate() {
            let start = unit * FRAME;
            self.frame(start, weights, aggregate, vectors, out)?;
        }
        match first_not_finite(&new) {
            None => Ok(new),
            Some(index) => {
                let message = format!("new weight {index} is {}; weights must be finite", new[index]);
                Err(failure(&self.name, op::STEP, message).into())
            }
        }
    }

    /// The step on the elements from `start` on, as many as `out` has.
    fn frame(
        &mut self,
        start: usize,
        weights: &[f32],
        aggregate: &[f32],
        vectors: &[VectorSum],
        out: &mut [f32],
    ) -> Result<()> {
        let n = out.len();
        let cut = |span: Span| Span { len: n, ..span };
        let instance = self.instance.as_mut();
        let mut put = |span: Span, values: &[f32]| {
            instance.floats_mut(span).copy_from_slice(&values[start..start + n]);
        };
        let rows: Vec<Span> = [self.aggregate].iter().chain(&self.sums).map(|&span| cut(span)).collect();
        let states: Vec<Span> = self.spans.iter().map(|&span| cut(span)).collect();
        put(cut(self.base), weights);
        let sums = vectors.iter().map(|vector| vector.sum.as_slice());
        rows.iter().zip([aggregate].into_iter().chain(sums)).for_each(|(&span, row)| put(span, row));
        states.iter().zip(&self.states).for_each(|(&span, state)| put(span, state));
        // So that a weight that the plugin leaves out is named, not taken from the frame before.
        instance.floats_mut(cut(self.out)).fill(f32::NAN);
        let block = Block {
            offset: start as u64,
            unit: (start / FRAME) as u32,
            n,
            rows: &rows,
            base: Some(cut(self.base)),
            states: &states,
            out: Some(cut(self.out)),
            ..Block::default()
        };
        if instance.block(op::STEP, &block)?.skipped {
            return Err(failure(&self.name, op::STEP, "skipped a frame; it must write every weight").into());
        }
        out.copy_from_slice(instance.floats(cut(self.out)));
        for (span, state) in states.iter().zip(&mut self.states) {
            state[start..start + n].copy_from_slice(instance.floats(*span));
        }
        match self.states.iter().position(|s| first_not_finite(&s[start..start + n]).is_some()) {
            None => Ok(()),
            Some(slot) => Err(failure(&self.name, op::STEP, format!("state slot {slot} is no longer finite")).into()),
        }
    }
}
