//! DECIDE: from the Gram matrix of some rows to the coefficients of other rows, for the roles mix and aggregate.
//!
//! Where in the flow: [`Decider::plan`] before training, since a plugin may ask for the update of the server's own client;
//! `Decider::coefficients` when all rows are there.
//! What it never does: form a row; see [`super::combine`].

use super::{
    Member,
    combine::Combinations,
    gram::gram,
    kept::{Kept, Storage},
    room::Room,
    row_set::{Extra, RowSet},
};
use crate::{
    executor::Executor,
    finite::first_not_finite,
    plugin::{Block, PluginFailure},
    stages::failure,
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map, Value,
    abi::{extra_row, op},
};

/// More extra rows than there are kinds of them serve nobody.
pub const MAX_EXTRA: usize = 8;

/// What a plugin answered to DECIDE_PLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionPlan {
    /// Rows that go in, without the extra ones.
    pub rows: usize,
    pub rows_out: usize,
    pub extra: Vec<ExtraRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraRow {
    Root,
    Previous,
    Zero,
}

/// Rows that are no client's, where the run has them.
#[derive(Clone, Copy, Debug)]
pub struct Extras<'a> {
    /// Update of the server's own client.
    pub root: Option<&'a [f32]>,
    /// Aggregate of the round before; zeros in the first.
    pub previous: Option<&'a [f32]>,
}

/// What every decision of a round shares.
#[derive(Clone, Copy)]
pub struct Deciding<'a> {
    pub executor: &'a Executor,
    /// Where the rows that are made may lie.
    pub storage: &'a Storage,
    pub extras: Extras<'a>,
}

/// One deciding plugin's plan and its room in the control instance.
pub struct Decider {
    /// Position in the roster.
    pub index: usize,
    table: Room,
    examples: Room,
    mixing: Room,
}

impl Decider {
    pub fn new(index: usize) -> Self {
        Decider { index, table: Room::default(), examples: Room::default(), mixing: Room::default() }
    }

    /// Asks DECIDE_PLAN for `rows` rows, at least 1. Errors: a plugin failure for an unknown row, for a number of results
    /// that is 0 or above the number of rows it sees, or for `root` where the server has no data.
    pub fn plan(&self, member: &mut Member, rows: usize, has_root: bool) -> Result<DecisionPlan> {
        let reply = member.control.call(op::DECIDE_PLAN, &Map::new().with("rows", rows as i64))?;
        let plan = read_plan(&reply, rows).map_err(|message| failure(member.name(), op::DECIDE_PLAN, message))?;
        if plan.extra.contains(&ExtraRow::Root) && !has_root {
            let message =
                "it asks for the row `root`, and the server has no data of its own; set `federation.root-rows`";
            return Err(failure(member.name(), op::DECIDE_PLAN, message).into());
        }
        Ok(plan)
    }

    /// Plan and decision for rows that are all zero: how many rows they give. Errors as those of both.
    pub fn rehearse(&mut self, member: &mut Member, rows: usize, has_root: bool) -> Result<usize> {
        let plan = self.plan(member, rows, has_root)?;
        let all = rows + plan.extra.len();
        self.coefficients(member, &plan, &vec![0.0; all * all], &vec![1.0; rows])?;
        Ok(plan.rows_out)
    }

    /// DECIDE: the mixing matrix, `rows_out` × rows, checked.
    ///
    /// `examples`: one number for each client's row. Errors: a plugin failure for a coefficient that is missing, not finite
    /// or beyond 2⁶⁴; those of the Gram matrix.
    fn coefficients(
        &mut self,
        member: &mut Member,
        plan: &DecisionPlan,
        matrix: &[f64],
        examples: &[f64],
    ) -> Result<Vec<f64>> {
        let rows = plan.rows + plan.extra.len();
        let mut all_examples = examples.to_vec();
        all_examples.resize(rows, 0.0);
        let control = member.control.as_mut();
        let table = self.table.doubles(control, matrix)?;
        let weights = self.examples.doubles(control, &all_examples)?;
        // What the plugin does not write must not look like an answer.
        let mixing = self.mixing.doubles(control, &vec![f64::NAN; plan.rows_out * rows])?;
        let block =
            Block { k: rows, table: Some(table), weights: Some(weights), mix_out: Some(mixing), ..Block::default() };
        if control.block(op::DECIDE, &block)?.skipped {
            return Err(failure(member.name(), op::DECIDE, "skipped the decision; it must give coefficients").into());
        }
        let coefficients = control.doubles(mixing).to_vec();
        check(&coefficients, rows).map_err(|message| failure(member.name(), op::DECIDE, message))?;
        Ok(coefficients)
    }

    /// Gram matrix, decision, and the rows that it makes: `plan.rows_out` rows of `kept.len()` values.
    pub fn decide(
        &mut self,
        member: &mut Member,
        deciding: Deciding<'_>,
        plan: &DecisionPlan,
        kept: &Kept,
        examples: &[f64],
    ) -> Result<Kept> {
        let Deciding { executor, storage, extras } = deciding;
        let rows = RowSet::new(kept, plan.rows, plan.extra.iter().map(|row| extras.get(*row)).collect());
        let matrix = gram(executor, &rows)?;
        let coefficients = self.coefficients(member, plan, &matrix, examples)?;
        let made = Kept::new(storage, plan.rows_out, kept.len())?;
        let name = member.name();
        let combinations = Combinations { rows: &rows, coefficients: &coefficients, divisor: 1.0 };
        combinations.form(executor, |result, start, values| match first_not_finite(values) {
            None => made.write(result, start, values),
            Some(at) => Err(overflow(name, result, start + at, values[at]).into()),
        })?;
        Ok(made)
    }
}

impl<'a> Extras<'a> {
    fn get(&self, row: ExtraRow) -> Extra<'a> {
        let values = match row {
            ExtraRow::Root => self.root,
            ExtraRow::Previous => self.previous,
            ExtraRow::Zero => None,
        };
        values.map_or(Extra::Zero, Extra::Values)
    }
}

/// Reads a reply to DECIDE_PLAN for `rows` clients' rows. Errors: the message says what is wrong with it.
pub fn read_plan(reply: &Map, rows: usize) -> Result<DecisionPlan, String> {
    let names = match reply.get("extra") {
        None => &[][..],
        Some(Value::List(names)) => names,
        Some(other) => return Err(format!("`extra` is {other:?}; it must be a list of names")),
    };
    if names.len() > MAX_EXTRA {
        return Err(format!("asks for {} extra rows; at most {MAX_EXTRA} are given", names.len()));
    }
    let extra: Vec<ExtraRow> = names.iter().map(extra).collect::<Result<_, _>>()?;
    let most = rows + extra.len();
    match reply.i64("rows_out") {
        Some(rows_out) if rows_out >= 1 && rows_out as u64 <= most as u64 => {
            Ok(DecisionPlan { rows, rows_out: rows_out as usize, extra })
        }
        Some(rows_out) => Err(format!("`rows_out` is {rows_out} for {most} rows; it must be from 1 to {most}")),
        None => Err("the reply has no whole number `rows_out`".into()),
    }
}

fn extra(name: &Value) -> Result<ExtraRow, String> {
    match name {
        Value::Str(name) if name == extra_row::ROOT => Ok(ExtraRow::Root),
        Value::Str(name) if name == extra_row::PREVIOUS => Ok(ExtraRow::Previous),
        Value::Str(name) if name == extra_row::ZERO => Ok(ExtraRow::Zero),
        other => Err(format!("asks for the extra row {other:?}, which this host does not have")),
    }
}

/// Coefficients of `rows` rows each must be finite and below 2⁶⁴ in magnitude; the message says which is not.
pub fn check(coefficients: &[f64], rows: usize) -> Result<(), String> {
    const LIMIT: f64 = (1u128 << 64) as f64;
    match coefficients.iter().position(|a| !(a.is_finite() && a.abs() < LIMIT)) {
        None => Ok(()),
        Some(at) => Err(format!(
            "coefficient {} of result {} is {}; coefficients must be finite and below 2^64 in magnitude",
            at % rows,
            at / rows,
            coefficients[at]
        )),
    }
}

fn overflow(name: &str, result: usize, index: usize, value: f32) -> PluginFailure {
    failure(name, op::DECIDE, format!("with its coefficients, element {index} of result {result} is {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(rows_out: i64, extra: &[&str]) -> Map {
        let extra: Vec<Value> = extra.iter().map(|&name| name.into()).collect();
        Map::new().with("rows_out", rows_out).with("extra", extra)
    }

    #[test]
    fn a_plan_is_read_with_its_extra_rows_in_the_order_asked() {
        let plan = read_plan(&reply(2, &["zero", "previous"]), 5).unwrap();
        assert_eq!((plan.rows_out, plan.extra), (2, vec![ExtraRow::Zero, ExtraRow::Previous]));
        // As many as it sees, extra rows included.
        assert_eq!(read_plan(&reply(6, &["root"]), 5).unwrap().rows_out, 6);
    }

    #[test]
    fn plans_that_cannot_be_followed_are_refused_with_the_numbers() {
        let refused = |reply: &Map| read_plan(reply, 5).unwrap_err();
        assert_eq!(refused(&reply(0, &[])), "`rows_out` is 0 for 5 rows; it must be from 1 to 5");
        assert_eq!(
            refused(&reply(i64::MAX, &["zero"])),
            format!("`rows_out` is {} for 6 rows; it must be from 1 to 6", i64::MAX)
        );
        assert_eq!(
            refused(&reply(1, &["median"])),
            "asks for the extra row Str(\"median\"), which this host does not have"
        );
        assert!(refused(&Map::new()).contains("no whole number `rows_out`"));
        assert!(refused(&reply(1, &["zero"; 9])).contains("9 extra rows"));
    }

    #[test]
    fn coefficients_must_be_finite_and_bounded() {
        check(&[0.0, -1.5, 1e19, 1.0], 2).unwrap();
        for (wrong, shown) in
            [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf"), ((1u128 << 64) as f64, "18446744073709552000")]
        {
            let message = check(&[0.0, 1.0, 0.0, wrong], 2).unwrap_err();
            assert!(message.starts_with(&format!("coefficient 1 of result 1 is {shown};")), "{message}");
        }
    }
}
