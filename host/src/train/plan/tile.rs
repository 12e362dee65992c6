//! Products of matrices in vector registers, every element summed in one fixed order.
//!
//! ```text
//! s ← 0 (or what the place held);   s ← fma(a[i][k], b[k][j], s)  for k = 0, 1, 2, …
//! ```
//! A tile is some rows of the left factor times one panel of the right one, sixteen columns wide. Each element of the
//! result is one chain of fused multiply-adds, rounded once a step, in the order of the inner index. So its bits depend
//! on the factors alone: not on the width of the registers, nor on how rows, columns or the inner index are cut.
//!
//! Where in the flow: under every layer, forward and backward. What it never does: rearrange a factor, touch memory by
//! unsafe code of ours, or choose by anything but shapes and registers.

use crate::prefetch::prefetch;
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::ops::Range;

/// Columns of a panel. Whoever holds a right factor leaves as many elements of room behind it.
pub const WIDTH: usize = 16;

/// What a sum begins with, and what becomes of it. A type each, so that no tile asks which.
pub trait Sum: Copy {
    /// Begins with what its place holds, so that one chain goes on; else with zero.
    const CONTINUES: bool = false;
    /// Meets what its place holds when it is complete; else overwrites it.
    const MEETS: bool = false;

    /// What a place will hold. `before`: what it holds, or anything if nothing is met.
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s;
}

/// From zero; overwrites its place.
#[derive(Clone, Copy, Debug)]
pub struct Fresh;
/// From what its place holds.
#[derive(Clone, Copy, Debug)]
pub struct Continued;
/// From zero; added to its place when it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Added;
/// From zero; when it is complete, its product with this rate is taken from its place.
#[derive(Clone, Copy, Debug)]
pub struct Descended(pub f32);

impl Sum for Fresh {
    #[inline(always)]
    fn end<S: Simd>(self, _simd: S, _before: S::f32s, sum: S::f32s) -> S::f32s {
        sum
    }
}

impl Sum for Continued {
    const CONTINUES: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, _simd: S, _before: S::f32s, sum: S::f32s) -> S::f32s {
        sum
    }
}

impl Sum for Added {
    const MEETS: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s {
        simd.add_f32s(before, sum)
    }
}

impl Sum for Descended {
    const MEETS: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s {
        simd.sub_f32s(before, simd.mul_f32s(simd.splat_f32s(self.0), sum))
    }
}

/// A left factor whose rows lie in runs: for each segment of the inner index, every row has one of the same length.
pub trait Runs: Copy {
    fn segments(&self) -> usize;
    fn length(&self, segment: usize) -> usize;
    /// At least `length(segment)` elements.
    fn run(&self, row: usize, segment: usize) -> &[f32];

    /// The row of the right factor that each element of a row meets, if they do not meet one after another; such a factor
    /// has one segment.
    #[inline(always)]
    fn meets(&self) -> Option<&[u32]> {
        None
    }
}

/// A left factor whose columns lie in runs.
pub trait Columns: Copy {
    /// How many columns: the inner size of the product.
    fn depth(&self) -> usize;
    /// Column `k` from `row` on, and whatever lies behind.
    fn column(&self, k: usize, row: usize) -> &[f32];
}

/// A right factor in panels: columns 0..16 of all its rows, then columns 16..32, …; the last may be narrower.
///
/// Sixteen elements are read at each row of a narrow panel too; what lies beyond its width reaches no result.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    pub values: &'a [f32],
    /// Rows of each panel.
    pub depth: usize,
    /// Row that meets the left factor's first element.
    pub first: usize,
    pub columns: usize,
}

/// Where the result goes: row `r` begins at `place`, and `panel_stride` further on for each panel before its own.
pub struct Target<'a> {
    pub values: &'a mut [f32],
    pub place: Place<'a>,
    pub panel_stride: usize,
    /// A narrow panel's rows may be stored sixteen wide in ascending order, as what they spill over comes later.
    pub overlapping: bool,
}

/// Where each row of a result begins.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// So far apart.
    Stride(usize),
    /// As listed.
    Listed(&'a [u32]),
}

impl Place<'_> {
    #[inline(always)]
    fn of(self, row: usize) -> usize {
        match self {
            Place::Stride(stride) => row * stride,
            Place::Listed(places) => places[row] as usize,
        }
    }
}

/// `target = left · right`, for the first `rows` rows of a left factor in [`Runs`].
pub struct ByRuns<'a, A, M> {
    pub left: A,
    pub rows: usize,
    pub right: Panels<'a>,
    pub target: Target<'a>,
    pub sum: M,
}

/// `target = left · right`, for the first `rows` rows of a left factor in [`Columns`].
pub struct ByColumns<'a, A, M> {
    pub left: A,
    pub rows: usize,
    pub right: Panels<'a>,
    pub target: Target<'a>,
    pub sum: M,
}

/// What the tiles of one panel share.
struct Part<'a, A, M> {
    left: A,
    right: &'a [f32],
    /// Rows of the panel.
    depth: usize,
    width: usize,
    sum: M,
    /// Width of a row as it is stored.
    stored: usize,
}

/// The tiles' function for a height that is known at run time only.
macro_rules! tiles_of {
    ($rows:expr, [$($n:literal)*], $tiles:ident, $vectors:literal, $whole:literal, $arguments:tt) => {
        match $rows {
            $($n => $tiles::<S, A, M, $n, $vectors, $whole> $arguments,)*
            _ => unreachable!("a tile has at most as many rows as the registers allow"),
        }
    };
}

/// The tiles' function for registers, of which all but one kind are told apart before anything is compiled.
macro_rules! tiles_on {
    ($height:expr, $tiles:ident, $whole:literal, $arguments:tt) => {
        if const { S::F32_LANES == 16 } {
            tiles_of!($height, [1 2 3 4 5 6 7 8 9 10 11 12], $tiles, 1, $whole, $arguments);
        } else if const { S::F32_LANES == 8 } {
            tiles_of!($height, [1 2 3 4 5 6], $tiles, 2, $whole, $arguments);
        } else if const { S::F32_LANES == 4 } {
            tiles_of!($height, [1 2 3 4 5 6], $tiles, 4, $whole, $arguments);
        } else {
            tiles_of!($height, [1], $tiles, 16, $whole, $arguments);
        }
    };
}

macro_rules! product {
    ($product:ident, $left:ident, $tiles:ident) => {
        impl<A: $left, M: Sum> WithSimd for $product<'_, A, M> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Panels { values, depth, first, columns } = self.right;
                let Target { values: out, place, panel_stride, overlapping } = self.target;
                let runs = runs_of_tiles(self.rows, const { most_rows::<S>() });
                for (panel, column) in (0..columns).step_by(WIDTH).enumerate() {
                    let width = WIDTH.min(columns - column);
                    let right = &values[column * depth + first * width..];
                    let stored = if overlapping { WIDTH } else { width };
                    let part = Part { left: self.left, right, depth, width, sum: self.sum, stored };
                    let out = &mut out[panel * panel_stride..];
                    for (rows, height) in runs.clone() {
                        if width == WIDTH {
                            tiles_on!(height, $tiles, true, (simd, &part, rows, out, place));
                        } else {
                            tiles_on!(height, $tiles, false, (simd, &part, rows, out, place));
                        }
                    }
                }
            }
        }
    };
}

/// Rows that are cut into tiles of one height, and that height, for as many tiles as `most` rows of each ask for: two
/// heights that differ by one, since the more sums there are, the better they hide the latency of a multiply-add.
fn runs_of_tiles(rows: usize, most: usize) -> impl Iterator<Item = (Range<usize>, usize)> + Clone {
    let tiles = rows.div_ceil(most).max(1);
    let (height, higher) = (rows / tiles, rows % tiles);
    let split = higher * (height + 1);
    [(0..split, height + 1), (split..rows, height)].into_iter().filter(|(rows, _)| !rows.is_empty())
}

/// With as many sums as the registers hold.
const fn most_rows<S: Simd>() -> usize {
    match S::F32_LANES {
        16 => 12,
        4 | 8 => 6,
        _ => 1,
    }
}

/// First column and number of columns of each piece of a matrix in panels: `most` whole panels at a time, then whole
/// ones, then the narrow one.
pub fn pieces(columns: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = columns - first;
        let count = [most * WIDTH, WIDTH].into_iter().find(|&count| count <= left).unwrap_or(left);
        first += count;
        (count > 0).then_some((first - count, count))
    })
}

product!(ByRuns, Runs, tiles_of_runs);
product!(ByColumns, Columns, tiles_of_columns);

/// Tiles of `R` rows each, which `rows` are a multiple of, on a panel that is `WHOLE` or narrow.
#[inline(always)]
fn tiles_of_runs<S: Simd, A: Runs, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    rows: Range<usize>,
    out: &mut [f32],
    place: Place<'_>,
) {
    for row in rows.step_by(R) {
        tile_of_runs::<S, A, M, R, V, WHOLE>(simd, part, row, out, place);
    }
}

/// As [`tiles_of_runs`].
#[inline(always)]
fn tiles_of_columns<S: Simd, A: Columns, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    rows: Range<usize>,
    out: &mut [f32],
    place: Place<'_>,
) {
    for row in rows.step_by(R) {
        tile_of_columns::<S, A, M, R, V, WHOLE>(simd, part, row, out, place);
    }
}

/// `R` rows, each in `V` vectors.
type Sums<S, const R: usize, const V: usize> = [[<S as Simd>::f32s; V]; R];

#[inline(always)]
fn tile_of_runs<S: Simd, A: Runs, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    row: usize,
    out: &mut [f32],
    place: Place<'_>,
) {
    let places: [usize; R] = from_fn(|r| place.of(row + r));
    let mut sums = begin::<S, A, M, R, V, WHOLE>(simd, part, out, places);
    let (left, width, mut right) = (part.left, part.width, part.right);
    for segment in 0..left.segments() {
        let length = left.length(segment);
        // All of one length, told once, so that the compiler need not check each element.
        let runs: [&[f32]; R] = from_fn(|r| &left.run(row + r, segment)[..length]);
        if let Some(meets) = left.meets() {
            // No hardware foresees which rows are read. The first tile on a panel brings those of the next panel for all.
            let next = if row == 0 { right.get(part.depth * WIDTH..).unwrap_or(&[]) } else { &[] };
            let (panel, next) = (right.as_chunks::<WIDTH>().0, next.as_chunks::<WIDTH>().0);
            for (k, &at) in meets[..length].iter().enumerate() {
                let at = at as usize;
                if WHOLE {
                    next.get(at).into_iter().for_each(prefetch);
                    step::<S, R, V>(simd, &mut sums, |r| runs[r][k], &panel[at]);
                } else {
                    step::<S, R, V>(simd, &mut sums, |r| runs[r][k], &right[at * width..]);
                }
            }
            break;
        }
        // Apart, because a width that the compiler knows spares it a check in each step.
        if WHOLE {
            let panel = &right.as_chunks::<WIDTH>().0[..length];
            for k in 0..length {
                step::<S, R, V>(simd, &mut sums, |r| runs[r][k], &panel[k]);
            }
        } else {
            for k in 0..length {
                step::<S, R, V>(simd, &mut sums, |r| runs[r][k], &right[k * width..]);
            }
        }
        right = &right[length * width..];
    }
    end::<S, A, M, R, V, WHOLE>(simd, part, out, places, sums);
}

#[inline(always)]
fn tile_of_columns<S: Simd, A: Columns, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    row: usize,
    out: &mut [f32],
    place: Place<'_>,
) {
    let places: [usize; R] = from_fn(|r| place.of(row + r));
    let mut sums = begin::<S, A, M, R, V, WHOLE>(simd, part, out, places);
    let (left, width) = (part.left, part.width);
    if WHOLE {
        let right = &part.right[..left.depth() * WIDTH];
        for (k, right) in right.as_chunks::<WIDTH>().0.iter().enumerate() {
            let column = &left.column(k, row)[..R];
            step::<S, R, V>(simd, &mut sums, |r| column[r], right);
        }
    } else {
        for k in 0..left.depth() {
            let column = &left.column(k, row)[..R];
            step::<S, R, V>(simd, &mut sums, |r| column[r], &part.right[k * width..]);
        }
    }
    end::<S, A, M, R, V, WHOLE>(simd, part, out, places, sums);
}

/// One link of every chain of a tile. `left`: the element of each row, asked for one after another, since all of them
/// at once would need more registers than there are beside the sums.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "an iterator over the sums would keep them in memory")]
fn step<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: &mut Sums<S, R, V>,
    left: impl Fn(usize) -> f32,
    right: &[f32],
) {
    let right = S::as_simd_f32s(&right[..V * S::F32_LANES]).0;
    let right: [S::f32s; V] = from_fn(|v| right[v]);
    for r in 0..R {
        let left = simd.splat_f32s(left(r));
        for v in 0..V {
            sums[r][v] = simd.mul_add_f32s(left, right[v], sums[r][v]);
        }
    }
}

// Below, sums are indexed by loops of known length and by nothing else: whatever the compiler cannot unroll would keep
// them in memory, in the loop over the inner index too.

#[inline(always)]
fn begin<S: Simd, A, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    out: &[f32],
    places: [usize; R],
) -> Sums<S, R, V> {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    if M::CONTINUES {
        for r in 0..R {
            sums[r] = load::<S, V, WHOLE>(simd, &out[places[r]..], part.width);
        }
    }
    sums
}

#[inline(always)]
fn end<S: Simd, A, M: Sum, const R: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    out: &mut [f32],
    places: [usize; R],
    mut sums: Sums<S, R, V>,
) {
    for r in 0..R {
        let out = &mut out[places[r]..];
        if M::MEETS {
            let before = load::<S, V, WHOLE>(simd, out, part.width);
            for v in 0..V {
                sums[r][v] = part.sum.end(simd, before[v], sums[r][v]);
            }
        }
        store::<S, V, WHOLE>(simd, out, part.stored, sums[r]);
    }
}

/// The first `width` elements of a row of a panel.
#[inline(always)]
#[expect(clippy::manual_memcpy, clippy::needless_range_loop, reason = "anything else would keep the sums in memory")]
fn store<S: Simd, const V: usize, const WHOLE: bool>(simd: S, values: &mut [f32], width: usize, vectors: [S::f32s; V]) {
    if WHOLE || width == WIDTH {
        let places = S::as_mut_simd_f32s(&mut values[..WIDTH]).0;
        for v in 0..V {
            places[v] = vectors[v];
        }
        return;
    }
    for v in 0..V {
        let (first, end) = part_of_vector::<S>(v, width);
        simd.partial_store_f32s(&mut values[first..end], vectors[v]);
    }
}

/// The first `width` elements of a row of a panel in whole vectors, with zeros behind them.
#[inline(always)]
fn load<S: Simd, const V: usize, const WHOLE: bool>(simd: S, values: &[f32], width: usize) -> [S::f32s; V] {
    if WHOLE {
        let vectors = S::as_simd_f32s(&values[..WIDTH]).0;
        return from_fn(|v| vectors[v]);
    }
    from_fn(|v| {
        let (first, end) = part_of_vector::<S>(v, width);
        simd.partial_load_f32s(&values[first..end])
    })
}

/// Where vector `v` of a row of `len` elements begins and ends.
#[inline(always)]
fn part_of_vector<S: Simd>(v: usize, len: usize) -> (usize, usize) {
    let first = len.min(v * S::F32_LANES);
    (first, len.min(first + S::F32_LANES))
}

#[cfg(test)]
mod tests;
