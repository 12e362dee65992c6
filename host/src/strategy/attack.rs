//! Role attack: hostile clients send something else than they trained, for experiments with robust rules.
//!
//! What they would have sent is replaced on the server, where the honest updates are known (omniscient and colluding, as the
//! papers assume). An attack on training alone has no part in this: its plan is asked for by [`local`](super::local).
//! Where in the flow: when all updates have arrived and stages are undone, before anything compares or mixes them.
//! What it never does: touch an honest row, or spare an attacker the check for finite values.

use super::{Member, Roster, facts::RoundFacts, hostile::Hostile, kept::Kept, shard::range_len};
use crate::{
    client::ClientId,
    executor::Executor,
    finite::first_not_finite,
    plugin::{Block, Callbacks, Instance, Span},
    stages::{failure, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::abi::{FRAME, attack_table, op};
use std::ops::Range;

/// Bytes of rows that one thread's instance holds.
const STAGE_BYTES: usize = 64 << 20;

pub struct Attack {
    hostile: Hostile,
    run_seed: u64,
    layout: Layout,
    capacity: usize,
    attackers: Vec<Attacker>,
}

impl Attack {
    pub fn new(hostile: Hostile, run_seed: u64, layout: &Layout) -> Self {
        Attack { hostile, run_seed, layout: layout.clone(), capacity: 0, attackers: Vec::new() }
    }

    /// Replaces the rows of the cohort's attackers and returns which rows these are.
    /// Errors: a plugin failure, also for a value that is not finite or not written; rows that cannot be read.
    pub fn apply(
        &mut self,
        roster: &Roster,
        executor: &Executor,
        kept: &Kept,
        cohort: &[ClientId],
        facts: &RoundFacts,
    ) -> Result<Vec<usize>> {
        let (hostile, honest): (Vec<usize>, Vec<usize>) =
            (0..cohort.len()).partition(|&row| self.hostile.contains(cohort[row]));
        if hostile.is_empty() {
            return Ok(hostile);
        }
        let member = &roster.members[self.hostile.index];
        let ranges = self.prepare(member, executor, honest.len())?;
        hostile.iter().for_each(|&row| kept.forget_largest(row));
        for attacker in &mut self.attackers {
            member.open_round(attacker.instance.as_mut(), facts.round)?;
        }
        let round = AttackedRound {
            name: member.name(),
            kept,
            honest: &honest,
            hostile: hostile.iter().map(|&row| (row, member.callbacks(facts.round, Some(cohort[row])))).collect(),
            cohort: cohort.len(),
        };
        executor.each(&mut self.attackers, &ranges, &mut |_| {}, |attacker, range| attacker.range(&round, range))?;
        Ok(hostile)
    }

    fn prepare(&mut self, member: &Member, executor: &Executor, honest: usize) -> Result<Vec<Range<usize>>> {
        let len = self.layout.len();
        if honest > self.capacity || self.attackers.is_empty() {
            self.capacity = honest;
            self.attackers.clear();
        }
        let range_len = range_len(self.capacity, FRAME, STAGE_BYTES)?.min(len).max(1);
        let ranges: Vec<_> = (0..len).step_by(range_len).map(|start| start..(start + range_len).min(len)).collect();
        while self.attackers.len() < executor.threads().min(ranges.len()) {
            let instance = open(&member.plugin, member.position(), self.run_seed, range_len, &self.layout)?;
            self.attackers.push(Attacker::new(instance, range_len, self.capacity)?);
        }
        Ok(ranges)
    }
}

/// What all ranges of a round share.
struct AttackedRound<'a> {
    name: &'a str,
    kept: &'a Kept,
    /// Rows.
    honest: &'a [usize],
    /// Rows with the random streams of their clients.
    hostile: Vec<(usize, Callbacks)>,
    cohort: usize,
}

/// One thread's instance with its buffers.
struct Attacker {
    instance: Box<dyn Instance>,
    honest: Vec<Span>,
    own: Span,
    sent: Span,
    table: Span,
}

impl Attacker {
    fn new(mut instance: Box<dyn Instance>, len: usize, honest: usize) -> Result<Self> {
        let mut span = || -> Result<Span> { Ok(Span { buffer: instance.alloc(4 * len)?, start: 0, len }) };
        let (own, sent) = (span()?, span()?);
        let honest = (0..honest).map(|_| span()).collect::<Result<_>>()?;
        let table = Span { buffer: instance.alloc(8 * attack_table::LEN)?, start: 0, len: attack_table::LEN };
        Ok(Attacker { instance, honest, own, sent, table })
    }

    fn range(&mut self, round: &AttackedRound<'_>, range: &Range<usize>) -> Result<()> {
        let n = range.len();
        let cut = |span: Span| Span { len: n, ..span };
        let rows: Vec<Span> = self.honest[..round.honest.len()].iter().map(|&span| cut(span)).collect();
        for (&row, &span) in round.honest.iter().zip(&rows) {
            round.kept.read(row, range.start, self.instance.floats_mut(span))?;
        }
        for (index, &(row, callbacks)) in round.hostile.iter().enumerate() {
            round.kept.read(row, range.start, self.instance.floats_mut(cut(self.own)))?;
            // What the attacker before sent must not shine through.
            self.instance.floats_mut(cut(self.sent)).fill(f32::NAN);
            let table = [round.cohort as f64, round.hostile.len() as f64, index as f64];
            self.instance.doubles_mut(self.table).copy_from_slice(&table);
            self.instance.set_callbacks(callbacks);
            let block = Block {
                offset: range.start as u64,
                n,
                rows: &rows,
                base: Some(cut(self.own)),
                table: Some(self.table),
                out: Some(cut(self.sent)),
                ..Block::default()
            };
            if self.instance.block(op::ATTACK, &block)?.skipped {
                return Err(failure(round.name, op::ATTACK, "skipped a range; it must write every value").into());
            }
            let sent = self.instance.floats(cut(self.sent));
            if let Some(at) = first_not_finite(sent) {
                let message = format!("value {} is {}; what is sent must be finite", range.start + at, sent[at]);
                return Err(failure(round.name, op::ATTACK, message).into());
            }
            round.kept.write(row, range.start, sent)?;
        }
        Ok(())
    }
}
