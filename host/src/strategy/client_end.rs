//! Role client: CLIENT_END, where a plugin updates what it keeps of a client and makes vectors of its own.
//!
//! Where in the flow: on the agent, after the client's last phase and before its upload. Each agent has an instance for
//! each client plugin with client slots or vectors. What it never does: keep anything itself.

use super::client_slots::{ClientPlugin, OpenSlots};
use crate::{
    client::{ClientId, SlotId},
    finite::first_not_finite,
    plugin::{Block, Callbacks, Instance, Span},
    stages::{failure, open},
    train::{Layout, LocalReport},
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{FRAME, end_table, op},
};

/// What a client's round came to, as CLIENT_END sees it. Vectors have P values.
pub struct Ended<'a> {
    pub round: u64,
    pub client: ClientId,
    pub num_examples: usize,
    /// Of the uploaded phase.
    pub report: LocalReport,
    /// Where the uploaded phase ended.
    pub local: &'a [f32],
    pub received: &'a [f32],
    /// The server step's broadcast slots.
    pub broadcast: &'a [&'a [f32]],
}

pub struct ClientEnd {
    name: String,
    position: u8,
    run_seed: u64,
    /// Whether a broadcast has reached the instance.
    told: bool,
    instance: Box<dyn Instance>,
    local: Span,
    received: Span,
    table: Span,
    /// Client slots, then broadcast slots.
    states: Vec<Span>,
    slots: Vec<(SlotId, String)>,
    vectors: Vec<Span>,
    vector_names: Vec<String>,
}

impl ClientEnd {
    /// `None` for a plugin that is not asked.
    pub fn new(client: &ClientPlugin, run_seed: u64, layout: &Layout) -> Result<Option<Self>> {
        let manifest = client.plugin.manifest();
        // A slot of some tensors is the term's that keeps them.
        let slots: Vec<_> = client.slots.iter().filter(|slot| slot.tensors().is_none()).collect();
        if slots.is_empty() && manifest.vectors.is_empty() {
            return Ok(None);
        }
        let frame = FRAME.min(layout.len());
        let states = slots.len() + client.broadcast_slots;
        let payload = frame * (2 + states + manifest.vectors.len());
        let mut instance = open(&client.plugin, client.position, run_seed, payload, layout)?;
        let table = Span { buffer: instance.alloc(8 * end_table::LEN)?, start: 0, len: end_table::LEN };
        let mut span = || -> Result<Span> { Ok(Span { buffer: instance.alloc(4 * frame)?, start: 0, len: frame }) };
        Ok(Some(ClientEnd {
            name: manifest.name.clone(),
            position: client.position,
            run_seed,
            told: false,
            local: span()?,
            received: span()?,
            table,
            states: (0..states).map(|_| span()).collect::<Result<_>>()?,
            slots: slots.iter().map(|slot| (slot.id, slot.name.clone())).collect(),
            vectors: manifest.vectors.iter().map(|_| span()).collect::<Result<_>>()?,
            vector_names: manifest.vectors.iter().map(|vector| vector.name.clone()).collect(),
            instance,
        }))
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

    pub fn num_vectors(&self) -> usize {
        self.vectors.len()
    }

    /// Lets the plugin change its slots and fill its vectors, `num_vectors` of P values each.
    ///
    /// `bound`: largest magnitude of an element of a vector. Errors: a plugin failure, also for a value that is not
    /// finite, a vector's value beyond the bound, or a skipped frame where there are vectors.
    pub fn end(
        &mut self,
        ended: &Ended<'_>,
        bound: f32,
        slots: &mut OpenSlots,
        vectors: &mut [&mut [f32]],
    ) -> Result<()> {
        let (run_seed, position) = (self.run_seed, self.position);
        let client = ended.client.0.into();
        self.instance.set_callbacks(Callbacks { run_seed, position, round: ended.round, client });
        self.instance.doubles_mut(self.table).copy_from_slice(&table(ended));
        for start in (0..ended.local.len()).step_by(FRAME) {
            let n = FRAME.min(ended.local.len() - start);
            self.load(ended, slots, start, n);
            if self.call(start, n)? {
                self.store(bound, slots, vectors, start, n)?;
            }
        }
        Ok(())
    }

    /// Puts a frame where the plugin reads it. Vectors hold NaN, so that one that is not written does not pass.
    fn load(&mut self, ended: &Ended<'_>, slots: &OpenSlots, start: usize, n: usize) {
        let range = start..start + n;
        let mut put = |span: Span, values: &[f32]| {
            self.instance.floats_mut(Span { len: n, ..span }).copy_from_slice(&values[range.clone()]);
        };
        put(self.local, ended.local);
        put(self.received, ended.received);
        let own = self.slots.iter().map(|(id, _)| slots.now(*id));
        for (&span, values) in self.states.iter().zip(own.chain(ended.broadcast.iter().copied())) {
            put(span, values);
        }
        for &span in &self.vectors {
            self.instance.floats_mut(Span { len: n, ..span }).fill(f32::NAN);
        }
    }

    /// Whether the plugin wrote anything.
    fn call(&mut self, start: usize, n: usize) -> Result<bool> {
        let cut = |span: &Span| Span { len: n, ..*span };
        let states: Vec<Span> = self.states.iter().map(cut).collect();
        let vectors: Vec<Span> = self.vectors.iter().map(cut).collect();
        let block = Block {
            offset: start as u64,
            unit: (start / FRAME) as u32,
            n,
            rows: &[cut(&self.local)],
            table: Some(self.table),
            base: Some(cut(&self.received)),
            states: &states,
            rows_out: &vectors,
            ..Block::default()
        };
        let skipped = self.instance.block(op::CLIENT_END, &block)?.skipped;
        match self.vector_names.first() {
            Some(vector) if skipped => Err(self.fail(format!("skipped a frame; it must write its vector `{vector}`"))),
            _ => Ok(!skipped),
        }
    }

    /// Takes a frame back and checks it.
    fn store(
        &self,
        bound: f32,
        slots: &mut OpenSlots,
        vectors: &mut [&mut [f32]],
        start: usize,
        n: usize,
    ) -> Result<()> {
        for (&span, (id, name)) in self.states.iter().zip(&self.slots) {
            let values = self.instance.floats(Span { len: n, ..span });
            if let Some(at) = first_not_finite(values) {
                let value = values[at];
                return Err(self.fail(format!("wrote {value} into the state `{name}`; states must be finite")));
            }
            slots.change(*id)[start..start + n].copy_from_slice(values);
        }
        for ((&span, name), vector) in self.vectors.iter().zip(&self.vector_names).zip(vectors) {
            let values = self.instance.floats(Span { len: n, ..span });
            if let Some(index) = values.iter().position(|x| !x.is_finite() || x.abs() > bound) {
                let (value, element) = (values[index], start + index);
                return Err(self.fail(format!(
                    "element {element} of the vector `{name}` is {value}; it must be finite and within `federation.update-bound = {bound}`"
                )));
            }
            vector[start..start + n].copy_from_slice(values);
        }
        Ok(())
    }

    fn fail(&self, message: String) -> anyhow::Error {
        failure(&self.name, op::CLIENT_END, message).into()
    }
}

fn table(ended: &Ended<'_>) -> [f64; end_table::LEN] {
    let mut table = [0.0; end_table::LEN];
    table[end_table::NUM_EXAMPLES] = ended.num_examples as f64;
    table[end_table::STEPS] = ended.report.steps as f64;
    table[end_table::LR_SUM] = ended.report.lr_sum;
    table[end_table::TRAIN_LOSS] = ended.report.loss;
    table
}
