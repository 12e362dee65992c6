//! Role aggregate: WEIGH and DENOMINATOR, or REDUCE on rows, be they the clients' or those that DECIDE made.

use super::{Bench, DATA, doubles, examples, part, ranges, round_message};
use crate::{
    check::inputs::Input,
    plugin::{Block, Need, Reduce, Role},
};
use anyhow::Result;
use colla_plugin_sdk::abi::{op, table};

impl Bench {
    /// The table of the cohort after training.
    pub(super) fn trained(&self) -> Vec<[f64; table::COLUMNS_AFTER]> {
        let needs = |need: Need| if self.manifest.needs.contains(&need) { 1.0 } else { 0.0 };
        let (loss, norm2) = (needs(Need::LossBefore), needs(Need::UpdateNorm2));
        let row = |(k, examples): (usize, f64)| {
            let k = k as f64;
            [examples, 5.0 * examples, 0.5 * examples, 0.0, 0.5 + 0.1 * k, loss * 0.6 * k, norm2 * (1.0 + k)]
        };
        examples(self.cohort).into_iter().enumerate().map(row).collect()
    }

    /// WEIGH, then DENOMINATOR: the weights and what their sum is divided by.
    pub fn weigh(&mut self) -> Result<Vec<f64>> {
        let columns = if self.manifest.reduce == [Reduce::SumAfter] { table::COLUMNS_AFTER } else { table::COLUMNS };
        let mut answer = self.weigh_vector(0, columns)?;
        let message = round_message(1, self.cohort)
            .with("weight_sum", answer.iter().sum::<f64>())
            .with("accepted", self.cohort as i64)
            .with("columns", table::COLUMNS_AFTER as i64)
            .with("table", self.trained().concat())
            .with("weights", answer.clone());
        let reply = self.call(op::DENOMINATOR, &message)?;
        answer.push(reply.f64("denominator").unwrap_or(f64::NAN));
        Ok(answer)
    }

    /// WEIGH of one vector on the first `columns` of the table.
    pub(super) fn weigh_vector(&mut self, vector: u32, columns: usize) -> Result<Vec<f64>> {
        let rows: Vec<f64> = self.trained().iter().flat_map(|row| row[..columns].to_vec()).collect();
        let k = self.cohort;
        let control = self.control();
        let (table, out) = (control.put_table(&rows), control.blank_doubles(k));
        let block = Block { vector, k, table: Some(table), mix_out: Some(out), ..Block::default() };
        control.instance.block(op::WEIGH, &block)?;
        Ok(control.instance.doubles(out).to_vec())
    }

    /// What a rule is asked about all rows of a cohort; for whether it takes so many.
    pub fn ask_all(&mut self, input: &Input) -> Result<()> {
        self.begin(input)?;
        if self.manifest.has(Role::Aggregate) && self.reduces_sums() {
            return self.weigh().map(drop);
        }
        let all: Vec<usize> = (0..self.cohort).collect();
        self.combined(&input.rows, &all, self.layout.len()).map(drop)
    }

    /// All rows, then the first one alone where the rule takes any number of rows.
    pub(super) fn aggregated(&mut self, input: &Input, cut: usize) -> Result<Vec<f64>> {
        let all: Vec<usize> = (0..self.cohort).collect();
        let mut answer = self.combined(&input.rows, &all, cut)?.concat();
        if self.manifest.reduce == [Reduce::Rows] {
            answer.extend(self.combined(&input.rows, &all[..1], cut)?.concat());
        }
        Ok(answer)
    }

    /// What the role aggregate or mix makes of the rows with these indices, in this order.
    pub fn combined(&mut self, rows: &[Vec<f32>], order: &[usize], cut: usize) -> Result<Vec<Vec<f64>>> {
        let rows: Vec<&[f32]> = order.iter().map(|&row| &rows[row][..]).collect();
        let all = examples(self.cohort);
        let examples: Vec<f64> = order.iter().map(|&row| all[row]).collect();
        match self.manifest.reduce[..] {
            [Reduce::Rows] => Ok(vec![doubles(self.reduce(&rows, Some(&examples), cut)?)]),
            [Reduce::Gram, Reduce::Rows] => {
                let made = self.decide(&rows, &examples)?.combine(&rows);
                let made: Vec<Vec<f32>> =
                    made.into_iter().map(|row| row.into_iter().map(|x| x as f32).collect()).collect();
                let made: Vec<&[f32]> = made.iter().map(|row| &row[..]).collect();
                Ok(vec![doubles(self.reduce(&made, None, cut)?)])
            }
            _ => Ok(self.decide(&rows, &examples)?.combine(&rows)),
        }
    }

    /// REDUCE of rows, one weight for each or none.
    fn reduce(&mut self, rows: &[&[f32]], weights: Option<&[f64]>, cut: usize) -> Result<Vec<f32>> {
        for (&span, row) in self.rows.iter().zip(rows) {
            self.sides[DATA].instance.floats_mut(span).copy_from_slice(row);
        }
        let (spans, len) = (self.rows[..rows.len()].to_vec(), self.layout.len());
        let data = self.data();
        let weights = weights.map(|weights| data.put_weights(weights));
        let out = data.blank(len);
        for range in ranges(len, cut) {
            let rows: Vec<_> = spans.iter().map(|&row| part(row, &range)).collect();
            let block = Block {
                offset: range.start as u64,
                n: range.len(),
                rows: &rows,
                k: rows.len(),
                weights,
                out: Some(part(out, &range)),
                ..Block::default()
            };
            data.must_do(op::REDUCE, &block)?;
        }
        Ok(data.instance.floats(out).to_vec())
    }
}
