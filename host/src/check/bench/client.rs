//! Role client: plans, and what a client keeps and sends besides its update.

use super::{Bench, DATA, part, ranges, round_message};
use crate::{
    check::inputs::Input,
    plugin::{Block, Span, StateScope},
    stages::failure,
    strategy::local,
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{op, table},
};

impl Bench {
    /// Whether CLIENT_END is asked of the plugin.
    pub fn ends(&self) -> bool {
        !self.vectors.is_empty() || self.slots_of(StateScope::Client).next().is_some()
    }

    pub(super) fn client(&mut self, input: &Input, cut: usize) -> Result<Vec<f64>> {
        let mut answer = self.plans()?;
        for vector in 1..=self.vectors.len() {
            answer.extend(self.weigh_vector(vector as u32, table::COLUMNS)?);
        }
        if self.ends() {
            answer.extend(self.client_end(input, cut)?.into_iter().map(f64::from));
        }
        Ok(answer)
    }

    /// CLIENT_BEGIN of three rounds, each plan read as the host reads it.
    fn plans(&mut self) -> Result<Vec<f64>> {
        let mut answer = Vec::new();
        for (round, client, examples) in [(1i64, 0i64, 10i64), (2, 7, 1), (50, 99, 6_000)] {
            let begin = round_message(round, 10);
            let broadcast = self.call(op::ROUND_BEGIN, &begin)?;
            let message = Map::new().with("round", round).with("client", client).with("num_examples", examples);
            let plan = self.call(op::CLIENT_BEGIN, &message.with("broadcast", broadcast))?;
            local::parse(&plan, &self.manifest, 0, local::Of::Client)
                .map_err(|problem| failure(&self.name, op::CLIENT_BEGIN, problem))?;
            answer.extend(plan.encode().into_iter().map(f64::from));
        }
        Ok(answer)
    }

    /// CLIENT_END from the second row to the first, twice in succession: the client's slots, then the vectors.
    fn client_end(&mut self, input: &Input, cut: usize) -> Result<Vec<f32>> {
        let (local, base, len) = (self.rows[0], self.base, self.layout.len());
        let data = self.data();
        data.instance.floats_mut(local).copy_from_slice(&input.rows[0]);
        data.instance.floats_mut(base).copy_from_slice(&input.rows[1]);
        let table = data.put_table(&[10.0, 5.0, 0.5, 0.0, 0.75]);
        let kept: Vec<Span> = self.slots_of(StateScope::Client).map(|slot| slot.span).collect();
        let broadcast = self.slots_of(StateScope::Server).filter(|slot| slot.declared.broadcast);
        let slots: Vec<Span> = kept.iter().copied().chain(broadcast.map(|slot| slot.span)).collect();
        let vectors = self.vectors.clone();
        let data = &mut self.sides[DATA];
        let mut answer = Vec::new();
        for _ in 0..2 {
            vectors.iter().for_each(|&vector| data.instance.floats_mut(vector).fill(f32::NAN));
            for range in ranges(len, cut) {
                let each = |spans: &[Span]| spans.iter().map(|&span| part(span, &range)).collect::<Vec<_>>();
                let (states, rows_out) = (each(&slots), each(&vectors));
                let block = Block {
                    offset: range.start as u64,
                    n: range.len(),
                    rows: &[part(local, &range)],
                    base: Some(part(base, &range)),
                    table: Some(table),
                    states: &states,
                    rows_out: &rows_out,
                    ..Block::default()
                };
                // SKIP leaves slots as they are; a vector must be written.
                if vectors.is_empty() {
                    data.instance.block(op::CLIENT_END, &block)?;
                } else {
                    data.must_do(op::CLIENT_END, &block)?;
                }
            }
            kept.iter().chain(&vectors).for_each(|&span| answer.extend(data.instance.floats(span)));
        }
        Ok(answer)
    }
}
