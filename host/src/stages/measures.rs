//! What the host measures on a vector before a stage sees its pieces: on the whole vector, or on each piece by itself.
//!
//! Sums run in `f64` over fixed granules of 65,536 elements that are added in order, so a measure depends on the values
//! alone. Where in the flow: before APPLY and ENCODE. What it never does: change the vector.

use colla_plugin_sdk::{
    Map, Value,
    abi::{FRAME, measure},
};

/// Most values of a stage's own scan.
const MAX_OWN: i64 = 4096;

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

/// What a stage wants to know of a vector, in the order in which the values enter the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPlan {
    measures: Vec<Measure>,
    /// Each piece is measured by itself.
    of_pieces: bool,
    /// Values of the stage's own scan, which stand behind the measures.
    own: usize,
}

impl ScanPlan {
    /// Reads a reply to SCAN_PLAN for a vector of `len` elements.
    /// Errors: the message says what is wrong with the reply.
    pub fn from_reply(reply: &Map, len: usize) -> Result<Self, String> {
        let names = match reply.get("measures") {
            None => &[][..],
            Some(Value::List(names)) => names,
            Some(other) => return Err(format!("`measures` is {other:?}; it must be a list of names")),
        };
        let of_pieces = match reply.get("of") {
            None => false,
            Some(Value::Str(of)) if of == "vector" => false,
            Some(Value::Str(of)) if of == "piece" => true,
            Some(other) => return Err(format!("`of` is {other:?}; it must be \"vector\" or \"piece\"")),
        };
        let own = match reply.get("scan") {
            None => 0,
            Some(Value::I64(own @ 0..=MAX_OWN)) => *own as usize,
            Some(other) => return Err(format!("`scan` is {other:?}; it must be a whole number from 0 to {MAX_OWN}")),
        };
        let measures = names.iter().map(|name| Measure::from_value(name, reply, len)).collect::<Result<_, _>>()?;
        Ok(ScanPlan { measures, of_pieces, own })
    }

    /// Values of the stage's own scan; 0 if it has none.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Measures `vector`, once for all its pieces. `own`: what the stage's own scan of it gave, [`ScanPlan::own`] values.
    pub fn scan(&self, vector: &[f32], own: Vec<f64>) -> Scan {
        let taken = match self.of_pieces {
            true => Vec::new(),
            false => self.measures.iter().map(|measure| measure.take(vector)).collect(),
        };
        let of_pieces = if self.of_pieces { self.measures.clone() } else { Vec::new() };
        Scan { taken, of_pieces, own }
    }

    /// Values that one block's table holds.
    pub fn table_len(&self) -> usize {
        let measured = |m: &Measure| if matches!(m, Measure::KthAbs { .. }) { 3 } else { 1 };
        self.measures.iter().map(measured).sum::<usize>() + self.own
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
                // A piece may be shorter than k, and a tensor may be empty.
                let k = k.min(vector.len());
                let threshold = kth_abs(vector, k);
                let above = vector.iter().filter(|x| x.abs() > threshold).count();
                Taken::KthAbs { threshold, ties_left: k - above }
            }
        }
    }
}

/// The values of a [`ScanPlan`] on one vector.
pub struct Scan {
    /// Measures of the whole vector.
    taken: Vec<Taken>,
    /// Measures that are taken of each piece when its table is written.
    of_pieces: Vec<Measure>,
    own: Vec<f64>,
}

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
        self.taken.iter_mut().for_each(|taken| taken.write(piece, out));
        self.of_pieces.iter().for_each(|measure| measure.take(piece).write(piece, out));
        out.extend(&self.own);
    }
}

impl Taken {
    /// The values for `piece`, the next one.
    fn write(&mut self, piece: &[f32], out: &mut Vec<f64>) {
        match self {
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

/// The `k`-th largest magnitude, found by selection on the bit patterns (which order as the magnitudes do). 0 for none.
fn kth_abs(vector: &[f32], k: usize) -> f32 {
    if k == 0 {
        return 0.0;
    }
    let mut magnitudes: Vec<u32> = vector.iter().map(|x| x.abs().to_bits()).collect();
    let index = magnitudes.len() - k;
    f32::from_bits(*magnitudes.select_nth_unstable(index).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(measures: &[Measure]) -> ScanPlan {
        ScanPlan { measures: measures.to_vec(), ..ScanPlan::default() }
    }

    #[test]
    fn ties_at_the_threshold_are_kept_from_the_lowest_index_on() {
        // The third largest magnitude is 2; 3 is above it, and two of the three 2s are kept, the first ones.
        let plan = plan(&[Measure::KthAbs { k: 3 }]);
        let vector = [1.0, -2.0, 0.5, 3.0, 2.0, -2.0];
        let mut scan = plan.scan(&vector, Vec::new());
        let mut table = Vec::new();
        scan.table(&vector[..3], &mut table);
        assert_eq!(table, [2.0, 1.0, 1.0]);
        scan.table(&vector[3..], &mut table);
        assert_eq!(table, [2.0, 1.0, 2.0]);
    }

    #[test]
    fn norm_sum_and_largest_magnitude_are_those_of_a_hand_computed_vector() {
        let plan = plan(&[Measure::Norm2, Measure::NormInf, Measure::Sum]);
        let mut table = Vec::new();
        plan.scan(&[3.0, -4.0], Vec::new()).table(&[3.0, -4.0], &mut table);
        assert_eq!(table, [5.0, 4.0, -1.0]);
    }

    #[test]
    fn measures_of_pieces_see_nothing_but_the_piece_and_own_values_stand_behind_them() {
        let measures = vec![Measure::Norm2, Measure::KthAbs { k: 2 }, Measure::Sum];
        let plan = ScanPlan { measures, of_pieces: true, own: 2 };
        assert_eq!(plan.table_len(), 7);
        let vector = [3.0, -4.0, 4.0, 12.0, 0.0];
        let mut scan = plan.scan(&vector, vec![8.0, 9.0]);
        let mut table = Vec::new();
        // √(9 + 16 + 16) = √41; the two of magnitude 4 are kept.
        scan.table(&vector[..3], &mut table);
        assert_eq!(table, [41f64.sqrt(), 4.0, 2.0, 2.0, 3.0, 8.0, 9.0]);
        scan.table(&vector[3..4], &mut table);
        assert_eq!(table, [12.0, 12.0, 1.0, 1.0, 12.0, 8.0, 9.0], "one element, though k is 2");
        scan.table(&[], &mut table);
        assert_eq!(table, [0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0], "an empty tensor");
    }

    #[test]
    fn a_reply_that_asks_for_the_impossible_is_refused_with_both_values() {
        let reply = Map::new().with("measures", vec![Value::from("kth_abs")]).with("k", 9i64);
        let error = ScanPlan::from_reply(&reply, 8).unwrap_err();
        assert_eq!(error, "`k` is Some(9) for a vector of 8; it must be from 1 to 8");
        let reply = Map::new().with("measures", vec![Value::from("entropy")]);
        assert!(ScanPlan::from_reply(&reply, 8).unwrap_err().contains("`entropy`"));
        let refused = |reply: Map| ScanPlan::from_reply(&reply, 8).unwrap_err();
        assert_eq!(refused(Map::new().with("of", "row")), "`of` is Str(\"row\"); it must be \"vector\" or \"piece\"");
        for own in [-1, 4097, i64::MAX] {
            let message = format!("`scan` is I64({own}); it must be a whole number from 0 to 4096");
            assert_eq!(refused(Map::new().with("scan", own)), message);
        }
        assert_eq!(ScanPlan::from_reply(&Map::new().with("scan", 4096i64), 8).unwrap().own(), 4096);
    }
}
