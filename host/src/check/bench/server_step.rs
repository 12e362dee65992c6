//! Role server-step: STEP_BEGIN and STEP.

use super::{Bench, DATA, examples, part, ranges, round_message};
use crate::{
    check::inputs::Input,
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
        let (base, len) = (self.base, self.layout.len());
        self.data().instance.floats_mut(base).copy_from_slice(&input.rows[1]);
        let mut answer = Vec::new();
        for (round, update) in [(1i64, &input.rows[0]), (2, &input.rows[2])] {
            let message = self.step_message(round, update);
            let begun = self.call(op::STEP_BEGIN, &message)?;
            self.sync(&begun)?;
            let instance = self.sides[DATA].instance.as_mut();
            instance.floats_mut(self.rows[0]).copy_from_slice(update);
            // Sums of the plugin's own vectors.
            for (number, &vector) in self.vectors.iter().enumerate() {
                instance.floats_mut(vector).copy_from_slice(&input.rows[(3 + number) % self.cohort]);
            }
            let rows: Vec<Span> = std::iter::once(self.rows[0]).chain(self.vectors.iter().copied()).collect();
            let data = self.data();
            let out = data.blank(len);
            for (unit, range) in ranges(len, cut).enumerate() {
                let each = |spans: &[Span]| spans.iter().map(|&span| part(span, &range)).collect::<Vec<_>>();
                let (rows, states) = (each(&rows), each(&states));
                let block = Block {
                    offset: range.start as u64,
                    unit: unit as u32,
                    n: range.len(),
                    rows: &rows,
                    base: Some(part(base, &range)),
                    states: &states,
                    out: Some(part(out, &range)),
                    ..Block::default()
                };
                data.must_do(op::STEP, &block)?;
            }
            let new = data.instance.floats(out).to_vec();
            data.instance.floats_mut(base).copy_from_slice(&new);
            answer.extend(new);
        }
        states.iter().for_each(|&state| answer.extend(self.sides[DATA].instance.floats(state)));
        Ok(answer)
    }

    fn step_message(&self, round: i64, update: &[f32]) -> Map {
        let examples = examples(self.cohort);
        let sum = examples.iter().sum::<f64>();
        let message = round_message(round, self.cohort)
            .with("accepted", self.cohort as i64)
            .with("weight_sum", sum)
            .with("denominator", sum)
            .with("aggregate_norm2", norm2(update))
            .with("vector_weight_sums", vec![self.cohort as f64; self.vectors.len()]);
        if self.manifest.needs.is_empty() {
            return message;
        }
        let table = self.trained().concat();
        message.with("columns", table::COLUMNS_AFTER as i64).with("table", table).with("weights", examples)
    }
}
