//! Role server-step: the aggregate update becomes new weights.
//!
//! Without a plugin: w ← w + server-learning-rate · Δ. With one: STEP over frames of 65,536 elements, with the state
//! slots (momentum, moments) that the manifest declares; the host owns them, so that checkpoints need no help.

use super::{
    Member, Roster,
    aggregate::Aggregated,
    facts::{ClientRow, RoundFacts},
};
use crate::{
    error::{Fault, Kind},
    plugin::{Block, Instance, Role, Span, StateInit, StateScope},
    stages::{failure, norm2, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::{FRAME, op};

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
    spans: Vec<Span>,
    /// One vector of P values for each state slot.
    states: Vec<Vec<f32>>,
}

impl ServerStep {
    /// Errors: a plugin takes the step although `server-learning-rate` is set as well.
    pub fn new(roster: &Roster, run_seed: u64, learning_rate: f64, layout: &Layout) -> Result<Self> {
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
        PluginStep::new(roster, index, run_seed, layout).map(|step| ServerStep::Plugin(Box::new(step)))
    }

    /// New weights, P values. Errors: a plugin failure, also when a new weight is not finite.
    pub fn apply(
        &mut self,
        roster: &mut Roster,
        weights: &[f32],
        aggregated: &Aggregated,
        facts: &RoundFacts,
        accepted: usize,
    ) -> Result<Vec<f32>> {
        match self {
            ServerStep::Plain { learning_rate } => plain(weights, &aggregated.update, *learning_rate),
            ServerStep::Plugin(step) => {
                step.apply(&mut roster.members[step.index], weights, aggregated, facts, accepted)
            }
        }
    }
}

fn plain(weights: &[f32], aggregate: &[f32], learning_rate: f32) -> Result<Vec<f32>> {
    let new: Vec<f32> = weights.iter().zip(aggregate).map(|(w, d)| w + learning_rate * d).collect();
    match new.iter().position(|w| !w.is_finite()) {
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
    fn new(roster: &Roster, index: usize, run_seed: u64, layout: &Layout) -> Result<Self> {
        let member = &roster.members[index];
        let manifest = member.plugin.manifest();
        let frame = FRAME.min(layout.len());
        let mut instance = open(&member.plugin, member.position(), run_seed, frame, layout)?;
        let mut span = || -> Result<Span> { Ok(Span { buffer: instance.alloc(4 * frame)?, start: 0, len: frame }) };
        let (base, aggregate, out) = (span()?, span()?, span()?);
        let (mut spans, mut states) = (Vec::new(), Vec::new());
        for slot in manifest.state.iter().filter(|slot| slot.scope == StateScope::Server) {
            let init = match &slot.init {
                StateInit::Value(value) => *value,
                StateInit::Weights(_) => {
                    let text = format!("state `{}` starts at the weights, which this host does not do yet", slot.name);
                    return Err(failure(&manifest.name, op::LAYOUT, text).into());
                }
                StateInit::Parameter(name) => member.plugin.parameters().f64(name).ok_or_else(|| {
                    let text = format!("state `{}` starts at the parameter `{name}`, which is not a number", slot.name);
                    failure(&manifest.name, op::LAYOUT, text)
                })?,
            };
            spans.push(span()?);
            states.push(vec![init as f32; layout.len()]);
        }
        Ok(PluginStep { index, name: manifest.name.clone(), instance, base, aggregate, out, spans, states })
    }

    fn apply(
        &mut self,
        member: &mut Member,
        weights: &[f32],
        aggregated: &Aggregated,
        facts: &RoundFacts,
        accepted: usize,
    ) -> Result<Vec<f32>> {
        let aggregate = aggregated.update.as_slice();
        let mut message = facts
            .message()
            .with("accepted", accepted as i64)
            .with("weight_sum", aggregated.weight_sum)
            .with("denominator", aggregated.denominator)
            .with("aggregate_norm2", norm2(aggregate));
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
            self.frame(start, &weights[start..][..out.len()], &aggregate[start..][..out.len()], out)?;
        }
        match new.iter().position(|w| !w.is_finite()) {
            None => Ok(new),
            Some(index) => {
                let message = format!("new weight {index} is {}; weights must be finite", new[index]);
                Err(failure(&self.name, op::STEP, message).into())
            }
        }
    }

    fn frame(&mut self, start: usize, weights: &[f32], aggregate: &[f32], out: &mut [f32]) -> Result<()> {
        let n = out.len();
        let cut = |span: Span| Span { len: n, ..span };
        let instance = self.instance.as_mut();
        instance.floats_mut(cut(self.base)).copy_from_slice(weights);
        instance.floats_mut(cut(self.aggregate)).copy_from_slice(aggregate);
        let states: Vec<Span> = self.spans.iter().map(|&s| cut(s)).collect();
        for (span, state) in states.iter().zip(&self.states) {
            instance.floats_mut(*span).copy_from_slice(&state[start..start + n]);
        }
        let block = Block {
            offset: start as u64,
            unit: (start / FRAME) as u32,
            n,
            rows: &[cut(self.aggregate)],
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
        match self.states.iter().position(|s| s[start..start + n].iter().any(|x| !x.is_finite())) {
            None => Ok(()),
            Some(slot) => Err(failure(&self.name, op::STEP, format!("state slot {slot} is no longer finite")).into()),
        }
    }
}
