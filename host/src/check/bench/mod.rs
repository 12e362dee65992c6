//! One instance with its buffers, driven through the operations of its roles as a run drives it.
//!
//! Where in the flow: below the laws, which compare what it answers. Measures, plans and capacities are the host's own. A
//! file for each group of roles; this one has what they share.
//! What it never does: judge an answer beyond what the host itself would refuse.

mod aggregate;
mod client;
mod cohort;
mod decide;
mod server_step;
mod stage;

use super::inputs::{Input, ROWS};
use crate::{
    plugin::{
        Block, Buffer, Callbacks, InitialWeights, Instance, Manifest, Plugin, Reduce, Role, Span, StateInit,
        StateScope, StateShape, StateSlot,
    },
    stages::{OwnScan, capacity, failure, open_and_listen},
    strategy::decide::MAX_EXTRA,
    train::{Layout, TensorInfo, TensorRole},
};
use anyhow::Result;
use colla_plugin_sdk::{Map, Value, abi::op};
use std::ops::Range;

/// Keys the random numbers of every instance here.
const RUN_SEED: u64 = 42;
/// Doubles that a table or a list of weights may have: the values of a stage's own scan and its measures.
const DOUBLES: usize = 8192;
/// Examples of the clients whose updates are the rows.
const EXAMPLES: [f64; ROWS] = [10.0, 20.0, 5.0, 40.0, 25.0, 15.0, 30.0];
/// Rows that a plugin may see or make: the clients' and as many extra ones as the host grants.
const MAX_ROWS: usize = ROWS + MAX_EXTRA;

pub struct Bench {
    instance: Box<dyn Instance>,
    name: String,
    manifest: Manifest,
    layout: Layout,
    rows: Vec<Span>,
    base: Span,
    out: Span,
    slots: Vec<Slot>,
    /// The plugin's own vectors.
    vectors: Vec<Span>,
    table: Span,
    weights: Span,
    mixing: Span,
    bytes: Span,
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
    /// A new instance for a model of `len` parameters, at least 4.
    pub fn open(plugin: &Plugin, len: usize) -> Result<Self> {
        let layout = layout(len);
        let manifest = plugin.manifest().clone();
        let vectors = MAX_ROWS + 2 + manifest.state.len() + manifest.vectors.len();
        let (mut instance, reply) = open_and_listen(plugin, 0, RUN_SEED, len * vectors, &layout)?;
        let mut floats = |len: usize| -> Result<Span> { Ok(whole(instance.alloc(4 * len.max(1))?, len)) };
        let rows = (0..MAX_ROWS).map(|_| floats(len)).collect::<Result<_>>()?;
        let (base, out) = (floats(len)?, floats(len)?);
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
        let mut doubles = || -> Result<Span> { Ok(whole(instance.alloc(8 * DOUBLES)?, DOUBLES)) };
        let (table, weights, mixing) = (doubles()?, doubles()?, doubles()?);
        // Some bytes more than any piece has: DECODE and UNDO are also asked about pieces that are too long.
        let bytes = capacity(manifest.max_encoded, len).max(manifest.max_header) + 64;
        let bytes = whole(instance.alloc(bytes)?, bytes);
        let name = manifest.name.clone();
        instance.set_callbacks(Callbacks { run_seed: RUN_SEED, position: 0, round: 1, client: 3 });
        let own_scan = None;
        Ok(Bench {
            instance,
            name,
            manifest,
            layout,
            rows,
            base,
            out,
            slots,
            vectors,
            table,
            weights,
            mixing,
            bytes,
            own_scan,
        })
    }

    /// What the plugin answers in `role`, as numbers; bytes count as numbers too. `cut`: elements of the ranges that
    /// elementwise operations see.
    pub fn answer(&mut self, role: Role, input: &Input, cut: usize) -> Result<Vec<f64>> {
        self.begin(input)?;
        match role {
            Role::Client => self.client(input, cut),
            Role::Normalize => self.normalized(input, cut),
            Role::Compress => self.compressed(input),
            Role::Attack => self.attacks(input, cut).map(doubles),
            Role::Mix => self.mixed(input),
            Role::Aggregate if self.reduces_sums() => self.weigh(),
            Role::Aggregate => self.aggregated(input, cut),
            Role::Post => self.post(&input.rows[0], cut).map(doubles),
            Role::ServerStep => self.step(input, cut).map(doubles),
            Role::Select => self.selections(),
        }
    }

    /// ROUND_BEGIN, SYNC of what it replied, as an instance of the data plane gets it, and slots as they are at first.
    pub fn begin(&mut self, input: &Input) -> Result<()> {
        self.reset_slots(&input.rows[1]);
        let broadcast = self.instance.call(op::ROUND_BEGIN, &round_message(1, 10))?;
        if !broadcast.0.is_empty() {
            self.instance.call(op::SYNC, &broadcast)?;
        }
        Ok(())
    }

    /// ROUND_END of a round with 10 clients.
    pub fn end_round(&mut self) -> Result<Map> {
        let message = Map::new().with("round", 1i64).with("cohort", 10i64).with("num_examples", 100i64);
        Ok(self.instance.call(op::ROUND_END, &message.with("train_loss", 0.75))?)
    }

    pub fn save(&mut self) -> Result<Map> {
        Ok(self.instance.call(op::SAVE, &Map::new())?)
    }

    pub fn load(&mut self, saved: &Map) -> Result<()> {
        self.instance.call(op::LOAD, saved)?;
        Ok(())
    }

    fn reduces_sums(&self) -> bool {
        matches!(self.manifest.reduce[..], [] | [Reduce::SumBefore | Reduce::SumAfter])
    }

    /// Every slot as it is at first. `weights`: those that slots may start from.
    fn reset_slots(&mut self, weights: &[f32]) {
        for slot in &self.slots {
            let values = self.instance.floats_mut(slot.span);
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

    /// A data operation that may not be skipped.
    fn must_do(&mut self, op: u32, block: &Block<'_>) -> Result<usize> {
        let done = self.instance.block(op, block)?;
        match done.skipped {
            true => Err(failure(&self.name, op, "skipped a range; it must write every value").into()),
            false => Ok(done.output_len),
        }
    }

    /// Puts numbers where a block's table is.
    fn put_table(&mut self, values: &[f64]) -> Span {
        let table = cut_to(self.table, values.len());
        self.instance.doubles_mut(table).copy_from_slice(values);
        table
    }

    /// Puts numbers of examples where a block's weights are.
    fn put_weights(&mut self, values: &[f64]) -> Span {
        let weights = cut_to(self.weights, values.len());
        self.instance.doubles_mut(weights).copy_from_slice(values);
        weights
    }

    /// Room for `len` numbers that the plugin must write.
    fn blank_doubles(&mut self, len: usize) -> Span {
        let span = cut_to(self.mixing, len);
        self.instance.doubles_mut(span).fill(f64::NAN);
        span
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
