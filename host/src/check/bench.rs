//! One instance with its buffers, driven through the operations of its roles as a run drives it.
//!
//! Where in the flow: below the laws, which compare what it answers. Measures, plans and capacities are the host's own.
//! What it never does: judge an answer beyond what the host itself would refuse.

use super::inputs::{Input, ROWS};
use crate::{
    plugin::{Block, Buffer, Callbacks, Instance, Manifest, Plugin, Reduce, Role, Span, StateInit, StateScope, Unit},
    stages::{OwnScan, Scan, ScanPlan, capacity, failure, norm2, open},
    strategy::local,
    train::{Layout, TensorInfo, TensorRole},
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{op, table},
};
use std::ops::Range;

/// Keys the random numbers of every instance here.
const RUN_SEED: u64 = 42;
/// Doubles that a table or a list of weights may have.
const DOUBLES: usize = 8192;
/// Examples of the clients whose updates are the rows.
const EXAMPLES: [f64; ROWS] = [10.0, 20.0, 5.0, 40.0, 25.0];

pub struct Bench {
    instance: Box<dyn Instance>,
    name: String,
    manifest: Manifest,
    /// First value of each server slot.
    initial_states: Vec<f32>,
    layout: Layout,
    rows: Vec<Span>,
    base: Span,
    out: Span,
    states: Vec<Span>,
    table: Span,
    weights: Span,
    bytes: Span,
}

/// Two tensors: a matrix and a bias of three.
fn layout(len: usize) -> Layout {
    let tensor =
        |name: &str, len: usize, role, offset| TensorInfo { name: name.into(), shape: vec![len], role, offset };
    let matrix = tensor("layer.weight", len - 3, TensorRole::Weight, 0);
    Layout { tensors: vec![matrix, tensor("layer.bias", 3, TensorRole::Bias, len - 3)] }
}

impl Bench {
    /// A new instance for a model of `len` parameters, at least 4.
    pub fn open(plugin: &Plugin, len: usize) -> Result<Self> {
        let layout = layout(len);
        let manifest = plugin.manifest().clone();
        let mut instance = open(plugin, 0, RUN_SEED, len * (ROWS + 3), &layout)?;
        let server = manifest.state.iter().filter(|slot| slot.scope == StateScope::Server);
        let initial = |init: &StateInit| match init {
            StateInit::Value(value) => *value,
            // Any weights do for the laws.
            StateInit::Weights(_) => 0.0,
            StateInit::Parameter(name) => plugin.parameters().f64(name).unwrap_or_default(),
        };
        let initial_states: Vec<f32> = server.map(|slot| initial(&slot.init) as f32).collect();
        let mut floats = || -> Result<Span> { Ok(whole(instance.alloc(4 * len)?, len)) };
        let rows = (0..ROWS).map(|_| floats()).collect::<Result<_>>()?;
        let (base, out) = (floats()?, floats()?);
        let states = initial_states.iter().map(|_| floats()).collect::<Result<_>>()?;
        let mut doubles = || -> Result<Span> { Ok(whole(instance.alloc(8 * DOUBLES)?, DOUBLES)) };
        let (table, weights) = (doubles()?, doubles()?);
        // Some bytes more than any piece has: DECODE is also asked about pieces that are too long.
        let bytes = capacity(manifest.max_encoded, len) + 64;
        let bytes = whole(instance.alloc(bytes)?, bytes);
        let name = manifest.name.clone();
        instance.set_callbacks(Callbacks { run_seed: RUN_SEED, position: 0, round: 1, client: 3 });
        Ok(Bench { instance, name, manifest, initial_states, layout, rows, base, out, states, table, weights, bytes })
    }

    /// What the plugin answers in `role`, as numbers; bytes count as numbers too. `cut`: elements of the ranges that
    /// elementwise operations see.
    pub fn answer(&mut self, role: Role, input: &Input, cut: usize) -> Result<Vec<f64>> {
        let doubles = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        match role {
            Role::Client => self.plans(),
            Role::Normalize => self.apply(&input.rows[0], cut).map(doubles),
            Role::Compress => {
                let pieces = self.encode(&input.rows[0])?;
                let mut answer: Vec<f64> = pieces.iter().flatten().map(|&byte| f64::from(byte)).collect();
                answer.extend(self.decode(&pieces)?.into_iter().map(f64::from));
                Ok(answer)
            }
            Role::Aggregate if self.manifest.reduce == [Reduce::Rows] => {
                let all: Vec<usize> = (0..ROWS).collect();
                let mut answer = self.reduce(&input.rows, &all, cut)?;
                answer.extend(self.reduce(&input.rows, &all[..1], cut)?);
                Ok(doubles(answer))
            }
            Role::Aggregate => self.weigh(),
            Role::ServerStep => self.step(input, cut).map(doubles),
            _ => Ok(Vec::new()),
        }
    }

    /// CLIENT_BEGIN of three rounds, each plan read as the host reads it.
    fn plans(&mut self) -> Result<Vec<f64>> {
        let mut answer = Vec::new();
        for (round, client, examples) in [(1i64, 0i64, 10i64), (2, 7, 1), (50, 99, 6_000)] {
            let begin = round_message(round, 10);
            let broadcast = self.instance.call(op::ROUND_BEGIN, &begin)?;
            let message = Map::new().with("round", round).with("client", client).with("num_examples", examples);
            let plan = self.instance.call(op::CLIENT_BEGIN, &message.with("broadcast", broadcast))?;
            local::parse(&plan).map_err(|problem| failure(&self.name, op::CLIENT_BEGIN, problem))?;
            answer.extend(plan.encode().into_iter().map(f64::from));
        }
        Ok(answer)
    }

    /// WEIGH, then DENOMINATOR: the weights and what their sum is divided by.
    pub fn weigh(&mut self) -> Result<Vec<f64>> {
        let (table, out) = (cut_to(self.table, ROWS * table::COLUMNS), cut_to(self.weights, ROWS));
        for (row, examples) in self.instance.doubles_mut(table).chunks_exact_mut(table::COLUMNS).zip(EXAMPLES) {
            row.copy_from_slice(&[examples, 5.0 * examples, 0.5 * examples, 0.0]);
        }
        self.instance.doubles_mut(out).fill(f64::NAN);
        let block = Block { k: ROWS, table: Some(table), mix_out: Some(out), ..Block::default() };
        self.instance.block(op::WEIGH, &block)?;
        let mut answer = self.instance.doubles(out).to_vec();
        let table = self.instance.doubles(table).to_vec();
        let message = round_message(1, ROWS)
            .with("weight_sum", answer.iter().sum::<f64>())
            .with("accepted", ROWS as i64)
            .with("columns", table::COLUMNS as i64)
            .with("table", table)
            .with("weights", answer.clone());
        let reply = self.instance.call(op::DENOMINATOR, &message)?;
        answer.push(reply.f64("denominator").unwrap_or(f64::NAN));
        Ok(answer)
    }

    /// REDUCE of the rows with these indices, in this order, with their clients' weights.
    pub fn reduce(&mut self, rows: &[Vec<f32>], order: &[usize], cut: usize) -> Result<Vec<f32>> {
        let weights = cut_to(self.weights, order.len());
        for (slot, &row) in order.iter().enumerate() {
            self.instance.floats_mut(self.rows[slot]).copy_from_slice(&rows[row]);
            self.instance.doubles_mut(weights)[slot] = EXAMPLES[row];
        }
        self.instance.floats_mut(self.out).fill(f32::NAN);
        for range in ranges(self.layout.len(), cut) {
            let rows: Vec<Span> = self.rows[..order.len()].iter().map(|&row| part(row, &range)).collect();
            let block = Block {
                offset: range.start as u64,
                n: range.len(),
                rows: &rows,
                k: rows.len(),
                weights: Some(weights),
                out: Some(part(self.out, &range)),
                ..Block::default()
            };
            self.must_do(op::REDUCE, &block)?;
        }
        Ok(self.instance.floats(self.out).to_vec())
    }

    /// Two rounds of STEP_BEGIN and STEP: the new weights of both, then the states.
    fn step(&mut self, input: &Input, cut: usize) -> Result<Vec<f32>> {
        for (&state, &initial) in self.states.iter().zip(&self.initial_states) {
            self.instance.floats_mut(state).fill(initial);
        }
        self.instance.floats_mut(self.base).copy_from_slice(&input.rows[1]);
        let mut answer = Vec::new();
        for (round, update) in [(1i64, &input.rows[0]), (2, &input.rows[2])] {
            let message = round_message(round, 10)
                .with("accepted", 10i64)
                .with("weight_sum", 100.0)
                .with("denominator", 100.0)
                .with("aggregate_norm2", norm2(update));
            self.instance.call(op::STEP_BEGIN, &message)?;
            self.instance.floats_mut(self.rows[0]).copy_from_slice(update);
            self.instance.floats_mut(self.out).fill(f32::NAN);
            for (unit, range) in ranges(self.layout.len(), cut).enumerate() {
                let states: Vec<Span> = self.states.iter().map(|&state| part(state, &range)).collect();
                let block = Block {
                    offset: range.start as u64,
                    unit: unit as u32,
                    n: range.len(),
                    rows: &[part(self.rows[0], &range)],
                    base: Some(part(self.base, &range)),
                    states: &states,
                    out: Some(part(self.out, &range)),
                    ..Block::default()
                };
                self.must_do(op::STEP, &block)?;
            }
            let new = self.instance.floats(self.out).to_vec();
            self.instance.floats_mut(self.base).copy_from_slice(&new);
            answer.extend(new);
        }
        self.states.iter().for_each(|&state| answer.extend(self.instance.floats(state)));
        Ok(answer)
    }

    /// SCAN_PLAN and APPLY, piece by piece.
    fn apply(&mut self, vector: &[f32], cut: usize) -> Result<Vec<f32>> {
        let mut scan = self.measured(vector)?;
        let (mut answer, mut row) = (Vec::with_capacity(vector.len()), Vec::new());
        for (unit, range) in self.pieces(cut).into_iter().enumerate() {
            let piece = &vector[range.clone()];
            scan.table(piece, &mut row);
            let (data, table) = (cut_to(self.out, piece.len()), cut_to(self.table, row.len()));
            self.instance.doubles_mut(table).copy_from_slice(&row);
            self.instance.floats_mut(data).copy_from_slice(piece);
            let (offset, unit) = (range.start as u64, unit as u32);
            let block = Block { offset, unit, n: data.len, table: Some(table), out: Some(data), ..Block::default() };
            self.instance.block(op::APPLY, &block)?;
            answer.extend(self.instance.floats(data));
        }
        Ok(answer)
    }

    /// SCAN_PLAN and ENCODE: the bytes of each piece.
    pub fn encode(&mut self, vector: &[f32]) -> Result<Vec<Vec<u8>>> {
        let mut scan = self.measured(vector)?;
        let (mut encoded, mut row) = (Vec::new(), Vec::new());
        for (unit, range) in self.pieces(vector.len()).into_iter().enumerate() {
            let piece = &vector[range.clone()];
            scan.table(piece, &mut row);
            let (data, table) = (cut_to(self.rows[0], piece.len()), cut_to(self.table, row.len()));
            self.instance.doubles_mut(table).copy_from_slice(&row);
            self.instance.floats_mut(data).copy_from_slice(piece);
            let output = cut_to(self.bytes, capacity(self.manifest.max_encoded, piece.len()));
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                rows: &[data],
                table: Some(table),
                output: Some(output),
                ..Block::default()
            };
            let done = self.instance.block(op::ENCODE, &block)?;
            encoded.push(self.instance.bytes(output.buffer)[..done.output_len].to_vec());
        }
        Ok(encoded)
    }

    /// DECODE of what [`Bench::encode`] gave, or of something else in its place.
    pub fn decode(&mut self, pieces: &[Vec<u8>]) -> Result<Vec<f32>> {
        let mut answer = Vec::with_capacity(self.layout.len());
        for (unit, range) in self.pieces(self.layout.len()).into_iter().enumerate() {
            let bytes = pieces.get(unit).map_or(&[][..], |piece| &piece[..piece.len().min(self.bytes.len)]);
            let (data, input) = (cut_to(self.out, range.len()), cut_to(self.bytes, bytes.len()));
            self.instance.bytes_mut(input.buffer)[..bytes.len()].copy_from_slice(bytes);
            self.instance.floats_mut(data).fill(f32::NAN);
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                input: Some(input),
                out: Some(data),
                ..Block::default()
            };
            self.must_do(op::DECODE, &block)?;
            answer.extend(self.instance.floats(data));
        }
        Ok(answer)
    }

    /// The measures of the vector, the stage's own scan among them.
    fn measured(&mut self, vector: &[f32]) -> Result<Scan> {
        let plan = self.scan_plan()?;
        let own = match plan.own() {
            0 => Vec::new(),
            values => {
                let scan = OwnScan::new(self.instance.as_mut(), &self.name, values, vector.len())?;
                scan.run(self.instance.as_mut(), vector)?
            }
        };
        Ok(plan.scan(vector, own))
    }

    fn scan_plan(&mut self) -> Result<ScanPlan> {
        let len = self.layout.len();
        let reply = self.instance.call(op::SCAN_PLAN, &Map::new().with("n", len as i64).with("vector", 0i64))?;
        let plan = ScanPlan::from_reply(&reply, len).map_err(|problem| failure(&self.name, op::SCAN_PLAN, problem))?;
        match plan.table_len() {
            0..=DOUBLES => Ok(plan),
            more => Err(failure(&self.name, op::SCAN_PLAN, format!("asked for {more} values of measures")).into()),
        }
    }

    fn must_do(&mut self, op: u32, block: &Block<'_>) -> Result<()> {
        match self.instance.block(op, block)?.skipped {
            true => Err(failure(&self.name, op, "skipped a range; it must write every value").into()),
            false => Ok(()),
        }
    }

    fn pieces(&self, cut: usize) -> Vec<Range<usize>> {
        match self.manifest.unit {
            Unit::Range => ranges(self.layout.len(), cut).collect(),
            Unit::Tensor => self.layout.tensors.iter().map(|t| t.offset..t.offset + t.len()).collect(),
            Unit::Whole => std::iter::once(0..self.layout.len()).collect(),
        }
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
