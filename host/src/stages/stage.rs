//! What normalizers, compressors and post-processors share: an instance, the pieces it sees, and the buffers it reads
//! and writes.
//!
//! Where in the flow: below `normalize.rs`, `codec.rs` and whoever else runs a stage's plugin.
//! What it never does: know which operation is asked.

use super::{
    StageSpec,
    measures::{Scan, ScanPlan},
    own_scan::OwnScan,
};
use crate::{
    client::{self, ClientId},
    finite::first_not_finite,
    plugin::{Callbacks, Instance, Plugin, PluginFailure, Span, Unit, operation_name},
    train::{Layout, TensorInfo},
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map, Value,
    abi::{FRAME, op},
};
use std::ops::Range;

/// Whose message a stage works on, which is what client scope of its random numbers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client(ClientId),
    Server,
}

impl Sender {
    /// The number that keys the streams. No client has the server's, and with 1 more, as streams are keyed, it still fits
    /// their 32 bits.
    fn number(self) -> u64 {
        match self {
            Sender::Client(id) => id.0.into(),
            Sender::Server => client::SERVER.0.into(),
        }
    }
}

/// Which vector of whom a stage works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub round: u64,
    pub sender: Sender,
    /// 0 is the update, or the weights on the way down.
    pub vector: u32,
}

pub struct Stage {
    pub instance: Box<dyn Instance>,
    /// The pieces of the vector, in index order; none is longer than `data`.
    pub pieces: Vec<Range<usize>>,
    /// Where a piece lies while the plugin works on it.
    pub data: Span,
    pub name: String,
    /// What the plugin answered to LAYOUT.
    pub layout_reply: Map,
    position: u8,
    run_seed: u64,
    /// Whether a broadcast has reached the instance.
    told: bool,
    /// What is measured of each vector, by its number; grows when a vector is first seen.
    plans: Vec<Planned>,
    len: usize,
    /// The table of the current piece, kept to avoid an allocation a piece.
    row: Vec<f64>,
}

/// What a stage wants to know of one vector, and where.
struct Planned {
    plan: ScanPlan,
    own_scan: Option<OwnScan>,
    table: Span,
}

impl Stage {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        let name = spec.plugin.manifest().name.clone();
        let pieces = pieces(spec.plugin.manifest().unit, layout);
        let longest = pieces.iter().map(Range::len).max().unwrap_or(0);
        let (mut instance, layout_reply) = open_and_listen(&spec.plugin, spec.position, run_seed, longest, layout)?;
        let data = Span { buffer: instance.alloc(4 * longest.max(1))?, start: 0, len: longest };
        let (position, len, plans, row) = (spec.position, layout.len(), Vec::new(), Vec::new());
        let mut stage =
            Stage { instance, pieces, data, name, layout_reply, position, run_seed, told: false, plans, len, row };
        // A plan that cannot be should stop the run before it begins.
        stage.plan(0)?;
        Ok(stage)
    }

    /// Asks for the plans of all vectors up to this one that were not seen yet.
    fn plan(&mut self, vector: u32) -> Result<()> {
        for vector in self.plans.len()..=vector as usize {
            let query = Map::new().with("n", self.len as i64).with("vector", vector as i64);
            let reply = self.instance.call(op::SCAN_PLAN, &query)?;
            let plan = ScanPlan::from_reply(&reply, self.len)
                .map_err(|message| failure(&self.name, op::SCAN_PLAN, message))?;
            let len = plan.table_len();
            let table = Span { buffer: self.instance.alloc(8 * len.max(1))?, start: 0, len };
            let own_scan = match plan.own() {
                0 => None,
                values => Some(OwnScan::new(self.instance.as_mut(), &self.name, values, self.len)?),
            };
            self.plans.push(Planned { plan, own_scan, table });
        }
        Ok(())
    }

    /// Of the plugin in the run.
    pub fn position(&self) -> u8 {
        self.position
    }

    /// Passes on what the control instance broadcasts this round.
    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        // Once there was something, nothing is news as well.
        let told = self.told;
        if let Some(broadcast) = broadcasts.get(usize::from(self.position)).filter(|map| told || !map.0.is_empty()) {
            self.told = true;
            self.instance.call(op::SYNC, broadcast)?;
        }
        Ok(())
    }

    /// Sets the random streams to this sender's.
    pub fn key_streams(&mut self, of: Address) {
        let (run_seed, position) = (self.run_seed, self.position);
        self.instance.set_callbacks(Callbacks { run_seed, position, round: of.round, client: of.sender.number() });
    }

    /// Sets the streams and measures the vector. Errors: those of its plan and of the stage's own scan.
    pub fn begin(&mut self, values: &[f32], of: Address) -> Result<Scan> {
        self.key_streams(of);
        self.plan(of.vector)?;
        let Planned { plan, own_scan, .. } = &self.plans[of.vector as usize];
        let own = match own_scan {
            None => Vec::new(),
            Some(scan) => scan.run(self.instance.as_mut(), of.vector, values)?,
        };
        Ok(plan.scan(values, own))
    }

    /// Puts a piece of a vector and its measures where the plugin reads them.
    pub fn load(&mut self, scan: &mut Scan, vector: u32, piece: &[f32]) -> (Span, Span) {
        let table = self.plans[vector as usize].table;
        scan.table(piece, &mut self.row);
        self.instance.doubles_mut(table).copy_from_slice(&self.row);
        (self.put(piece), table)
    }

    /// Puts a piece where the plugin works on it.
    pub fn put(&mut self, piece: &[f32]) -> Span {
        let span = Span { len: piece.len(), ..self.data };
        self.instance.floats_mut(span).copy_from_slice(piece);
        span
    }

    /// Takes a piece back. Errors: the plugin wrote a value that is not finite.
    pub fn store(&self, span: Span, op: u32, piece: &mut [f32]) -> Result<()> {
        piece.copy_from_slice(self.instance.floats(span));
        match first_not_finite(piece) {
            None => Ok(()),
            Some(at) => {
                let message = format!("returned {}; a stage must return finite values", piece[at]);
                Err(failure(&self.name, op, message).into())
            }
        }
    }
}

/// A new instance of `plugin` that knows the layout.
pub fn open(
    plugin: &Plugin,
    position: u8,
    run_seed: u64,
    payload_elements: usize,
    layout: &Layout,
) -> Result<Box<dyn Instance>> {
    open_and_listen(plugin, position, run_seed, payload_elements, layout).map(|(instance, _)| instance)
}

/// The same, and what it answered to LAYOUT.
pub fn open_and_listen(
    plugin: &Plugin,
    position: u8,
    run_seed: u64,
    payload_elements: usize,
    layout: &Layout,
) -> Result<(Box<dyn Instance>, Map)> {
    let mut instance = plugin.instantiate(position, run_seed, payload_elements)?;
    let reply = instance.call(op::LAYOUT, &layout_message(layout))?;
    Ok((instance, reply))
}

fn layout_message(layout: &Layout) -> Map {
    let each = |value: &dyn Fn(&TensorInfo) -> Value| layout.tensors.iter().map(value).collect::<Vec<_>>();
    Map::new()
        .with("len", layout.len() as i64)
        .with("names", each(&|t| t.name.as_str().into()))
        .with("shapes", each(&|t| Value::List(t.shape.iter().map(|&d| Value::I64(d as i64)).collect())))
        .with("roles", each(&|t| t.role.name().into()))
        .with("offsets", each(&|t| Value::I64(t.offset as i64)))
}

pub fn failure(plugin: &str, op: u32, message: impl Into<String>) -> PluginFailure {
    PluginFailure { plugin: plugin.into(), operation: operation_name(op), message: message.into(), refusal: None }
}

fn pieces(unit: Unit, layout: &Layout) -> Vec<Range<usize>> {
    let len = layout.len();
    match unit {
        Unit::Range => (0..len).step_by(FRAME).map(|start| start..(start + FRAME).min(len)).collect(),
        Unit::Tensor => layout.tensors.iter().map(|t| t.offset..t.offset + t.len()).collect(),
        Unit::Whole => std::iter::once(0..len).collect(),
    }
}
