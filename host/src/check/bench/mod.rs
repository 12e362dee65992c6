//! The instances of one plugin with their buffers, driven through the operations of its roles as a run drives them: one
//! answers the control plane and what belongs to the whole cohort (WEIGH, DECIDE, SELECT), another one the data plane, a
//! third one, where there is something to read, what travelled (DECODE, UNDO).
//!
//! Where in the flow: below the laws, which compare what they answer. Measures, plans and capacities are the host's own. A
//! file for each group of roles; this one has what they share, `side.rs` an instance.
//! What it never does: judge an answer beyond what the host itself would refuse, or tell the data plane more than a run
//! does: LAYOUT, and SYNC of what the control instance replied.

mod aggregate;
mod client;
mod cohort;
mod decide;
mod server_step;
mod side;
mod stage;

use super::inputs::Input;
use crate::{
    plugin::{
        Buffer, InitialWeights, Manifest, Plugin, Reduce, Role, Span, StateInit, StateScope, StateShape, StateSlot,
    },
    stages::{OwnScan, capacity, failure},
    strategy::decide::MAX_EXTRA,
    train::{Layout, TensorInfo, TensorRole},
};
use anyhow::Result;
use colla_plugin_sdk::{Map, Value, abi::op};
use side::Side;
use std::ops::Range;

/// Keys the random numbers of every instance here.
const RUN_SEED: u64 = 42;
/// Doubles that a table or a list of weights may have: the values of a stage's own scan and its measures, and the Gram
/// matrix of as many rows as any rule is asked with.
const DOUBLES: usize = 8192;
/// The side that answers the data plane.
const DATA: usize = 0;

/// Which instances answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planes {
    /// As in a run: an instance for each plane, and one for what travelled.
    Apart,
    /// One instance answers everything, so it has been told everything.
    Together,
}

pub struct Bench {
    /// The data plane's, then the others.
    sides: Vec<Side>,
    /// Which side answers the control plane, and which one DECODE and UNDO.
    control: usize,
    receiver: usize,
    name: String,
    manifest: Manifest,
    layout: Layout,
    /// Clients whose updates are the rows.
    cohort: usize,
    /// The round that ROUND_BEGIN is told.
    round: i64,
    /// What it answered last, and whether any answer was not empty.
    broadcast: Map,
    has_broadcast: bool,
    /// The bound that the manifest names a parameter for.
    bound: Option<f64>,
    /// These and the following spans lie in the data plane's instance.
    rows: Vec<Span>,
    base: Span,
    slots: Vec<Slot>,
    /// The plugin's own vectors.
    vectors: Vec<Span>,
    /// The stage's own scan and how many values it gives, once it was asked for.
    own_scan: Option<(usize, OwnScan)>,
}

/// One state slot of the manifest.
struct Slot {
    declared: StateSlot,
    /// First value of each element, for a slot that does not start from weights.
    initial: f32,
    span: Span,
    /// Shape `piece`: the part of each piece.
    pieces: Vec<Range<usize>>,
}

/// Two tensors: a matrix, of 64 rows where that comes out even, and a bias of three.
fn layout(len: usize) -> Layout {
    let tensor = |name: &str, shape: &[usize], role, offset| TensorInfo {
        name: name.into(),
        shape: shape.to_vec(),
        role,
        offset,
    };
    let rows = if (len - 3).is_multiple_of(64) { 64 } else { 1 };
    let matrix = tensor("layer.weight", &[rows, (len - 3) / rows], TensorRole::Weight, 0);
    Layout { tensors: vec![matrix, tensor("layer.bias", &[3], TensorRole::Bias, len - 3)] }
}

impl Bench {
    /// New instances for a model of `len` parameters, at least 4, and cohorts of `cohort` clients.
    pub fn open(plugin: &Plugin, len: usize, cohort: usize, planes: Planes) -> Result<Self> {
        let layout = layout(len);
        let manifest = plugin.manifest().clone();
        // Rules and attacks see the rows of a cohort, and rules also those that DECIDE makes; other roles see one.
        let rows = match manifest.has(Role::Aggregate) || manifest.has(Role::Attack) {
            true => cohort + MAX_EXTRA,
            false => 1,
        };
        let vectors = rows + 2 + manifest.state.len() + manifest.vectors.len();
        // Some bytes more than any piece has: DECODE and UNDO are also asked about pieces that are too long.
        let bytes = capacity(manifest.max_encoded, len).max(manifest.max_header) + 64;
        let (mut data, reply) = Side::open(plugin, &layout, len * vectors, bytes)?;
        let mut floats = |len: usize| -> Result<Span> { Ok(whole(data.instance.alloc(4 * len.max(1))?, len)) };
        let rows = (0..rows).map(|_| floats(len)).collect::<Result<_>>()?;
        let base = floats(len)?;
        let vectors = manifest.vectors.iter().map(|_| floats(len)).collect::<Result<_>>()?;
        let slot = |declared: &StateSlot| -> Result<Slot> {
            let pieces = match declared.shape {
                StateShape::Model | StateShape::Norm => Vec::new(),
                StateShape::Piece => {
                    piece_states(&reply).map_err(|message| failure(&manifest.name, op::LAYOUT, message))?
                }
            };
            let len = pieces.last().map_or(if declared.shape == StateShape::Model { len } else { 0 }, |last| last.end);
            Ok(Slot {
                declared: declared.clone(),
                initial: initial(plugin, &declared.init),
                span: floats(len)?,
                pieces,
            })
        };
        // No operation sees a slot of the shape `norm`.
        let seen = manifest.state.iter().filter(|slot| slot.shape != StateShape::Norm);
        let slots = seen.map(slot).collect::<Result<_>>()?;
        let (mut sides, mut control, mut receiver) = (vec![data], DATA, DATA);
        if planes == Planes::Apart {
            control = sides.len();
            sides.push(Side::open(plugin, &layout, 0, bytes)?.0);
            if manifest.has(Role::Compress) || manifest.max_header > 0 {
                receiver = sides.len();
                sides.push(Side::open(plugin, &layout, len, bytes)?.0);
            }
        }
        Ok(Bench {
            sides,
            control,
            receiver,
            name: manifest.name.clone(),
            bound: manifest.norm_bound.as_ref().and_then(|parameter| plugin.parameters().f64(parameter)),
            manifest,
            layout,
            cohort,
            round: 1,
            broadcast: Map::new(),
            has_broadcast: false,
            rows,
            base,
            slots,
            vectors,
            own_scan: None,
        })
    }

    /// The round that is begun next; 1 at first.
    pub fn set_round(&mut self, round: u64) {
        self.round = round as i64;
        self.sides.iter_mut().for_each(|side| side.key_streams(round));
    }

    /// What the plugin answers in `role`, as numbers; bytes count as numbers too. `cut`: elements of the ranges that
    /// elementwise operations see.
    pub fn answer(&mut self, role: Role, input: &Input, cut: usize) -> Result<Vec<f64>> {
        self.begin(input)?;
        match role {
            Role::Client => self.client(input, cut),
            Role::Normalize => self.normalized(input, cut),
            Role::Compress => self.compressed(input),
            Role::Attack => self.attacks(input, cut),
            Role::Mix => self.mixed(input),
            Role::Aggregate if self.reduces_sums() => self.weigh(),
            Role::Aggregate => self.aggregated(input, cut),
            Role::Post => self.post(&input.rows[0], cut).map(doubles),
            Role::ServerStep => self.step(input, cut).map(doubles),
            Role::Select => self.selections(),
        }
    }

    /// ROUND_BEGIN at the control instance, SYNC of what it replied at the others, and slots as they are at first.
    pub fn begin(&mut self, input: &Input) -> Result<()> {
        self.reset_slots(&input.rows[1]);
        self.broadcast = self.call(op::ROUND_BEGIN, &round_message(self.round, 10))?;
        // Once there was something, nothing is news as well.
        self.has_broadcast |= !self.broadcast.0.is_empty();
        if self.has_broadcast {
            let broadcast = self.broadcast.clone();
            self.sync(&broadcast)?;
        }
        Ok(())
    }

    /// The bound on norms that the plugin keeps to this round: the parameter that its manifest names, or what it broadcast.
    pub fn norm_bound(&self) -> Option<f64> {
        match self.manifest.norm_bound {
            Some(_) => self.bound,
            None => self.broadcast.f64("norm_bound"),
        }
    }

    /// ROUND_END of a round with 10 clients.
    pub fn end_round(&mut self) -> Result<Map> {
        let message = Map::new().with("round", 1i64).with("cohort", 10i64).with("num_examples", 100i64);
        self.call(op::ROUND_END, &message.with("train_loss", 0.75))
    }

    pub fn save(&mut self) -> Result<Map> {
        self.call(op::SAVE, &Map::new())
    }

    pub fn load(&mut self, saved: &Map) -> Result<()> {
        self.call(op::LOAD, saved).map(drop)
    }

    /// A control operation.
    fn call(&mut self, op: u32, message: &Map) -> Result<Map> {
        Ok(self.sides[self.control].instance.call(op, message)?)
    }

    /// SYNC at every instance of the data plane.
    fn sync(&mut self, reply: &Map) -> Result<()> {
        let control = self.control;
        let others = self.sides.iter_mut().enumerate().filter(|(index, _)| *index != control || *index == DATA);
        for (_, side) in others {
            side.instance.call(op::SYNC, reply)?;
        }
        Ok(())
    }

    fn data(&mut self) -> &mut Side {
        &mut self.sides[DATA]
    }

    fn control(&mut self) -> &mut Side {
        &mut self.sides[self.control]
    }

    fn receiver(&mut self) -> &mut Side {
        &mut self.sides[self.receiver]
    }

    fn reduces_sums(&self) -> bool {
        matches!(self.manifest.reduce[..], [] | [Reduce::SumBefore | Reduce::SumAfter])
    }

    /// Every slot as it is at first. `weights`: those that slots may start from.
    fn reset_slots(&mut self, weights: &[f32]) {
        for slot in &self.slots {
            let values = self.sides[DATA].instance.floats_mut(slot.span);
            match slot.declared.init {
                StateInit::Weights(InitialWeights::InitialWeights | InitialWeights::ReceivedWeights) => {
                    values.copy_from_slice(weights);
                }
                StateInit::Value(_) | StateInit::Parameter(_) => values.fill(slot.initial),
            }
        }
    }

    fn slots_of(&self, scope: StateScope) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.declared.scope == scope)
    }
}

/// `{round, cohort, num_clients, expected_cohort}` of a federation of 100 clients.
fn round_message(round: i64, cohort: usize) -> Map {
    Map::new()
        .with("round", round)
        .with("cohort", cohort as i64)
        .with("num_clients", 100i64)
        .with("expected_cohort", cohort as f64)
}

/// Numbers of examples of `count` clients.
fn examples(count: usize) -> Vec<f64> {
    const EXAMPLES: [f64; 7] = [10.0, 20.0, 5.0, 40.0, 25.0, 15.0, 30.0];
    (0..count).map(|client| EXAMPLES[client % EXAMPLES.len()] + (client / EXAMPLES.len()) as f64).collect()
}

fn initial(plugin: &Plugin, init: &StateInit) -> f32 {
    match init {
        StateInit::Value(value) => *value as f32,
        StateInit::Weights(_) => 0.0,
        StateInit::Parameter(name) => plugin.parameters().f64(name).unwrap_or_default() as f32,
    }
}

/// `piece_state` of the reply to LAYOUT, the parts one after another.
fn piece_states(reply: &Map) -> Result<Vec<Range<usize>>, String> {
    let lengths = reply.list("piece_state").ok_or("has a slot of shape `piece`, but answered no list `piece_state`")?;
    let mut end = 0;
    let part = |length: &Value| match length {
        Value::I64(length @ 0..=0xff_ffff) => {
            let start = end;
            end += *length as usize;
            Ok(start..end)
        }
        other => Err(format!("`piece_state` holds {other:?}; a length is a whole number of at least 0")),
    };
    lengths.iter().map(part).collect()
}

fn ranges(len: usize, cut: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(cut).map(move |start| start..(start + cut).min(len))
}

fn whole(buffer: Buffer, len: usize) -> Span {
    Span { buffer, start: 0, len }
}

fn cut_to(span: Span, len: usize) -> Span {
    Span { len, ..span }
}

/// A range of `f32`.
fn part(span: Span, range: &Range<usize>) -> Span {
    Span { start: span.start + 4 * range.start, len: range.len(), ..span }
}

fn doubles(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}
