//! What a compressor keeps of each client: the values of its client slots.
//!
//! Where in the flow: loaded before the client's ENCODE, cut into pieces for its blocks, and kept for the client's next
//! round once its upload is accepted. A slot has an element for each parameter of the model, or for each piece as many
//! as the plugin answered to LAYOUT (`piece_state`).
//! What it never does: keep anything itself; values lie with [`ClientStates`].

use super::{SlotInit, StageSpec, failure, stage::Stage};
use crate::{
    client::{ClientId, ClientStates, SlotId},
    finite::first_not_finite,
    plugin::{Instance, PluginFailure, Span, StateScope, StateShape},
};
use anyhow::Result;
use colla_plugin_sdk::{Map, Value, abi::op};
use std::ops::Range;

/// Most elements of a slot of shape `piece` for each parameter of the model.
const MAX_PIECE_STATE: usize = 4;

/// The client slots of one compressor, none for most.
#[derive(Default)]
pub struct ClientSlots {
    slots: Vec<Slot>,
    /// Where in a slot the state of each piece lies; the same in all slots.
    pieces: Vec<Range<usize>>,
    /// The spans of the current piece.
    spans: Vec<Span>,
}

struct Slot {
    id: SlotId,
    init: SlotInit,
    /// Where the plugin sees a piece of it.
    room: Span,
    /// The values of the client that sends; written back by ENCODE.
    values: Vec<f32>,
}

impl ClientSlots {
    /// Errors: a plugin failure if `piece_state` is not one length of at least 0 for each piece, or too much in all.
    pub fn new(spec: &StageSpec, stage: &mut Stage) -> Result<Self> {
        let manifest = spec.plugin.manifest();
        let own = manifest.state.iter().enumerate().filter(|(_, slot)| slot.scope == StateScope::Client);
        let own: Vec<_> = own.collect();
        let pieces = match own.first() {
            None => return Ok(ClientSlots::default()),
            // The manifest's check saw to it that all of them have one shape.
            Some((_, slot)) if slot.shape == StateShape::Piece => piece_ranges(&stage.layout_reply, &stage.pieces)
                .map_err(|message| failure(&manifest.name, op::LAYOUT, message))?,
            Some(_) => stage.pieces.clone(),
        };
        let longest = pieces.iter().map(Range::len).max().unwrap_or(0);
        let mut slots = Vec::new();
        for (index, slot) in own {
            slots.push(Slot {
                id: SlotId { plugin: spec.position, slot: index as u8 },
                init: SlotInit::new(&spec.plugin, slot, &spec.initial_weights)?,
                room: Span { buffer: stage.instance.alloc(4 * longest.max(1))?, start: 0, len: longest },
                values: Vec::new(),
            });
        }
        Ok(ClientSlots { slots, pieces, spans: Vec::new() })
    }

    /// Takes up the client's values; first values if it has none yet.
    pub fn load(&mut self, client: ClientId, received: &[f32], states: &ClientStates) -> Result<()> {
        let len = self.pieces.last().map_or(0, |piece| piece.end);
        for slot in &mut self.slots {
            slot.values = states.slot(slot.id, client)?.unwrap_or_else(|| slot.init.values(len, received));
        }
        Ok(())
    }

    /// Puts the states of a piece where the plugin sees them; none where the piece has no elements of state.
    pub fn put(&mut self, instance: &mut dyn Instance, unit: usize) -> &[Span] {
        self.spans.clear();
        let Some(range) = self.pieces.get(unit).filter(|range| !range.is_empty()) else { return &self.spans };
        for slot in &self.slots {
            let span = Span { len: range.len(), ..slot.room };
            instance.floats_mut(span).copy_from_slice(&slot.values[range.clone()]);
            self.spans.push(span);
        }
        &self.spans
    }

    /// Takes the states of a piece back. Errors: a value is not finite.
    pub fn take(&mut self, instance: &dyn Instance, plugin: &str, unit: usize) -> Result<(), PluginFailure> {
        for (slot, &span) in self.slots.iter_mut().zip(&self.spans) {
            let values = &mut slot.values[self.pieces[unit].clone()];
            values.copy_from_slice(instance.floats(span));
            if let Some(at) = first_not_finite(values) {
                let (slot, x) = (slot.id.slot, values[at]);
                let message = format!("client state {slot} of piece {unit} holds {x}; states must be finite");
                return Err(failure(plugin, op::ENCODE, message));
            }
        }
        Ok(())
    }

    /// Keeps the values for the client's next round.
    pub fn keep(&mut self, client: ClientId, states: &ClientStates) -> Result<()> {
        self.slots.iter_mut().try_for_each(|slot| states.keep_slot(slot.id, client, std::mem::take(&mut slot.values)))
    }
}

/// Reads `piece_state`: one length for each piece, laid one after another.
fn piece_ranges(reply: &Map, pieces: &[Range<usize>]) -> Result<Vec<Range<usize>>, String> {
    let lengths = reply.list("piece_state").ok_or("has a slot of shape `piece`, but answered no list `piece_state`")?;
    if lengths.len() != pieces.len() {
        return Err(format!(
            "`piece_state` has {} lengths for {} pieces; it must have one each",
            lengths.len(),
            pieces.len()
        ));
    }
    let most = MAX_PIECE_STATE.saturating_mul(pieces.last().map_or(0, |piece| piece.end));
    let mut end = 0usize;
    let range = |(unit, length): (usize, &Value)| {
        let length = match length {
            Value::I64(length) => usize::try_from(*length).ok(),
            _ => None,
        };
        let length = length.ok_or_else(|| {
            format!(
                "`piece_state` holds {:?} for piece {unit}; a length is a whole number of at least 0",
                lengths[unit]
            )
        })?;
        let start = end;
        end = end.saturating_add(length);
        if end > most {
            return Err(format!(
                "`piece_state` comes to {end} elements with piece {unit}; at most {most} are allowed, \
                 {MAX_PIECE_STATE} for each parameter of the model"
            ));
        }
        Ok(start..end)
    };
    lengths.iter().enumerate().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lengths: &[i64]) -> Result<Vec<Range<usize>>, String> {
        let lengths: Vec<Value> = lengths.iter().map(|&length| length.into()).collect();
        piece_ranges(&Map::new().with("piece_state", lengths), &[0..6, 6..8, 8..10])
    }

    #[test]
    fn states_of_pieces_lie_one_after_another_and_a_piece_may_have_none() {
        assert_eq!(read(&[4, 0, 3]).unwrap(), [0..4, 4..4, 4..7]);
        assert_eq!(read(&[0, 0, 40]).unwrap(), [0..0, 0..0, 0..40]);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_with_both_values() {
        assert_eq!(read(&[1, 2]).unwrap_err(), "`piece_state` has 2 lengths for 3 pieces; it must have one each");
        assert!(read(&[1, -2, 3]).unwrap_err().contains("`piece_state` holds I64(-2) for piece 1"));
        assert!(read(&[0, 0, 41]).unwrap_err().contains("41 elements with piece 2; at most 40"));
        assert!(read(&[i64::MAX, i64::MAX, i64::MAX]).unwrap_err().contains("at most 40"));
        assert!(piece_ranges(&Map::new(), &[]).unwrap_err().contains("no list `piece_state`"));
        let text = Map::new().with("piece_state", vec![Value::from("x")]);
        assert!(
            piece_ranges(&text, std::slice::from_ref(&(0..6))).unwrap_err().contains("holds Str(\"x\") for piece 0")
        );
    }
}
