//! Products of matrices in vector registers, every element summed in one fixed order.
//!
//! ```text
//! s ← 0 (or what the place held);   s ← fma(a[i][k], b[k][j], s)  for k = 0, 1, 2, …
//! ```
//! A tile is some rows of the left factor times a panel of the right one, sixteen columns wide, or two of them where a
//! register holds sixteen elements. Each element of the result is one chain of fused multiply-adds, rounded once a step, in
//! the order of the inner index. So its bits depend on the factors alone: not on the width of the registers, nor on how
//! rows, columns or the inner index are cut.
//!
//! Where in the flow: under every layer, forward and backward. What it never does: rearrange a factor, touch memory by
//! unsafe code of ours, or choose by anything but shapes and registers.

mod sum;

use crate::prefetch::prefetch;
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::ops::Range;
pub use sum::{Added, Continued, Descended, Fresh, Sum};

/// How many segments before its turn the memory is asked for one; training of the CNN was fastest with about so many.
const AHEAD: usize = 3;

/// Columns of a panel. Whoever holds a right factor leaves as many elements of room behind it.
pub const WIDTH: usize = 16;

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
    /// A narrow panel's rows may be stored sixteen wide in ascending order, as what they spill over comes later. For sums that
    /// are [`Fresh`] alone: others read their place.
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

/// What the tiles of one panel, or of two, share.
struct Part<'a, A, M> {
    left: A,
    right: &'a [f32],
    /// Rows of a panel.
    depth: usize,
    width: usize,
    sum: M,
    /// Width of a row as it is stored.
    stored: usize,
    /// From a row's place to that of the same row in the next panel.
    panel_stride: usize,
}

/// The tiles' function for a height that is known at run time only. A shape: the heights that there are, the vectors of a
/// row and the panels that they span.
macro_rules! tiles_of {
    ($rows:expr, ([$($n:literal)*], $vectors:literal, $panels:literal), $tiles:ident, $whole:literal, $arguments:tt) => {
        match $rows {
            $($n => $tiles::<S, A, M, $n, $vectors, $panels, $whole> $arguments,)*
            _ => unreachable!("a tile has at most as many rows as the registers allow"),
        }
    };
}

/// The tiles' function for registers smaller than a panel's row, of which all but one kind are told apart before anything is
/// compiled.
macro_rules! tiles_on_small_registers {
    ($height:expr, $tiles:ident, $whole:literal, $arguments:tt) => {
        if const { S::F32_LANES == 8 } {
            tiles_of!($height, ([1 2 3 4 5 6], 2, 1), $tiles, $whole, $arguments);
        } else if const { S::F32_LANES == 4 } {
            tiles_of!($height, ([1 2 3 4 5 6], 4, 1), $tiles, $whole, $arguments);
        } else if const { S::F32_LANES == 1 } {
            tiles_of!($height, ([1], 16, 1), $tiles, $whole, $arguments);
        } else {
            unreachable!("registers of 1, 4, 8 or 16 elements")
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
                debug_assert!(!overlapping || !(M::CONTINUES || M::MEETS), "overlapping rows are not read");
                let whole = const { whole_panels::<S>() };
                let [usual, high] = const { most_rows::<S>() }.map(|most| runs_of_tiles(self.rows, most));
                for (column, count) in pieces(columns, whole) {
                    let width = WIDTH.min(count);
                    let right = &values[column * depth + first * width..];
                    let stored = if overlapping { WIDTH } else { width };
                    let part = Part { left: self.left, right, depth, width, sum: self.sum, stored, panel_stride };
                    let out = &mut out[column / WIDTH * panel_stride..];
                    let is_pair = count > WIDTH;
                    if !is_pair && width <= S::F32_LANES {
                        // One register holds the panel's row, which leaves room for more rows.
                        for (rows, height) in high.clone() {
                            tiles_of!(
                                height,
                                ([1 2 3 4 5 6 7 8 9 10 11 12], 1, 1),
                                $tiles,
                                false,
                                (simd, &part, rows, out, place)
                            );
                        }
                        continue;
                    }
                    for (rows, height) in usual.clone() {
                        if const { S::F32_LANES == WIDTH } {
                            tiles_of!(
                                height,
                                ([1 2 3 4 5 6 7 8 9 10], 2, 2),
                                $tiles,
                                true,
                                (simd, &part, rows, out, place)
                            );
                        } else if width == WIDTH {
                            tiles_on_small_registers!(height, $tiles, true, (simd, &part, rows, out, place));
                        } else {
                            tiles_on_small_registers!(height, $tiles, false, (simd, &part, rows, out, place));
                        }
                    }
                }
            }
        }
    };
}

/// Rows that are cut into tiles of one height, and that height, for as many tiles as `most` rows of each ask for: two
/// heights that differ by one, since the more sums there are, the better they hide the latency of a multiply-add.
pub fn runs_of_tiles(rows: usize, most: usize) -> impl Iterator<Item = (Range<usize>, usize)> + Clone {
    let tiles = rows.div_ceil(most).max(1);
    let (height, higher) = (rows / tiles, rows % tiles);
    let split = higher * (height + 1);
    [(0..split, height + 1), (split..rows, height)].into_iter().filter(|(rows, _)| !rows.is_empty())
}

/// Rows of a tile, and of one on a panel whose row fits one register: as many as the registers hold sums of, less what
/// addresses take.
const fn most_rows<S: Simd>() -> [usize; 2] {
    match S::F32_LANES {
        16 => [10, 12],
        4 | 8 => [6, 12],
        _ => [1, 12],
    }
}

/// How many whole panels a tile spans. Two where a register holds a panel's row: an element of the left factor, once read,
/// then meets both, and reading holds up the multiply-adds no longer.
const fn whole_panels<S: Simd>() -> usize {
    if S::F32_LANES == 16 { 2 } else { 1 }
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

/// Tiles of `R` rows each, which `rows` are a multiple of, on `P` panels that are known to be `WHOLE`, or on one that may be
/// narrow.
#[inline(always)]
fn tiles_of_runs<S: Simd, A: Runs, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    rows: Range<usize>,
    out: &mut [f32],
    place: Place<'_>,
) {
    for row in rows.step_by(R) {
        tile_of_runs::<S, A, M, R, V, P, WHOLE>(simd, part, row, out, place);
    }
}

/// As [`tiles_of_runs`].
#[inline(always)]
fn tiles_of_columns<S: Simd, A: Columns, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    rows: Range<usize>,
    out: &mut [f32],
    place: Place<'_>,
) {
    for row in rows.step_by(R) {
        tile_of_columns::<S, A, M, R, V, P, WHOLE>(simd, part, row, out, place);
    }
}

/// `R` rows, each in `V` vectors: those of a panel, or of one panel after the other.
type Sums<S, const R: usize, const V: usize> = [[<S as Simd>::f32s; V]; R];

#[inline(always)]
fn tile_of_runs<S: Simd, A: Runs, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    row: usize,
    out: &mut [f32],
    place: Place<'_>,
) {
    let places: [usize; R] = from_fn(|r| place.of(row + r));
    let mut sums = begin::<S, A, M, R, V, P, WHOLE>(simd, part, out, places);
    let (left, width, mut right) = (part.left, part.width, part.right);
    for segment in 0..left.segments() {
        let length = left.length(segment);
        if segment + AHEAD < left.segments() {
            // Each begins elsewhere in memory, which no hardware foresees.
            for r in 0..R {
                left.run(row + r, segment + AHEAD).first().into_iter().for_each(prefetch);
            }
        }
        // All of one length, told once, so that the compiler need not check each element.
        let runs: [&[f32]; R] = from_fn(|r| &left.run(row + r, segment)[..length]);
        if let Some(meets) = left.meets() {
            // No hardware foresees which rows are read. The first tile on a panel brings those of the next panels for all.
            let next = if row == 0 { right.get(P * part.depth * WIDTH..).unwrap_or(&[]) } else { &[] };
            let panels: [_; P] = from_fn(|p| right[p * part.depth * width..].as_chunks::<WIDTH>().0);
            let next: [_; P] = from_fn(|p| next.get(p * part.depth * WIDTH..).unwrap_or(&[]).as_chunks::<WIDTH>().0);
            for (k, &at) in meets[..length].iter().enumerate() {
                let at = at as usize;
                if WHOLE {
                    next.iter().filter_map(|next| next.get(at)).for_each(prefetch);
                    step::<S, R, V, P>(simd, &mut sums, |r| runs[r][k], from_fn(|p| &panels[p][at][..]));
                } else {
                    step::<S, R, V, P>(simd, &mut sums, |r| runs[r][k], [&right[at * width..]; P]);
                }
            }
            break;
        }
        // Apart, because a width that the compiler knows spares it a check in each step.
        if WHOLE {
            let panels: [_; P] = from_fn(|p| &right[p * part.depth * WIDTH..].as_chunks::<WIDTH>().0[..length]);
            for k in 0..length {
                step::<S, R, V, P>(simd, &mut sums, |r| runs[r][k], from_fn(|p| &panels[p][k][..]));
            }
        } else {
            for k in 0..length {
                step::<S, R, V, P>(simd, &mut sums, |r| runs[r][k], [&right[k * width..]; P]);
            }
        }
        right = &right[length * width..];
    }
    end::<S, A, M, R, V, P, WHOLE>(simd, part, out, places, sums);
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "`k` counts columns of the left factor and rows of each panel alike")]
fn tile_of_columns<S: Simd, A: Columns, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    row: usize,
    out: &mut [f32],
    place: Place<'_>,
) {
    let places: [usize; R] = from_fn(|r| place.of(row + r));
    let mut sums = begin::<S, A, M, R, V, P, WHOLE>(simd, part, out, places);
    let (left, width, right) = (part.left, part.width, part.right);
    if WHOLE {
        let depth = left.depth();
        let panels: [_; P] = from_fn(|p| &right[p * part.depth * WIDTH..].as_chunks::<WIDTH>().0[..depth]);
        for k in 0..depth {
            let column = &left.column(k, row)[..R];
            step::<S, R, V, P>(simd, &mut sums, |r| column[r], from_fn(|p| &panels[p][k][..]));
        }
    } else {
        for k in 0..left.depth() {
            let column = &left.column(k, row)[..R];
            step::<S, R, V, P>(simd, &mut sums, |r| column[r], [&right[k * width..]; P]);
        }
    }
    end::<S, A, M, R, V, P, WHOLE>(simd, part, out, places, sums);
}

/// A row from where it lies in each of `P` panels.
#[inline(always)]
fn row_of<S: Simd, const V: usize, const P: usize>(panels: [&[f32]; P]) -> [S::f32s; V] {
    let vectors = panels.map(|panel| S::as_simd_f32s(&panel[..WIDTH]).0);
    from_fn(|v| vectors[v / (V / P)][v % (V / P)])
}

/// One link of every chain of a tile. `left`: the element of each row, asked for one after another, since all of them
/// at once would need more registers than there are beside the sums.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "an iterator over the sums would keep them in memory")]
fn step<S: Simd, const R: usize, const V: usize, const P: usize>(
    simd: S,
    sums: &mut Sums<S, R, V>,
    left: impl Fn(usize) -> f32,
    right: [&[f32]; P],
) {
    let right = row_of::<S, V, P>(right);
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
fn begin<S: Simd, A, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    out: &[f32],
    places: [usize; R],
) -> Sums<S, R, V> {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    if M::CONTINUES {
        for r in 0..R {
            sums[r] = load::<S, A, M, V, P, WHOLE>(simd, part, &out[places[r]..]);
        }
    }
    sums
}

#[inline(always)]
fn end<S: Simd, A, M: Sum, const R: usize, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    out: &mut [f32],
    places: [usize; R],
    mut sums: Sums<S, R, V>,
) {
    for r in 0..R {
        let out = &mut out[places[r]..];
        if M::MEETS {
            let before = load::<S, A, M, V, P, WHOLE>(simd, part, out);
            for v in 0..V {
                sums[r][v] = part.sum.end(simd, before[v], sums[r][v]);
            }
        }
        store::<S, A, M, V, P, WHOLE>(simd, part, out, sums[r]);
    }
}

/// A row of the result, to where it lies in each panel.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "anything else would keep the sums in memory")]
fn store<S: Simd, A, M, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    values: &mut [f32],
    vectors: [S::f32s; V],
) {
    if WHOLE || part.stored == WIDTH {
        for p in 0..P {
            let places = S::as_mut_simd_f32s(&mut values[p * part.panel_stride..][..WIDTH]).0;
            for v in 0..V / P {
                places[v] = vectors[p * (V / P) + v];
            }
        }
        return;
    }
    for v in 0..V {
        let (first, end) = part_of_vector::<S>(v, part.stored);
        simd.partial_store_f32s(&mut values[first..end], vectors[v]);
    }
}

/// A row of the result from where it lies in each panel; that of a narrow one with zeros behind it.
#[inline(always)]
fn load<S: Simd, A, M, const V: usize, const P: usize, const WHOLE: bool>(
    simd: S,
    part: &Part<'_, A, M>,
    values: &[f32],
) -> [S::f32s; V] {
    if WHOLE {
        return row_of::<S, V, P>(from_fn(|p| &values[p * part.panel_stride..]));
    }
    from_fn(|v| {
        let (first, end) = part_of_vector::<S>(v, part.width);
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
