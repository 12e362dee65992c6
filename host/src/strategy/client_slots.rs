//! Role client: the slots that client plugins keep of each client.
//!
//! Where in the flow: agents open a client's slots before it trains, phases and CLIENT_END read and change them, and they
//! are committed once nothing can fail for this client any more. A slot is made when its client first takes part.
//! What it never does: change what is kept before that, or hand a slot to another plugin.

use super::{Member, Roster};
use crate::{
    client::{ClientId, ClientStates, SlotId},
    plugin::{Plugin, Role, StateScope, StateShape},
    stages::SlotInit,
    train::{Layout, TensorSet},
};
use anyhow::Result;
use std::sync::Arc;

/// A client slot as the manifest of its plugin declares it.
#[derive(Clone, Debug)]
pub struct ClientSlot {
    pub id: SlotId,
    pub name: String,
    init: SlotInit,
    /// The tensors that the slot holds; `None`: the whole model.
    tensors: Option<Arc<TensorSet>>,
}

impl ClientSlot {
    /// How many values it has in a model of `len` weights.
    pub fn num_values(&self, len: usize) -> usize {
        self.tensors.as_ref().map_or(len, |tensors| tensors.len())
    }

    /// The tensors that it holds, where that is not the whole model.
    pub fn tensors(&self) -> Option<&TensorSet> {
        self.tensors.as_deref()
    }

    /// What it begins with in a client that receives these weights.
    fn first(&self, received: &[f32]) -> Vec<f32> {
        let whole = self.init.values(received.len(), received);
        match &self.tensors {
            None => whole,
            Some(tensors) => tensors.take(&whole),
        }
    }

    /// The model that this slot makes of the received weights: `values` in the place of the tensors that it holds.
    pub fn model(&self, values: Vec<f32>, received: &[f32]) -> Vec<f32> {
        match &self.tensors {
            None => values,
            Some(tensors) => {
                let mut whole = received.to_vec();
                tensors.put(&values, &mut whole);
                whole
            }
        }
    }

    /// The personal model of `client`, or that with which it would begin if `received` were sent to it now; P values.
    pub fn personal(&self, client: ClientId, received: &[f32], states: &ClientStates) -> Result<Vec<f32>> {
        let values = states.slot(self.id, client)?.unwrap_or_else(|| self.first(received));
        Ok(self.model(values, received))
    }
}

/// A client plugin as agents need it.
#[derive(Clone)]
pub struct ClientPlugin {
    pub plugin: Plugin,
    /// Among all plugins of the run.
    pub position: u8,
    /// In the manifest's order.
    pub slots: Vec<ClientSlot>,
    /// How many slots of the server step this plugin broadcasts.
    pub broadcast_slots: usize,
}

/// The client plugins of a run in their order; what each agent builds its own instances from.
#[derive(Clone, Default)]
pub struct ClientPlugins {
    pub plugins: Vec<ClientPlugin>,
    /// The slot that holds clients' personal models, if a plugin has one.
    pub personal: Option<ClientSlot>,
}

impl ClientPlugins {
    /// `initial`: the weights before round 1.
    pub fn new(roster: &Roster, layout: &Layout, initial: &Arc<[f32]>) -> Result<Self> {
        let mut clients = ClientPlugins::default();
        let norms = Arc::new(TensorSet::of_norms(layout));
        for member in roster.members.iter().filter(|member| member.has(Role::Client)) {
            let plugin = client_plugin(member, &norms, initial)?;
            let personal = member.plugin.manifest().personal.as_ref();
            let personal = plugin.slots.iter().find(|slot| Some(&slot.name) == personal).cloned();
            clients.personal = clients.personal.or(personal);
            clients.plugins.push(plugin);
        }
        Ok(clients)
    }

    /// A slot that a plan named. Panics if no manifest declares it: then the plan would not have been read.
    pub fn slot(&self, id: SlotId) -> &ClientSlot {
        self.slots().find(|slot| slot.id == id).expect("plans name slots that manifests declare")
    }

    /// The slots of all plugins.
    pub fn slots(&self) -> impl Iterator<Item = &ClientSlot> {
        self.plugins.iter().flat_map(|plugin| &plugin.slots)
    }
}

fn client_plugin(member: &Member, norms: &Arc<TensorSet>, initial: &Arc<[f32]>) -> Result<ClientPlugin> {
    let manifest = member.plugin.manifest();
    let mut slots = Vec::new();
    for (index, slot) in manifest.state.iter().enumerate() {
        // Slots of the shape `piece` are those of a compressor.
        if slot.scope == StateScope::Client && slot.shape != StateShape::Piece {
            slots.push(ClientSlot {
                id: SlotId { plugin: member.position(), slot: index as u8 },
                name: slot.name.clone(),
                init: SlotInit::new(&member.plugin, slot, initial)?,
                tensors: (slot.shape == StateShape::Norm).then(|| norms.clone()),
            });
        }
    }
    Ok(ClientPlugin {
        plugin: member.plugin.clone(),
        position: member.position(),
        slots,
        broadcast_slots: manifest.state.iter().filter(|slot| slot.broadcast).count(),
    })
}

/// One client's slots while it takes part in a round.
#[derive(Debug, Default)]
pub struct OpenSlots(Vec<OpenSlot>);

#[derive(Debug)]
struct OpenSlot {
    id: SlotId,
    /// As they were when the client began: what terms read.
    begun: Vec<f32>,
    /// What they have become, if anything changed.
    now: Option<Vec<f32>>,
    is_new: bool,
}

impl OpenSlots {
    /// Reads or makes every slot of the client: P values, or those of the tensors that it holds.
    pub fn open(clients: &ClientPlugins, client: ClientId, received: &[f32], states: &ClientStates) -> Result<Self> {
        let open = |slot: &ClientSlot| {
            let kept = states.slot(slot.id, client)?;
            let is_new = kept.is_none();
            let begun = kept.unwrap_or_else(|| slot.first(received));
            Ok(OpenSlot { id: slot.id, begun, now: None, is_new })
        };
        clients.slots().map(open).collect::<Result<_>>().map(OpenSlots)
    }

    /// The values with which the client began the round.
    pub fn begun(&self, id: SlotId) -> &[f32] {
        &self.slot(id).begun
    }

    /// The values as they are by now.
    pub fn now(&self, id: SlotId) -> &[f32] {
        let slot = self.slot(id);
        slot.now.as_deref().unwrap_or(&slot.begun)
    }

    pub fn set(&mut self, id: SlotId, values: Vec<f32>) {
        self.slot_mut(id).now = Some(values);
    }

    /// The values as they are by now, to be changed.
    pub fn change(&mut self, id: SlotId) -> &mut [f32] {
        let slot = self.slot_mut(id);
        slot.now.get_or_insert_with(|| slot.begun.clone())
    }

    /// Keeps what is new or has changed.
    pub fn commit(self, client: ClientId, states: &ClientStates) -> Result<()> {
        for OpenSlot { id, begun, now, is_new } in self.0 {
            if is_new || now.is_some() {
                states.keep_slot(id, client, now.unwrap_or(begun))?;
            }
        }
        Ok(())
    }

    fn slot(&self, id: SlotId) -> &OpenSlot {
        self.0.iter().find(|slot| slot.id == id).expect("plans name slots that manifests declare")
    }

    fn slot_mut(&mut self, id: SlotId) -> &mut OpenSlot {
        self.0.iter_mut().find(|slot| slot.id == id).expect("plans name slots that manifests declare")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{TensorInfo, TensorRole};

    fn slot(index: u8, init: SlotInit) -> ClientSlot {
        ClientSlot { id: SlotId { plugin: 0, slot: index }, name: format!("slot-{index}"), init, tensors: None }
    }

    #[test]
    fn a_slot_begins_as_declared_and_keeps_what_its_client_first_received() {
        let initial: Arc<[f32]> = vec![9.0, 8.0].into();
        let inits = [SlotInit::Value(0.5), SlotInit::Initial(initial), SlotInit::Received];
        let slots: Vec<ClientSlot> = (0..).zip(inits).map(|(index, init)| slot(index, init)).collect();
        let (states, client) = (ClientStates::default(), ClientId(4));
        let values = |received: &[f32]| -> Vec<Vec<f32>> {
            slots.iter().map(|slot| slot.personal(client, received, &states).unwrap()).collect()
        };
        assert_eq!(values(&[1.0, 2.0]), [[0.5, 0.5], [9.0, 8.0], [1.0, 2.0]]);
        let personal = slots[2].clone();
        let open = OpenSlot { id: personal.id, begun: vec![1.0, 2.0], now: None, is_new: true };
        OpenSlots(vec![open]).commit(client, &states).unwrap();
        // The next round's weights do not reach a slot that exists.
        assert_eq!(values(&[3.0, 4.0]), [[0.5, 0.5], [9.0, 8.0], [1.0, 2.0]]);
    }

    #[test]
    fn a_slot_of_tensors_is_the_received_model_but_for_them() {
        let tensor = |role, offset| TensorInfo { name: "t".into(), shape: vec![1], role, offset };
        let tensors = vec![tensor(TensorRole::Weight, 0), tensor(TensorRole::Norm, 1), tensor(TensorRole::Bias, 2)];
        let tensors = Some(Arc::new(TensorSet::of_norms(&Layout { tensors })));
        let slot = ClientSlot { tensors, ..slot(0, SlotInit::Received) };
        let (states, client) = (ClientStates::default(), ClientId(4));
        assert_eq!(slot.personal(client, &[1.0, 2.0, 3.0], &states).unwrap(), [1.0, 2.0, 3.0]);
        states.keep_slot(slot.id, client, vec![7.0]).unwrap();
        assert_eq!(slot.personal(client, &[4.0, 5.0, 6.0], &states).unwrap(), [4.0, 7.0, 6.0]);
        assert_eq!((slot.num_values(3), slot.first(&[4.0, 5.0, 6.0])), (1, vec![5.0]));
    }

    #[test]
    fn terms_see_a_slot_as_it_began_and_only_a_commit_changes_what_is_kept() {
        let (states, client, id) = (ClientStates::default(), ClientId(0), SlotId { plugin: 0, slot: 0 });
        states.keep_slot(id, client, vec![1.0, 2.0]).unwrap();
        let open = || OpenSlots(vec![OpenSlot { id, begun: vec![1.0, 2.0], now: None, is_new: false }]);
        let mut slots = open();
        slots.change(id)[1] = 5.0;
        assert_eq!((slots.begun(id), slots.now(id)), (&[1.0, 2.0][..], &[1.0, 5.0][..]));
        drop(slots);
        assert_eq!(states.slot(id, client).unwrap().unwrap(), [1.0, 2.0]);
        let mut slots = open();
        slots.set(id, vec![7.0, 7.0]);
        slots.commit(client, &states).unwrap();
        assert_eq!(states.slot(id, client).unwrap().unwrap(), [7.0, 7.0]);
    }
}
