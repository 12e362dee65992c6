//! What a stage lets the host measure on the whole vector, and the answers.
//!
//! Where in the flow: SCAN_PLAN asks once per vector; the values stand in `table` of every APPLY or ENCODE of it,
//! in the order asked. The host measures exactly and in a fixed order, so results do not depend on threads.

use crate::abi::measure;
use crate::{Error, Map, Result, Value};

/// The measures that a stage wants, in order. Default: none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanPlan {
    measures: Vec<&'static str>,
    k: Option<u64>,
    of_pieces: bool,
    own: u32,
}

impl ScanPlan {
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds the Euclidean norm: one value.
    pub fn norm2(mut self) -> Self {
        self.measures.push(measure::NORM2);
        self
    }

    /// Adds the largest magnitude: one value.
    pub fn norm_inf(mut self) -> Self {
        self.measures.push(measure::NORM_INF);
        self
    }

    /// Adds the sum of the elements: one value.
    pub fn sum(mut self) -> Self {
        self.measures.push(measure::SUM);
        self
    }

    /// Adds the `k`-th largest magnitude: three values, see [`KthAbs`]. At most one `k` per plan; the last one counts.
    pub fn kth_abs(mut self, k: u64) -> Self {
        self.measures.push(measure::KTH_ABS);
        self.k = Some(k);
        self
    }

    /// Measures each piece by itself instead of the whole vector; `kth_abs` then counts within the piece, at most all of it.
    pub fn of_pieces(mut self) -> Self {
        self.of_pieces = true;
        self
    }

    /// Adds the stage's own scan: its SCAN sees the vector frame by frame and carries `values` numbers, at most 4096, which
    /// stand in [`Measures`] behind the host's.
    pub fn own(mut self, values: u32) -> Self {
        self.own = values;
        self
    }

    /// `{measures: [..], k, of, scan}`; all but the first are left out where nothing needs them.
    pub fn encode(&self) -> Map {
        let measures: Vec<Value> = self.measures.iter().map(|&name| name.into()).collect();
        let mut message = Map::new().with("measures", measures);
        if let Some(k) = self.k {
            message = message.with("k", k as i64);
        }
        if self.of_pieces {
            message = message.with("of", "piece");
        }
        if self.own > 0 {
            message = message.with("scan", self.own);
        }
        message
    }
}

/// The values of the measures, one after another in the order asked.
#[derive(Clone, Copy, Debug)]
pub struct Measures<'a>(pub &'a [f64]);

/// The answer to [`ScanPlan::kth_abs`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KthAbs {
    /// The `k`-th largest magnitude of the whole vector.
    pub threshold: f32,
    /// How many elements of this piece with exactly this magnitude are kept: the first ones.
    pub ties_kept: usize,
    /// How many elements of this piece are kept in all.
    pub kept: usize,
}

impl Measures<'_> {
    /// The value at position `at`. Errors: `E_ARG` if it is absent, `E_NUMERIC` if it is not finite.
    pub fn value(&self, at: usize) -> Result<f64> {
        let value = *self.0.get(at).ok_or_else(|| {
            Error::argument(format!("`table` holds {} values, the plan asked for {} or more", self.0.len(), at + 1))
        })?;
        match value {
            value if value.is_finite() => Ok(value),
            // Not with the number: formatting floats would add 17 KB to every compressor.
            value if value.is_nan() => Err(Error::numeric(format!("measure {at} of the vector is not a number"))),
            _ => Err(Error::numeric(format!("measure {at} of the vector is infinite"))),
        }
    }

    /// The three values from position `at` on.
    pub fn kth_abs(&self, at: usize) -> Result<KthAbs> {
        Ok(KthAbs {
            threshold: self.value(at)? as f32,
            ties_kept: self.value(at + 1)? as usize,
            kept: self.value(at + 2)? as usize,
        })
    }
}
