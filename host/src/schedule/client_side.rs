//! What an agent does for client plugins besides the terms of the uploaded phase: tensors that stay the client's own,
//! personal phases, CLIENT_END, and the transfer and the sums of the plugins' own vectors.
//!
//! Where in the flow: around local training, up to the fold of the update. Buffers live as long as the agent, values as
//! long as one client. What it never does: keep a slot; the agent commits them once nothing can fail any more.

use super::{AgentSpec, ClientTask, RoundJob};
use crate::{
    error::{Fault, Kind},
    stages::{Stages, Upload},
    strategy::{
        client_end::{ClientEnd, Ended},
        client_slots::{ClientSlot, OpenSlots},
        grid::GridSum,
        local::SlotRef,
    },
    train::{Layout, LocalReport, LocalTask, TensorSet, Term, Trainer},
    wire,
};
use anyhow::Result;
use std::borrow::Cow;

pub struct ClientSide {
    ends: Vec<ClientEnd>,
    /// Where the uploaded phase ended, P values; empty where no plugin is asked for CLIENT_END.
    local: Vec<f32>,
    /// The own vectors of this client, P values each. Only one plugin of a run has any.
    vectors: Vec<OwnVector>,
}

struct OwnVector {
    compressible: bool,
    values: Vec<f32>,
    /// This round's partial sum, once there is one.
    sum: Option<GridSum>,
}

impl ClientSide {
    pub fn new(spec: &AgentSpec, layout: &Layout) -> Result<Self> {
        let plugins = &spec.client_plugins.plugins;
        let ends = plugins.iter().map(|plugin| ClientEnd::new(plugin, spec.run_seed, layout));
        let vectors = plugins.iter().flat_map(|plugin| &plugin.plugin.manifest().vectors);
        let vector = |compressible| OwnVector { compressible, values: vec![0.0; layout.len()], sum: None };
        Ok(ClientSide {
            ends: ends.filter_map(Result::transpose).collect::<Result<_>>()?,
            local: Vec::new(),
            vectors: vectors.map(|declared| vector(declared.compressible)).collect(),
        })
    }

    pub fn begin_round(&mut self, job: &RoundJob<'_>) -> Result<()> {
        self.ends.iter_mut().try_for_each(|end| end.sync(job.broadcasts))
    }

    /// Remembers where the uploaded phase ended, if anybody will ask.
    pub fn trained(&mut self, local: &[f32]) {
        if !self.ends.is_empty() {
            self.local.clear();
            self.local.extend_from_slice(local);
        }
    }

    /// Trains the personal models, each from the slot that it ends in. `base`: the client's uploaded phase.
    /// Errors: `Kind::Diverged` for a model that is no longer finite.
    pub fn train_personal(
        &self,
        trainer: &mut dyn Trainer,
        spec: &AgentSpec,
        base: &LocalTask<'_>,
        job: &RoundJob<'_>,
        task: &ClientTask<'_>,
        slots: &mut OpenSlots,
    ) -> Result<()> {
        for phase in &task.personal {
            let terms = resolve(&phase.terms, slots, job);
            // The phase starts elsewhere, so that what it has received must be named.
            let terms: Vec<Term<&[f32]>> = terms.into_iter().map(|term| to_received(term, job.weights)).collect();
            let mut order = base.order;
            (order.phase, order.steps_before) = (phase.stream, None);
            let start = slots.now(phase.slot);
            let personal = LocalTask { start, steps: phase.steps, terms: &terms, order, ..base.clone() };
            let mut trained = vec![0.0; start.len()];
            trainer.train(&personal, &mut trained)?;
            keep(spec.client_plugins.slot(phase.slot), trained, slots)?;
        }
        Ok(())
    }

    /// Lets every plugin that has slots or vectors end the client's round. `report`: of the uploaded phase.
    pub fn end(
        &mut self,
        job: &RoundJob<'_>,
        task: &ClientTask<'_>,
        report: LocalReport,
        bound: f32,
        slots: &mut OpenSlots,
    ) -> Result<()> {
        let ClientSide { ends, local, vectors } = self;
        let ended = Ended {
            round: job.round,
            client: task.client,
            num_examples: task.rows.len(),
            report,
            local,
            received: job.weights,
            broadcast: job.broadcast_slots,
        };
        for end in ends {
            let mut own: Vec<&mut [f32]> = match end.num_vectors() {
                0 => Vec::new(),
                _ => vectors.iter_mut().map(|vector| vector.values.as_mut_slice()).collect(),
            };
            end.end(&ended, bound, slots, &mut own)?;
        }
        Ok(())
    }

    /// Turns the vectors into what the server receives and returns the bytes that travelled.
    /// Errors: those of the compressor; `Kind::Diverged` for a value beyond `bound` behind it.
    pub fn transfer(&mut self, stages: &mut Stages, upload: &Upload<'_>, bound: f32) -> Result<u64> {
        let mut bytes = 0;
        for (vector, own) in (1..).zip(&mut self.vectors) {
            bytes += match own.compressible {
                true => stages.transfer_vector(vector, &mut own.values, upload)?,
                false => wire::plain_bytes(own.values.len()),
            };
            if let Some(value) = own.values.iter().find(|x| x.abs() > bound) {
                return Err(Fault::new(
                    Kind::Diverged,
                    format!(
                        "vector {vector} diverged — after the stages, an element is {value}, beyond `federation.update-bound = {bound}`; raise the bound"
                    ),
                ));
            }
        }
        Ok(bytes)
    }

    /// Adds the vectors, with the weights that their plugin gave this client, to the round's sums.
    pub fn fold(&mut self, job: &RoundJob<'_>, task: &ClientTask<'_>) {
        for ((own, &grid), &weight) in self.vectors.iter_mut().zip(job.vector_grids).zip(&task.vector_weights) {
            let sum = own.sum.get_or_insert_with(|| GridSum::new(grid, own.values.len()));
            sum.fold(weight, &own.values);
        }
    }

    /// This agent's partial sums of the round, a place for each vector.
    pub fn take_sums(&mut self) -> Vec<Option<GridSum>> {
        self.vectors.iter_mut().map(|vector| vector.sum.take()).collect()
    }
}

/// Puts what training made of a client's own values into their slot. Errors: `Kind::Diverged` if it is no longer finite.
fn keep(slot: &ClientSlot, trained: Vec<f32>, slots: &mut OpenSlots) -> Result<()> {
    if let Some(value) = trained.iter().find(|x| !x.is_finite()) {
        let name = &slot.name;
        return Err(Fault::new(
            Kind::Diverged,
            format!(
                "the personal model diverged — after training, an element of the slot `{name}` is {value}; lower `train.learning-rate`"
            ),
        ));
    }
    slots.set(slot.id, trained);
    Ok(())
}

/// The tensors that stay the client's own, with their slot; `None` where all are common.
pub fn own_tensors<'s>(spec: &'s AgentSpec, task: &ClientTask<'_>) -> Option<(&'s ClientSlot, &'s TensorSet)> {
    let slot = spec.client_plugins.slot(task.own_tensors?);
    Some((slot, slot.tensors()?))
}

/// What the uploaded phase starts from: the received weights, with the client's own tensors in their place.
pub fn start<'a>(spec: &AgentSpec, job: &RoundJob<'a>, task: &ClientTask<'_>, slots: &OpenSlots) -> Cow<'a, [f32]> {
    match own_tensors(spec, task) {
        None => Cow::Borrowed(job.weights),
        Some((slot, _)) => Cow::Owned(slot.model(slots.begun(slot.id).to_vec(), job.weights)),
    }
}

/// Keeps what training made of the client's own tensors, and leaves the received ones in `local`, the local weights: for
/// all that follows they are as they came, so nothing of them is uploaded.
pub fn keep_own_tensors(
    spec: &AgentSpec,
    job: &RoundJob<'_>,
    task: &ClientTask<'_>,
    local: &mut [f32],
    slots: &mut OpenSlots,
) -> Result<()> {
    let Some((slot, tensors)) = own_tensors(spec, task) else { return Ok(()) };
    keep(slot, tensors.take(local), slots)?;
    tensors.copy(job.weights, local);
    Ok(())
}

/// Terms with the values of the slots that they name.
pub fn resolve<'a>(terms: &[Term<SlotRef>], slots: &'a OpenSlots, job: &RoundJob<'a>) -> Vec<Term<&'a [f32]>> {
    let values = |slot: &SlotRef| match *slot {
        SlotRef::Client(id) => slots.begun(id),
        SlotRef::Broadcast(index) => job.broadcast_slots[index],
    };
    terms.iter().map(|term| term.map(values)).collect()
}

/// `prox` without a slot pulls to the received weights, wherever training starts.
fn to_received<'a>(term: Term<&'a [f32]>, received: &'a [f32]) -> Term<&'a [f32]> {
    match term {
        Term::Prox { mu } => Term::ProxToward { mu, toward: received },
        other => other,
    }
}
