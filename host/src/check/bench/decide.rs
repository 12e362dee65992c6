//! DECIDE, for the roles mix and aggregate: a plan, a Gram matrix, and the rows that the coefficients make.

use super::Bench;
use crate::{
    check::inputs::Input,
    plugin::Block,
    stages::failure,
    strategy::decide::{DecisionPlan, ExtraRow, check, read_plan},
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

/// The mixing matrix, row by row, and the extra rows that it counts.
pub struct Decision {
    pub coefficients: Vec<Vec<f64>>,
    extra: Vec<Vec<f32>>,
}

impl Decision {
    /// The rows that come out, without rounding to `f32`.
    pub fn combine(&self, rows: &[&[f32]]) -> Vec<Vec<f64>> {
        let all: Vec<&[f32]> = rows.iter().copied().chain(self.extra.iter().map(|row| &row[..])).collect();
        let combined = |coefficients: &Vec<f64>| {
            let mut sum = vec![0.0; rows[0].len()];
            for (coefficient, row) in coefficients.iter().zip(&all) {
                sum.iter_mut().zip(*row).for_each(|(sum, &x)| *sum += coefficient * f64::from(x));
            }
            sum
        };
        self.coefficients.iter().map(combined).collect()
    }
}

impl Bench {
    /// Rows that come out where the clients' go in.
    pub fn rows_out(&mut self) -> Result<usize> {
        Ok(self.decision_plan(self.cohort)?.rows_out)
    }

    /// The coefficients, then the rows that they make.
    pub(super) fn mixed(&mut self, input: &Input) -> Result<Vec<f64>> {
        let rows: Vec<&[f32]> = input.rows.iter().map(|row| &row[..]).collect();
        let decision = self.decide(&rows, &super::examples(self.cohort))?;
        Ok([decision.coefficients.concat(), decision.combine(&rows).concat()].concat())
    }

    /// DECIDE_PLAN, then DECIDE. Root rows are the mean of the rows, previous aggregates half of it.
    pub(super) fn decide(&mut self, rows: &[&[f32]], examples: &[f64]) -> Result<Decision> {
        let plan = self.decision_plan(rows.len())?;
        let mean = |scale: f32| -> Vec<f32> {
            (0..rows[0].len()).map(|i| scale * rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect()
        };
        let extra_row = |row: &ExtraRow| match row {
            ExtraRow::Root => mean(1.0),
            ExtraRow::Previous => mean(0.5),
            ExtraRow::Zero => vec![0.0; rows[0].len()],
        };
        let extra: Vec<Vec<f32>> = plan.extra.iter().map(extra_row).collect();
        let all: Vec<&[f32]> = rows.iter().copied().chain(extra.iter().map(|row| &row[..])).collect();
        let k = all.len();
        let gram: Vec<f64> = all.iter().flat_map(|a| all.iter().map(|b| dot(a, b)).collect::<Vec<_>>()).collect();
        let mut weights = examples.to_vec();
        weights.resize(k, 0.0);
        let control = self.control();
        let (table, weights) = (control.put_table(&gram), control.put_weights(&weights));
        let mixing = control.blank_doubles(plan.rows_out * k);
        let block = Block { k, table: Some(table), weights: Some(weights), mix_out: Some(mixing), ..Block::default() };
        control.must_do(op::DECIDE, &block)?;
        let coefficients = control.instance.doubles(mixing).to_vec();
        check(&coefficients, k).map_err(|problem| failure(&self.name, op::DECIDE, problem))?;
        Ok(Decision { coefficients: coefficients.chunks(k).map(<[f64]>::to_vec).collect(), extra })
    }

    fn decision_plan(&mut self, rows: usize) -> Result<DecisionPlan> {
        let reply = self.call(op::DECIDE_PLAN, &Map::new().with("rows", rows as i64))?;
        Ok(read_plan(&reply, rows).map_err(|problem| failure(&self.name, op::DECIDE_PLAN, problem))?)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
