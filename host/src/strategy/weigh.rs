//! Sums: WEIGH and DENOMINATOR, one weight per client and what the weighted sum is divided by.
//!
//! Where in the flow: WEIGH before training (`sum-before`) or after it (`sum-after`), DENOMINATOR after the last client.
//! What it never does: add anything but weights.

use super::{
    Member,
    facts::{ClientRow, RoundFacts},
    room::Room,
};
use crate::{plugin::Block, stages::failure};
use anyhow::Result;
use colla_plugin_sdk::abi::op;

/// Room for the cohort table and the weights in a control instance.
#[derive(Debug, Default)]
pub struct Weigher {
    table: Room,
    out: Room,
}

impl Weigher {
    /// One weight per client, in the order of the rows; `vector` 0 is the update.
    /// Errors: a plugin failure, also for a weight that is missing, negative or not finite.
    pub fn weigh(&mut self, member: &mut Member, clients: &[ClientRow], vector: u32) -> Result<Vec<f64>> {
        if clients.is_empty() {
            return Ok(Vec::new());
        }
        let k = clients.len();
        let control = member.control.as_mut();
        let table = self.table.doubles(control, &ClientRow::table(clients))?;
        // What the plugin does not write must not look like a weight.
        let out = self.out.doubles(control, &vec![f64::NAN; k])?;
        control.block(op::WEIGH, &Block { k, vector, table: Some(table), mix_out: Some(out), ..Block::default() })?;
        let weights = control.doubles(out).to_vec();
        match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            None => Ok(weights),
            Some(i) => {
                let message = format!("weight {i} of {k} is {}; weights must be finite and at least 0", weights[i]);
                Err(failure(member.name(), op::WEIGH, message).into())
            }
        }
    }
}

/// What the weighted sum is divided by. Errors: a plugin failure, also for 0 and for what is not finite.
pub fn denominator(
    member: &mut Member,
    facts: &RoundFacts,
    clients: &[ClientRow],
    weights: &[f64],
    weight_sum: f64,
) -> Result<f64> {
    let answer = ask(member, facts, clients, weights, weight_sum)?;
    answer.filter(|d| divides(*d)).ok_or_else(|| {
        let answered =
            answer.map_or("no denominator".to_owned(), |denominator| format!("the denominator {denominator}"));
        let message = format!(
            "answered {answered} for weights that sum to {weight_sum}; it must be finite and not 0. If the weights are \
             numbers of examples, some client must have one"
        );
        failure(member.name(), op::DENOMINATOR, message).into()
    })
}

/// What a sum over no clients would be divided by, where the rule has such a number. Errors: a plugin failure.
pub fn denominator_of_nobody(member: &mut Member, facts: &RoundFacts) -> Result<Option<f64>> {
    Ok(ask(member, facts, &[], &[], 0.0)?.filter(|d| divides(*d)))
}

fn divides(denominator: f64) -> bool {
    denominator.is_finite() && denominator != 0.0
}

fn ask(
    member: &mut Member,
    facts: &RoundFacts,
    clients: &[ClientRow],
    weights: &[f64],
    weight_sum: f64,
) -> Result<Option<f64>> {
    let message = facts.message().with("weight_sum", weight_sum).with("accepted", weights.len() as i64);
    let message = ClientRow::tell(message, clients, weights);
    Ok(member.control.call(op::DENOMINATOR, &message)?.f64("denominator"))
}
