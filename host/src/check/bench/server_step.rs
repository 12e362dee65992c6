//! Role server-step: STEP_BEGIN and STEP.

use super::{Bench, EXAMPLES, part, ranges, round_message};
use crate::{
    check::inputs::{Input, ROWS},
    plugin::{Block, Span, StateScope},
    stages::norm2,
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{op, table},
};

impl Bench {
    /// Two rounds of STEP_BEGIN and STEP: the new weights of both, then the states.
    pub(super) fn step(&mut self, input: &Input, cut: usize) -> Result<Vec<f32>> {
        let states: Vec<Span> = self.slots_of(StateScope::Server).map(|slot| slot.span).collect();
        self.instance.floats_mut(self.base).copy_from_slice(&input.rows[1]);
        let mut answer = Vec::new();
        for (round, update) in [(1i64, &input.rows[0]), (2, &input.rows[2])] {
            let message = self.step_message(round, update);
            self.instance.call(op::STEP_BEGIN, &message)?;
            self.instance.floats_mut(self.rows[0]).copy_from_slice(update);
            // Sums of the plugin's own vectors.
            for (number, &vector) in self.vectors.iter().enumerate() {
                self.instance.floats_mut(vector).copy_from_slice(&input.rows[(3 + number) % ROWS]);
            }
            let rows: Vec<Span> = std::iter::once(self.rows[0]).chain(self.vectors.iter().copied()).collect();
            self.instance.floats_mut(self.out).fill(f32::NAN);
            for (unit, range) in ranges(self.layout.len(), cut).enumerate() {
                let each = |spans: &[Span]| spans.iter().map(|&span| part(span, &range)).collect::<Vec<_>>();
                let (rows, states) = (each(&rows), each(&states));
                let block = Block {
                    offset: range.start as u64,
                    unit: unit as u32,
                    n: range.len(),
                    rows: &rows,
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
        states.iter().for_each(|&state| answer.extend(self.instance.floats(state)));
        Ok(answer)
    }

    fn step_message(&self, round: i64, update: &[f32]) -> Map {
        let sum = EXAMPLES.iter().sum::<f64>();
        let message = round_message(round, ROWS)
            .with("accepted", ROWS as i64)
            .with("weight_sum", sum)
            .with("denominator", sum)
            .with("aggregate_norm2", norm2(update))
            .with("vector_weight_sums", vec![ROWS as f64; self.vectors.len()]);
        if self.manifest.needs.is_empty() {
            return message;
        }
        let table = self.trained().concat();
        message.with("columns", table::COLUMNS_AFTER as i64).with("table", table).with("weights", EXAMPLES.to_vec())
    }
}
