//! Roles that act on a cohort as a whole: attack and select.

use super::{Bench, DATA, part, ranges, round_message};
use crate::{
    check::inputs::Input,
    error::PluginFailure,
    plugin::{AttackedPart, Block, Span},
    stages::failure,
    strategy::local,
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{op, select_table},
};

/// Attackers among the clients whose updates are the rows; they are the last ones.
const ATTACKERS: usize = 2;
/// Clients that SELECT sees: examples, loss and number of the last round. Some were never chosen, some cannot be.
const CLIENTS: [[f64; select_table::COLUMNS]; 12] = [
    [10.0, 0.0, 0.0],
    [25.0, 0.7, 1.0],
    [0.0, 0.0, 0.0],
    [3.0, 2.5, 4.0],
    [600.0, 0.1, 7.0],
    [10.0, 0.0, 0.0],
    [8.0, 0.7, 7.0],
    [1.0, 1.9, 2.0],
    [0.0, 1.1, 3.0],
    [42.0, 0.4, 6.0],
    [17.0, 0.9, 5.0],
    [5.0, 0.0, 0.0],
];

impl Bench {
    /// The plans of attackers, and what they send, as far as the plugin attacks either.
    pub(super) fn attacks(&mut self, input: &Input, cut: usize) -> Result<Vec<f64>> {
        let mut answer = Vec::new();
        if self.manifest.attacks(AttackedPart::Training) {
            answer.extend(self.attack_plans()?);
        }
        if self.manifest.attacks(AttackedPart::Updates) {
            answer.extend(self.replaced(input, cut)?.into_iter().map(f64::from));
        }
        Ok(answer)
    }

    /// ATTACK_BEGIN for data with two, ten and many classes, each plan read as the host reads it. A plugin may be made for
    /// some of them, and refuse the others.
    fn attack_plans(&mut self) -> Result<Vec<f64>> {
        let (mut answer, mut refused) = (Vec::new(), None);
        for (round, client, num_classes) in [(1i64, 0i64, 2usize), (2, 7, 10), (50, 99, 1000)] {
            let broadcast = self.call(op::ROUND_BEGIN, &round_message(round, 10))?;
            let message = Map::new().with("round", round).with("client", client).with("num_examples", 60i64);
            let message = message.with("num_classes", num_classes as i64).with("broadcast", broadcast);
            match self.call(op::ATTACK_BEGIN, &message) {
                Ok(plan) => {
                    local::parse(&plan, &self.manifest, 0, local::Of::Attack { num_classes })
                        .map_err(|problem| failure(&self.name, op::ATTACK_BEGIN, problem))?;
                    answer.extend(plan.encode().into_iter().map(f64::from));
                }
                Err(error) if error.downcast_ref::<PluginFailure>().is_some_and(|f| f.refusal.is_some()) => {
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if answer.is_empty() => Err(error),
            _ => Ok(answer),
        }
    }

    /// What both attackers send, then what they send where no honest client takes part.
    fn replaced(&mut self, input: &Input, cut: usize) -> Result<Vec<f32>> {
        let honest = self.cohort - ATTACKERS;
        let mut answer = Vec::new();
        for index in 0..ATTACKERS {
            answer.extend(self.attack(&input.rows[..honest], &input.rows[honest + index], index, cut)?);
        }
        answer.extend(self.attack(&[], &input.rows[honest], 0, cut)?);
        Ok(answer)
    }

    fn attack(&mut self, honest: &[Vec<f32>], own: &[f32], index: usize, cut: usize) -> Result<Vec<f32>> {
        for (&span, row) in self.rows.iter().zip(honest) {
            self.sides[DATA].instance.floats_mut(span).copy_from_slice(row);
        }
        let rows = self.rows[..honest.len()].to_vec();
        let (base, len) = (self.base, self.layout.len());
        let data = self.data();
        data.instance.floats_mut(base).copy_from_slice(own);
        let out = data.blank(len);
        let table = data.put_table(&[(honest.len() + ATTACKERS) as f64, ATTACKERS as f64, index as f64]);
        for range in ranges(len, cut) {
            let rows: Vec<Span> = rows.iter().map(|&row| part(row, &range)).collect();
            let block = Block {
                offset: range.start as u64,
                n: range.len(),
                rows: &rows,
                k: rows.len(),
                table: Some(table),
                base: Some(part(base, &range)),
                out: Some(part(out, &range)),
                ..Block::default()
            };
            data.must_do(op::ATTACK, &block)?;
        }
        Ok(data.instance.floats(out).to_vec())
    }

    /// SELECT of one client, of some and of all.
    pub(super) fn selections(&mut self) -> Result<Vec<f64>> {
        let mut answer = Vec::new();
        for size in [1, 4, CLIENTS.len()] {
            answer.extend(self.select(size)?);
        }
        Ok(answer)
    }

    /// SELECT of at most `size` clients. Errors: also for a choice that a round cannot be run with.
    fn select(&mut self, size: usize) -> Result<Vec<f64>> {
        let control = self.control();
        let (table, out) = (control.put_table(CLIENTS.as_flattened()), control.blank_doubles(size));
        let block = Block { k: CLIENTS.len(), table: Some(table), mix_out: Some(out), ..Block::default() };
        control.must_do(op::SELECT, &block)?;
        let chosen = control.instance.doubles(out).to_vec();
        check_choice(&chosen).map_err(|problem| failure(&self.name, op::SELECT, format!("of {size}: {problem}")))?;
        Ok(chosen)
    }
}

/// Ids of clients with examples, each once, then −1.
fn check_choice(chosen: &[f64]) -> Result<(), String> {
    let count = chosen.iter().position(|&id| id == -1.0).unwrap_or(chosen.len());
    if let Some(place) = (count..chosen.len()).find(|&place| chosen[place] != -1.0) {
        return Err(format!("place {place} holds {} behind the first -1", chosen[place]));
    }
    for (place, &id) in chosen[..count].iter().enumerate() {
        if !(id.fract() == 0.0 && (0.0..CLIENTS.len() as f64).contains(&id)) {
            return Err(format!("place {place} holds {id}; ids are whole numbers below {}", CLIENTS.len()));
        }
        if CLIENTS[id as usize][select_table::NUM_EXAMPLES] == 0.0 {
            return Err(format!("client {id} is chosen and has no examples"));
        }
        if chosen[..place].contains(&id) {
            return Err(format!("client {id} is chosen twice"));
        }
    }
    Ok(())
}
