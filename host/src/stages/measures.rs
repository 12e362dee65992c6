//! What the host measures on a whole vector before a stage sees its pieces.
//!
//! Sums run in `f64` over fixed granules of 65,536 elements that are added in order, so a measure depends on the values
//! alone. Where in the flow: before APPLY and ENCODE. What it never does: change the vector.

use colla_plugin_sdk::{
    Map, Value,
    abi::{FRAME, measure},
};

/// One measure that a plugin asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Norm2,
    NormInf,
    Sum,
    /// The `k`-th largest magnitude, 1 ≤ k ≤ number of elements.
    KthAbs {
        k: usize,
    },
}

/// The measures of one stage, in the order in which their values enter the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPlan(Vec<Measure>);

impl ScanPlan {
    /// Reads a reply to SCAN_PLAN for a vector of `len` elements.
    /// Errors: the message says what is wrong with the reply.
    pub fn from_reply(reply: &Map, len: usize) -> Result<Self, String> {
        let names = match reply.get("measures") {
            None => &[][..],
            Some(Value::List(names)) => names,
            Some(other) => return Err(format!("`measures` is {other:?}; it must be a list of names")),
        };
        names.iter().map(|name| Measure::from_value(name, reply, len)).collect::<Result<_, _>>().map(ScanPlan)
    }

    /// Measures `vector`, once for all its pieces.
    pub fn scan(&self, vector: &[f32]) -> Scan {
        Scan(self.0.iter().map(|measure| measure.take(vector)).collect())
    }

    /// Values that one block's table holds.
    pub fn table_len(&self) -> usize {
        self.0.iter().map(|m| if matches!(m, Measure::KthAbs { .. }) { 3 } else { 1 }).sum()
    }
}

impl Measure {
    fn from_value(name: &Value, reply: &Map, len: usize) -> Result<Self, String> {
        let Value::Str(name) = name else {
            return Err(format!("`measures` holds {name:?}; it must hold names"));
        };
        match name.as_str() {
            measure::NORM2 => Ok(Measure::Norm2),
            measure::NORM_INF => Ok(Measure::NormInf),
            measure::SUM => Ok(Measure::Sum),
            measure::KTH_ABS => match reply.i64("k") {
                Some(k) if k >= 1 && k as usize <= len => Ok(Measure::KthAbs { k: k as usize }),
                k => Err(format!("`k` is {k:?} for a vector of {len}; it must be from 1 to {len}")),
            },
            _ => Err(format!("asked for the measure `{name}`, which this host does not have")),
        }
    }

    fn take(&self, vector: &[f32]) -> Taken {
        match *self {
            Measure::Norm2 => Taken::Value(norm2(vector)),
            Measure::NormInf => Taken::Value(vector.iter().fold(0.0f32, |m, x| m.max(x.abs())).into()),
            Measure::Sum => Taken::Value(granules(vector, |x| x)),
            Measure::KthAbs { k } => {
                let threshold = kth_abs(vector, k);
                let above = vector.iter().filter(|x| x.abs() > threshold).count();
                Taken::KthAbs { threshold, ties_left: k - above }
            }
        }
    }
}

/// The values of a [`ScanPlan`] on one vector.
pub struct Scan(Vec<Taken>);

enum Taken {
    Value(f64),
    /// `ties_left`: elements of magnitude exactly `threshold` that the pieces still to come must keep.
    KthAbs {
        threshold: f32,
        ties_left: usize,
    },
}

impl Scan {
    /// Writes the table of the next piece. Pieces must be given in index order: ties go to the lowest indices first.
    pub fn table(&mut self, piece: &[f32], out: &mut Vec<f64>) {
        out.clear();
        for taken in &mut self.0 {
            match taken {
                Taken::Value(value) => out.push(*value),
                Taken::KthAbs { threshold, ties_left } => {
                    let ties = piece.iter().filter(|x| x.abs() == *threshold).count().min(*ties_left);
                    let above = piece.iter().filter(|x| x.abs() > *threshold).count();
                    *ties_left -= ties;
                    out.extend([f64::from(*threshold), ties as f64, (above + ties) as f64]);
                }
            }
        }
    }
}

/// Euclidean norm.
pub fn norm2(vector: &[f32]) -> f64 {
    squared_norm(vector).sqrt()
}

/// Squared Euclidean norm.
pub fn squared_norm(vector: &[f32]) -> f64 {
    granules(vector, |x| x * x)
}

fn granules(vector: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    vector.chunks(FRAME).map(|granule| granule.iter().map(|&x| term(f64::from(x))).sum::<f64>()).sum()
}

/// The `k`-th largest magnitude, found by selection on the bit patterns (which order as the magnitudes do).
fn kth_abs(vector: &[f32], k: usize) -> f32 {
    let mut magnitudes: Vec<u32> = vector.iter().map(|x| x.abs().to_bits()).collect();
    let index = magnitudes.len() - k;
    f32::from_bits(*magnitudes.select_nth_unstable(index).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_at_the_threshold_are_kept_from_the_lowest_index_on() {
        // The third largest magnitude is 2; 3 is above it, and two of the three 2s are kept, the first ones.
        let plan = ScanPlan(vec![Measure::KthAbs { k: 3 }]);
        let vector = [1.0, -2.0, 0.5, 3.0, 2.0, -2.0];
        let mut scan = plan.scan(&vector);
        let mut table = Vec::new();
        scan.table(&vector[..3], &mut table);
        assert_eq!(table, [2.0, 1.0, 1.0]);
        scan.table(&vector[3..], &mut table);
        assert_eq!(table, [2.0, 1.0, 2.0]);
    }

    #[test]
    fn norm_sum_and_largest_magnitude_are_those_of_a_hand_computed_vector() {
        let plan = ScanPlan(vec![Measure::Norm2, Measure::NormInf, Measure::Sum]);
        let mut table = Vec::new();
        plan.scan(&[3.0, -4.0]).table(&[3.0, -4.0], &mut table);
        assert_eq!(table, [5.0, 4.0, -1.0]);
    }

    #[test]
    fn a_reply_that_asks_for_the_impossible_is_refused_with_both_values() {
        let reply = Map::new().with("measures", vec![Value::from("kth_abs")]).with("k", 9i64);
        let error = ScanPlan::from_reply(&reply, 8).unwrap_err();
        assert_eq!(error, "`k` is Some(9) for a vector of 8; it must be from 1 to 8");
        let reply = Map::new().with("measures", vec![Value::from("entropy")]);
        assert!(ScanPlan::from_reply(&reply, 8).unwrap_err().contains("`entropy`"));
    }
}
