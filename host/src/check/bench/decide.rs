//! DECIDE, for the roles mix and aggregate: a plan, a Gram matrix, and the rows that the coefficients make.

use super::{Bench, MAX_ROWS};
use crate::{
    check::inputs::{Input, ROWS},
    plugin::Block,
    stages::failure,
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map, Value,
    abi::{extra_row, op},
};

/// Coefficients must be smaller than this.
const LIMIT: f64 = (1u128 << 64) as f64;

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
        Ok(self.decision_plan(ROWS)?.0)
    }

    /// The coefficients, then the rows that they make.
    pub(super) fn mixed(&mut self, input: &Input) -> Result<Vec<f64>> {
        let rows: Vec<&[f32]> = input.rows.iter().map(|row| &row[..]).collect();
        let decision = self.decide(&rows, &super::EXAMPLES)?;
        Ok([decision.coefficients.concat(), decision.combine(&rows).concat()].concat())
    }

    /// DECIDE_PLAN, then DECIDE. Root rows are the mean of the rows, previous aggregates half of it.
    pub(super) fn decide(&mut self, rows: &[&[f32]], examples: &[f64]) -> Result<Decision> {
        let (rows_out, names) = self.decision_plan(rows.len())?;
        let mean = |scale: f32| -> Vec<f32> {
            (0..rows[0].len()).map(|i| scale * rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect()
        };
        let extra: Vec<Vec<f32>> = names
            .iter()
            .map(|name| match name.as_str() {
                extra_row::ROOT => mean(1.0),
                extra_row::PREVIOUS => mean(0.5),
                _ => vec![0.0; rows[0].len()],
            })
            .collect();
        let all: Vec<&[f32]> = rows.iter().copied().chain(extra.iter().map(|row| &row[..])).collect();
        let k = all.len();
        let gram: Vec<f64> = all.iter().flat_map(|a| all.iter().map(|b| dot(a, b)).collect::<Vec<_>>()).collect();
        let mut weights = examples.to_vec();
        weights.resize(k, 0.0);
        let (table, weights) = (self.put_table(&gram), self.put_weights(&weights));
        let mixing = self.blank_doubles(rows_out * k);
        let block = Block { k, table: Some(table), weights: Some(weights), mix_out: Some(mixing), ..Block::default() };
        self.must_do(op::DECIDE, &block)?;
        let coefficients = self.instance.doubles(mixing);
        if let Some(at) = coefficients.iter().position(|a| !(a.is_finite() && a.abs() < LIMIT)) {
            let problem = format!("coefficient {} of result {} is {}", at % k, at / k, coefficients[at]);
            let advice = "coefficients must be finite and below 2^64 in magnitude";
            return Err(failure(&self.name, op::DECIDE, format!("{problem}; {advice}")).into());
        }
        Ok(Decision { coefficients: coefficients.chunks(k).map(<[f64]>::to_vec).collect(), extra })
    }

    /// `rows_out`, and the names of the extra rows.
    fn decision_plan(&mut self, rows: usize) -> Result<(usize, Vec<String>)> {
        let reply = self.instance.call(op::DECIDE_PLAN, &Map::new().with("rows", rows as i64))?;
        read_plan(&reply, rows).map_err(|problem| failure(&self.name, op::DECIDE_PLAN, problem).into())
    }
}

fn read_plan(reply: &Map, rows: usize) -> Result<(usize, Vec<String>), String> {
    let known = [extra_row::ROOT, extra_row::PREVIOUS, extra_row::ZERO];
    let name = |value: &Value| match value {
        Value::Str(name) if known.contains(&name.as_str()) => Ok(name.clone()),
        other => Err(format!("asks for the extra row {other:?}, which this host does not have")),
    };
    let extra = reply.list("extra").unwrap_or_default().iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let most = rows + extra.len();
    match reply.i64("rows_out") {
        Some(rows_out) if most <= MAX_ROWS && rows_out >= 1 && rows_out as usize <= most => {
            Ok((rows_out as usize, extra))
        }
        Some(rows_out) => Err(format!("`rows_out` is {rows_out} for {most} rows; it must be from 1 to {most}")),
        None => Err("the reply has no whole number `rows_out`".into()),
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
