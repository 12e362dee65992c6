//! Role select: a plugin chooses the cohort instead of the uniform draw.
//!
//! Where in the flow: first in a round. The control instance sees every client's number of examples and what it told when
//! it took part last; random numbers have round scope.
//! What it never does: let a client without examples train, or a client twice.

use super::Roster;
use crate::{
    client::{ClientId, cohort_size},
    config::{Federation, Sampling},
    error::{Fault, Kind},
    plugin::{Block, Role, Span},
    stages::failure,
};
use anyhow::Result;
use colla_plugin_sdk::abi::{
    op,
    select_table::{COLUMNS, LAST_LOSS, LAST_ROUND, NUM_EXAMPLES},
};

/// The run's selector.
pub struct Selector {
    /// Position in the roster.
    index: usize,
    /// The clients' rows, as SELECT reads them.
    rows: Vec<f64>,
    table: Span,
    out: Span,
}

impl Selector {
    /// `None` without such a plugin. `examples`: of each client, in the order of ids.
    /// Errors: `Kind::Config` with Poisson cohorts, where every client decides for itself.
    pub fn new(
        roster: &mut Roster,
        config: &Federation,
        examples: impl Iterator<Item = usize>,
    ) -> Result<Option<Self>> {
        let Some(index) = roster.position_of(Role::Select) else { return Ok(None) };
        let member = &mut roster.members[index];
        if config.sampling == Sampling::Poisson {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "config `federation.sampling = \"poisson\"` — `{}` chooses the cohort, and Poisson cohorts are chosen by \
                     nobody; use \"fixed\", or leave the plugin out",
                    member.name()
                ),
            ));
        }
        let rows: Vec<f64> = examples.flat_map(|examples| client_row(examples as f64)).collect();
        let size = cohort_size(config.fraction_train, rows.len() / COLUMNS);
        let control = member.control.as_mut();
        let table = Span { buffer: control.alloc(8 * rows.len())?, start: 0, len: rows.len() };
        let out = Span { buffer: control.alloc(8 * size)?, start: 0, len: size };
        Ok(Some(Selector { index, rows, table, out }))
    }

    /// The cohort, ascending. Errors: a plugin failure if it is empty or not a choice of clients with examples.
    pub fn choose(&mut self, roster: &mut Roster, round: u64) -> Result<Vec<ClientId>> {
        let member = &mut roster.members[self.index];
        let callbacks = member.callbacks(round, None);
        let control = member.control.as_mut();
        control.set_callbacks(callbacks);
        control.doubles_mut(self.table).copy_from_slice(&self.rows);
        // What is not written must not pass for a choice.
        control.doubles_mut(self.out).fill(f64::NAN);
        let k = self.rows.len() / COLUMNS;
        let block = Block { k, table: Some(self.table), mix_out: Some(self.out), ..Block::default() };
        let skipped = control.block(op::SELECT, &block)?.skipped;
        let chosen = match skipped {
            true => Err("skipped the choice; it must choose at least one client".into()),
            false => read(control.doubles(self.out), &self.rows),
        };
        chosen.map_err(|message| failure(member.name(), op::SELECT, message).into())
    }

    /// Notes the training losses of a round.
    pub fn remember(&mut self, round: u64, losses: impl Iterator<Item = (ClientId, f64)>) {
        for (client, loss) in losses {
            let row = &mut self.rows[client.index() * COLUMNS..][..COLUMNS];
            (row[LAST_LOSS], row[LAST_ROUND]) = (loss, round as f64);
        }
    }
}

fn client_row(examples: f64) -> [f64; COLUMNS] {
    let mut row = [0.0; COLUMNS];
    row[NUM_EXAMPLES] = examples;
    row
}

/// Reads what SELECT wrote: ids of different clients with examples, then −1 only.
fn read(written: &[f64], rows: &[f64]) -> Result<Vec<ClientId>, String> {
    let count = written.iter().position(|&id| id == -1.0).unwrap_or(written.len());
    if let Some(at) = written[count..].iter().position(|&id| id != -1.0) {
        return Err(format!("place {} is {} behind a -1, which ends the choice", count + at, written[count + at]));
    }
    if count == 0 {
        return Err(format!("chose nobody of {} clients; a cohort has at least one", rows.len() / COLUMNS));
    }
    let mut chosen = Vec::with_capacity(count);
    for (place, &id) in written[..count].iter().enumerate() {
        // NaN and infinities are no integers either.
        if id.fract() != 0.0 || !(0.0..(rows.len() / COLUMNS) as f64).contains(&id) {
            let last = rows.len() / COLUMNS - 1;
            return Err(format!("place {place} is {id}; clients have the numbers 0 to {last}"));
        }
        let client = ClientId(id as u32);
        if rows[client.index() * COLUMNS + NUM_EXAMPLES] == 0.0 {
            return Err(format!("chose client {client}, which has no examples"));
        }
        chosen.push(client);
    }
    chosen.sort_unstable();
    match chosen.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(chosen),
        Some(pair) => Err(format!("chose client {} twice", pair[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients 0 to 3; client 2 has no examples.
    fn choice(written: &[f64]) -> Result<Vec<u32>, String> {
        let rows: Vec<f64> = [5.0, 1.0, 0.0, 9.0].into_iter().flat_map(client_row).collect();
        Ok(read(written, &rows)?.into_iter().map(|client| client.0).collect())
    }

    #[test]
    fn a_choice_is_read_in_ascending_order_up_to_the_first_minus_one() {
        assert_eq!(choice(&[3.0, 0.0]), Ok(vec![0, 3]));
        assert_eq!(choice(&[1.0, -1.0, -1.0]), Ok(vec![1]));
        assert_eq!(choice(&[-0.0]), Ok(vec![0]));
    }

    #[test]
    fn what_is_no_choice_is_refused_with_the_place_or_the_client() {
        for (written, words) in [
            (&[-1.0, -1.0][..], "chose nobody of 4 clients"),
            (&[4.0], "place 0 is 4; clients have the numbers 0 to 3"),
            (&[0.0, -2.0], "place 1 is -2"),
            (&[0.5], "place 0 is 0.5"),
            (&[f64::NAN], "place 0 is NaN"),
            (&[f64::INFINITY], "place 0 is inf"),
            (&[0.0, -1.0, 3.0], "place 2 is 3 behind a -1"),
            (&[3.0, 0.0, 3.0], "chose client 3 twice"),
            (&[1.0, 2.0], "chose client 2, which has no examples"),
        ] {
            let message = choice(written).unwrap_err();
            assert!(message.contains(words), "{message}\nlacks: {words}");
        }
    }
}
