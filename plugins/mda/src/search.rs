//! The n − f rows with the smallest largest distance, exactly.
//!
//! Where in the flow: DECIDE asks with squared distances. Rows farther apart than d are in conflict. A set of diameter d or
//! less leaves out rows that cover all conflicts; whether f rows can is asked with the usual branching on the row with the
//! most conflicts (either it is left out, or all that it conflicts with are), and the smallest d by bisection over the
//! distances. What it never does: approximate.

use colla_plugin_sdk::{Error, Result};

/// Rows at most.
pub const MAX_ROWS: usize = WORDS * 64;
/// Branches at most, so that a search ends within the host's limit for a call.
pub const MAX_STEPS: u32 = 100_000;

const WORDS: usize = 4;

/// A set of rows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rows([u64; WORDS]);

impl Rows {
    fn first(count: usize) -> Self {
        let mut rows = Rows([0; WORDS]);
        (0..count).for_each(|row| rows.insert(row));
        rows
    }

    fn insert(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    fn remove(&mut self, row: usize) {
        self.0[row / 64] &= !(1 << (row % 64));
    }

    fn contains(&self, row: usize) -> bool {
        self.0[row / 64] >> (row % 64) & 1 == 1
    }

    fn and(mut self, other: Rows) -> Rows {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    fn without(mut self, other: Rows) -> Rows {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_ROWS).filter(move |&row| self.contains(row))
    }
}

/// Which rows are too far apart, and how much work is left.
struct Search {
    conflicts: Vec<Rows>,
    steps: u32,
}

/// The n − f rows, ascending, whose largest distance is smallest; the first such set in lexicographic order.
///
/// `n` is from 1 to [`MAX_ROWS`], `f` less than n, `distance` symmetric. Errors: `E_NUMERIC` beyond [`MAX_STEPS`].
pub fn smallest_diameter(n: usize, f: usize, distance: impl Fn(usize, usize) -> f64) -> Result<Vec<usize>> {
    let mut search = Search { conflicts: Vec::new(), steps: 0 };
    let mut diameters: Vec<f64> =
        (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| distance(i, j)).collect();
    diameters.push(0.0);
    diameters.sort_by(f64::total_cmp);
    diameters.dedup();
    // The largest one leaves no conflict, so the bisection ends at one that can be kept.
    let (mut low, mut high) = (0, diameters.len() - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        search.forbid(n, diameters[middle], &distance);
        if search.can_cover(Rows::first(n), f)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    search.forbid(n, diameters[low], &distance);
    search.first_set(n, f)
}

impl Search {
    /// Conflicts are the pairs with a distance above this one.
    fn forbid(&mut self, n: usize, diameter: f64, distance: &impl Fn(usize, usize) -> f64) {
        let far = |i: usize| {
            let mut rows = Rows::first(0);
            (0..n).filter(|&j| j != i && distance(i, j) > diameter).for_each(|j| rows.insert(j));
            rows
        };
        self.conflicts = (0..n).map(far).collect();
    }

    /// Row by row, takes each one with which `f` rows left out still suffice.
    fn first_set(&mut self, n: usize, f: usize) -> Result<Vec<usize>> {
        let (mut open, mut left, mut taken) = (Rows::first(n), f, Vec::with_capacity(n - f));
        for row in 0..n {
            if taken.len() == n - f || !open.contains(row) {
                continue;
            }
            open.remove(row);
            let out = self.conflicts[row].and(open);
            if out.len() <= left && self.can_cover(open.without(out), left - out.len())? {
                open = open.without(out);
                left -= out.len();
                taken.push(row);
            } else {
                left -= 1;
            }
        }
        Ok(taken)
    }

    /// Whether at most `left` of these rows cover all conflicts among them.
    fn can_cover(&mut self, mut rows: Rows, mut left: usize) -> Result<bool> {
        loop {
            self.take_step()?;
            let (row, most, total) = self.most_conflicts(rows);
            if most == 0 {
                return Ok(true);
            }
            // Each row covers at most `most` of total/2 conflicts.
            if total > 2 * left * most {
                return Ok(false);
            }
            rows.remove(row);
            // With more conflicts than rows may be left out, this one must be; so may it with a single conflict.
            if most <= left && most > 1 {
                let out = self.conflicts[row].and(rows);
                if self.can_cover(rows.without(out), left - most)? {
                    return Ok(true);
                }
            }
            left -= 1;
        }
    }

    /// The row with the most conflicts among these rows, the first of several; their number; the sum over all rows.
    fn most_conflicts(&self, rows: Rows) -> (usize, usize, usize) {
        let (mut row, mut most, mut total) = (0, 0, 0);
        for candidate in rows.iter() {
            let count = self.conflicts[candidate].and(rows).len();
            total += count;
            if count > most {
                (row, most) = (candidate, count);
            }
        }
        (row, most, total)
    }

    fn take_step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        Err(Error::numeric(format!(
            "the search for the smallest diameter takes more than {MAX_STEPS} steps for these distances; use a smaller \
             `f`, smaller cohorts, or `multi-krum`"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All subsets in lexicographic order, the first of the smallest diameter.
    fn enumerated(n: usize, f: usize, distance: impl Fn(usize, usize) -> f64) -> Vec<usize> {
        let mut best: Option<(f64, Vec<usize>)> = None;
        for bits in (0u32..1 << n).filter(|bits| bits.count_ones() as usize == n - f) {
            let rows: Vec<usize> = (0..n).filter(|i| bits >> i & 1 == 1).collect();
            let pairs = rows.iter().flat_map(|&i| rows.iter().map(move |&j| (i, j)));
            let diameter = pairs.filter(|(i, j)| i != j).map(|(i, j)| distance(i, j)).fold(0.0, f64::max);
            let better =
                best.as_ref().is_none_or(|(least, set)| diameter < *least || (diameter == *least && rows < *set));
            if better {
                best = Some((diameter, rows));
            }
        }
        best.map(|(_, rows)| rows).unwrap_or_default()
    }

    #[test]
    fn the_search_finds_what_the_enumeration_of_all_subsets_finds() {
        let mut state = 12_345u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for case in 0..300 {
            let n = 1 + draw(10) as usize;
            let f = draw(n as u64) as usize;
            // Few different distances make ties, many make none; they need not be a metric's.
            let levels = [2, 4, 1_000][case % 3];
            let table: Vec<f64> = (0..n * n).map(|_| draw(levels) as f64).collect();
            let distance = |i: usize, j: usize| table[i.min(j) * n + i.max(j)];
            let found = smallest_diameter(n, f, distance).unwrap();
            assert_eq!(found, enumerated(n, f, distance), "case {case}: {n} rows, f = {f}, {table:?}");
        }
    }

    #[test]
    fn a_large_cohort_with_many_hostile_rows_apart_is_found_in_few_steps() {
        // 156 rows near each other, 100 far from them and near each other.
        let distance = |i: usize, j: usize| match (i % 5 < 3, j % 5 < 3) {
            (true, true) => 1.0 + ((i * 31 + j * 31 + i * j) % 97) as f64 * 1e-3,
            (false, false) => 0.1,
            _ => 1e6,
        };
        let honest: Vec<usize> = (0..256).filter(|i| i % 5 < 3).collect();
        assert_eq!(smallest_diameter(256, 256 - honest.len(), distance).unwrap(), honest);
    }

    #[test]
    fn a_search_that_would_not_end_is_refused() {
        // 60 triples of rows far apart need two rows left out of each, 120 in all: every choice among them is tried.
        let far = |i: usize, j: usize| i < 180 && i / 3 == j / 3;
        let distance = |i: usize, j: usize| if far(i, j) { 2.0 } else { 1.0 };
        let refused = smallest_diameter(256, 119, distance).unwrap_err();
        assert!(refused.message.contains("takes more than 100000 steps"), "{}", refused.message);
        assert_eq!(smallest_diameter(256, 120, distance).unwrap().len(), 136);
    }
}
