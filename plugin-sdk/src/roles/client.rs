//! Role client: how a client trains, besides its loss and its optimizer.

use super::{Plugin, required_u64};
use crate::abi::op;
use crate::{Block, Map, Plan, Result};

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

pub trait Client: Plugin {
    /// CLIENT_BEGIN, before a client trains. Must depend on nothing but the instance's parameters and `client`.
    fn plan(&mut self, client: &ClientBegin) -> Result<Plan>;
}

pub const IS_STAGE: bool = false;

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

pub fn block<T: Client>(_: &mut T, _: u32, _: &mut Block<'_>) -> Option<Result<()>> {
    None
}
