//! Role client: how a client trains, besides its loss and its optimizer, and what it keeps and sends besides its update.

use super::{Plugin, require, required_u64};
use crate::abi::{end_table, op};
use crate::{Block, Cohort, Error, Map, Plan, Result};

/// Whom the plan is for.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientBegin {
    /// Counted from 1.
    pub round: u64,
    pub client: u64,
    pub num_examples: u64,
    /// What [`Plugin::round_begin`] replied this round.
    pub broadcast: Map,
}

/// A range of the model after local training. All slices are equally long.
#[derive(Debug)]
pub struct ClientEnd<'a> {
    /// Index of the first element.
    pub offset: u64,
    /// w_local, where the uploaded phase ended.
    pub local: &'a [f32],
    /// w, as the client received it.
    pub received: &'a [f32],
    /// The manifest's client slots in its order, read and written; then its broadcast server slots, which are not kept.
    pub states: Vec<&'a mut [f32]>,
    /// The manifest's `vectors` in its order; all of them must be written.
    pub vectors: Vec<&'a mut [f32]>,
    pub num_examples: f64,
    pub steps: f64,
    /// Sum of the learning rates of the steps.
    pub lr_sum: f64,
    /// Mean loss over the examples seen.
    pub train_loss: f64,
}

pub trait Client: Plugin {
    /// CLIENT_BEGIN, before a client trains. Must depend on nothing but the instance's parameters and `client`.
    fn plan(&mut self, client: &ClientBegin) -> Result<Plan>;

    /// CLIENT_END: new values of the client's slots, and the plugin's own vectors. Asked only of plugins that declare
    /// client slots or vectors. Must give the same values however the model is cut into ranges. Default: nothing to do.
    fn end(&mut self, _end: ClientEnd<'_>) -> Result<()> {
        Err(Error::skip())
    }

    /// WEIGH of the plugin's own vector `vector`, counted from 0: what each client's counts in the raw sum Σ aₖ·vₖ that
    /// [`crate::Step::sums`] gives. Default: 1.
    fn weigh_vector(&mut self, _vector: usize, _cohort: Cohort<'_>, weights: &mut [f64]) -> Result<()> {
        weights.fill(1.0);
        Ok(())
    }
}

/// The word of manifests.
pub const KIND: &str = "client";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = false;

pub fn call<T: Client>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    let plan = |plugin: &mut T| {
        let client = ClientBegin {
            round: required_u64(message, "round")?,
            client: required_u64(message, "client")?,
            num_examples: required_u64(message, "num_examples")?,
            broadcast: message.map("broadcast").cloned().unwrap_or_default(),
        };
        Ok(plugin.plan(&client)?.encode())
    };
    (operation == op::CLIENT_BEGIN).then(|| plan(plugin))
}

pub fn block<T: Client>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    match operation {
        op::CLIENT_END => Some(end(plugin, block)),
        // Vector 0 is the update, which the aggregate weighs.
        op::WEIGH if block.vector > 0 => Some(weigh(plugin, block)),
        _ => None,
    }
}

fn end<T: Client>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    let complete = block.rows.len() == 1 && block.base.is_some() && block.table.len() >= end_table::LEN;
    require(complete, "CLIENT_END", "one row, `base` and a `table` of at least 5 values")?;
    plugin.end(ClientEnd {
        offset: block.offset,
        local: block.rows[0],
        received: block.base.unwrap_or_default(),
        states: std::mem::take(&mut block.states),
        vectors: std::mem::take(&mut block.rows_out),
        num_examples: block.table[end_table::NUM_EXAMPLES],
        steps: block.table[end_table::STEPS],
        lr_sum: block.table[end_table::LR_SUM],
        train_loss: block.table[end_table::TRAIN_LOSS],
    })
}

fn weigh<T: Client>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    require(block.mix_out.len() == block.k, "WEIGH", "k places in `mix_out`")?;
    plugin.weigh_vector(block.vector as usize - 1, Cohort::of_block(block)?, block.mix_out)
}
