//! Role mix: rows become other rows before they are aggregated (nearest-neighbour mixing, bucketing).
//!
//! Distances and dot products between the rows come from the host as a Gram matrix, so a rule costs K², whatever the size
//! of the model; it answers with coefficients, and the host forms the mixed rows.

use super::{Plugin, require, required_u64};
use crate::abi::{extra_row, op};
use crate::{Block, Error, Map, Result, Value};

/// A row that the host adds behind the clients' rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraRow {
    /// The update of the server's own client, trained on root data.
    Root,
    /// The aggregate of the round before; zeros in the first.
    Previous,
    /// Zeros: with it [`Gram::dot`] and [`Gram::norm2`] are known.
    Zero,
}

/// The reply to DECIDE_PLAN.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionPlan {
    rows_out: u64,
    extra: Vec<ExtraRow>,
}

impl DecisionPlan {
    /// DECIDE makes `rows_out` rows, at least 1.
    pub fn rows(rows_out: u64) -> Self {
        DecisionPlan { rows_out, extra: Vec::new() }
    }

    /// Also shows this row to DECIDE, behind those asked for before.
    pub fn with(mut self, row: ExtraRow) -> Self {
        self.extra.push(row);
        self
    }

    /// `{rows_out, extra}`.
    pub fn encode(&self) -> Map {
        let name = |row: &ExtraRow| match row {
            ExtraRow::Root => extra_row::ROOT.into(),
            ExtraRow::Previous => extra_row::PREVIOUS.into(),
            ExtraRow::Zero => extra_row::ZERO.into(),
        };
        let extra: Vec<Value> = self.extra.iter().map(name).collect();
        Map::new().with("rows_out", self.rows_out as i64).with("extra", extra)
    }
}

/// Inner products of the rows, each minus a common origin that the host chooses: the zero vector, or one of the rows when
/// they lie so close together that their distances would be lost. Rows 0 to K − 1 are the clients', extra rows follow.
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a> {
    table: &'a [f64],
    rows: usize,
    examples: &'a [f64],
}

impl Gram<'_> {
    /// All rows, extra rows included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of examples behind the rows; 0 for extra rows.
    pub fn examples(&self) -> &[f64] {
        self.examples
    }

    /// Inner product of rows `i` and `j`, each minus the common origin. Of sums of rows whose coefficients add up to 0 it
    /// tells norms and inner products, whatever the origin, and more exactly than distances do where one row is huge.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        self.table[i * self.rows + j]
    }

    /// Squared Euclidean distance of rows `i` and `j`, at least 0.
    pub fn dist2(&self, i: usize, j: usize) -> f64 {
        (self.product(i, i) + self.product(j, j) - 2.0 * self.product(i, j)).max(0.0)
    }

    /// Squared Euclidean norm of row `i`, where row `zero` is the extra row of zeros.
    pub fn norm2(&self, i: usize, zero: usize) -> f64 {
        self.dist2(i, zero)
    }

    /// Inner product of rows `i` and `j`, where row `zero` is the extra row of zeros.
    pub fn dot(&self, i: usize, j: usize, zero: usize) -> f64 {
        self.product(i, j) - self.product(i, zero) - self.product(j, zero) + self.product(zero, zero)
    }
}

/// The mixing matrix, zero at first: row r of the result is Σⱼ `row(r)[j]`·(row j). A row with a single coefficient of
/// exactly 1 is copied bit for bit.
#[derive(Debug)]
pub struct Decision<'a> {
    coefficients: &'a mut [f64],
    rows: usize,
}

impl Decision<'_> {
    /// Rows that come out.
    pub fn rows_out(&self) -> usize {
        self.coefficients.len() / self.rows
    }

    /// Coefficients of result `r`, one for each row that DECIDE sees.
    pub fn row(&mut self, r: usize) -> &mut [f64] {
        &mut self.coefficients[r * self.rows..(r + 1) * self.rows]
    }
}

pub trait Mix: Plugin {
    /// DECIDE_PLAN: how many rows come out of DECIDE for `clients` rows, and which extra rows it wants to see.
    /// Default: as many as go in, and no extra rows.
    fn decision(&mut self, clients: u64) -> Result<DecisionPlan> {
        Ok(DecisionPlan::rows(clients))
    }

    /// DECIDE: the coefficients of every mixed row. Random numbers have round scope.
    fn decide(&mut self, gram: &Gram<'_>, decision: Decision<'_>) -> Result<()>;
}

/// The word of manifests.
pub const KIND: &str = "mix";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = true;

pub fn call<T: Mix>(plugin: &mut T, operation: u32, message: &Map) -> Option<Result<Map>> {
    (operation == op::DECIDE_PLAN).then(|| plan(message, |clients| plugin.decision(clients)))
}

pub fn block<T: Mix>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::DECIDE).then(|| decide(block, |gram, decision| plugin.decide(gram, decision)))
}

pub(super) fn plan(message: &Map, plan: impl FnOnce(u64) -> Result<DecisionPlan>) -> Result<Map> {
    Ok(plan(required_u64(message, "rows")?)?.encode())
}

pub(super) fn decide(block: &mut Block<'_>, decide: impl FnOnce(&Gram<'_>, Decision<'_>) -> Result<()>) -> Result<()> {
    let rows = block.k;
    let square = rows > 0 && rows.checked_mul(rows) == Some(block.table.len());
    require(square, "DECIDE", "at least one row and a `table` of k·k values")?;
    let whole = !block.mix_out.is_empty() && block.mix_out.len().is_multiple_of(rows);
    require(whole, "DECIDE", "`mix_out` of rows of k values")?;
    let examples = block.weights.ok_or_else(|| Error::argument("DECIDE needs `weights`"))?;
    block.mix_out.fill(0.0);
    decide(&Gram { table: block.table, rows, examples }, Decision { coefficients: block.mix_out, rows })
}
