//! The order that the module states, held bit for bit to a plain loop on every kind of registers at hand.

use crate::registers::Registers;
use crate::train::plan::operands::{Dense, Picked, RowsOfPanels, panels_of};
use crate::train::plan::tile::{
    Added, ByColumns, ByRuns, Continued, Descended, Fresh, Panels, Place, Sum, Target, WIDTH,
};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Values of all signs and of sizes from 2⁻⁸ to 2⁸, so that another order of the sums shows.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mix = |i: u32| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(0x85eb_ca6b);
    let value = |bits: u32| (bits as i32 as f32) * 2f32.powi(-31 + (bits % 17) as i32 - 8);
    (0..count as u32).map(|i| value(mix(i.wrapping_add(1)))).collect()
}

/// Registers of some width.
#[derive(Clone, Copy, Debug)]
enum On {
    TheMachinesOwn,
    Scalar,
    #[cfg(target_arch = "x86_64")]
    EightLanes(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    FourLanes(pulp::x86::V3),
    /// Each made of two registers of eight.
    #[cfg(target_arch = "x86_64")]
    SixteenLanes(pulp::x86::V3),
}

impl On {
    /// Every width that this machine has, from plain scalar code to the widest.
    fn all() -> Vec<On> {
        let mut all = vec![On::TheMachinesOwn, On::Scalar];
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            all.extend([On::EightLanes(v3), On::FourLanes(v3), On::SixteenLanes(v3)]);
        }
        all
    }

    fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            On::TheMachinesOwn => Registers::widest().dispatch(op),
            On::Scalar => Arch::Scalar.dispatch(op),
            #[cfg(target_arch = "x86_64")]
            On::EightLanes(v3) => Simd::vectorize(v3, op),
            #[cfg(target_arch = "x86_64")]
            On::FourLanes(v3) => Simd::vectorize(pulp::x86::V3_128b(v3), op),
            #[cfg(target_arch = "x86_64")]
            On::SixteenLanes(v3) => Simd::vectorize(pulp::x86::V3_512b(v3), op),
        }
    }
}

/// Every kind of sum.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Fresh,
    Continued,
    Added,
    Descended(f32),
}

/// One product in either form.
struct Case<'a> {
    rows: usize,
    depth: usize,
    columns: usize,
    left: &'a [f32],
    by_runs: bool,
    right: &'a [f32],
    /// Where the inner index is cut in two.
    cut: usize,
    sum: Kind,
    overlapping: bool,
    out: &'a mut [f32],
}

impl Case<'_> {
    fn run(mut self, on: On) {
        let (depth, cut) = (self.depth, self.cut);
        let cuts = if cut == 0 { vec![(0, depth)] } else { vec![(0, cut), (cut, depth)] };
        for (first, last) in cuts {
            match self.sum {
                _ if first > 0 => self.part(on, first..last, Continued),
                Kind::Fresh => self.part(on, first..last, Fresh),
                Kind::Continued => self.part(on, first..last, Continued),
                Kind::Added => self.part(on, first..last, Added),
                Kind::Descended(rate) => self.part(on, first..last, Descended(rate)),
            }
        }
    }

    /// A piece of the inner index.
    fn part(&mut self, on: On, inner: Range<usize>, sum: impl Sum) {
        let Case { rows, depth, columns, left, right, overlapping, .. } = *self;
        let right = Panels { values: right, depth, first: inner.start, columns };
        let place = Place::Stride(columns);
        let target = Target { values: &mut *self.out, place, panel_stride: WIDTH, overlapping };
        if self.by_runs {
            let left = Dense { values: &left[inner.start..], stride: depth, length: inner.len() };
            on.run(ByRuns { left, rows, right, target, sum });
        } else {
            let left = Dense { values: &left[inner.start * rows..], stride: rows, length: inner.len() };
            on.run(ByColumns { left, rows, right, target, sum });
        }
    }
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| matrix[column..].iter().step_by(columns).copied()).collect()
}

#[test]
fn every_width_of_registers_gives_the_bits_of_a_plain_loop_of_multiply_adds() {
    let mut seen = 0;
    let shapes =
        [(1, 1, 1), (5, 7, 10), (13, 3, 16), (6, 33, 8), (10, 40, 37), (25, 9, 64), (3, 100, 17), (29, 20, 31)];
    // Panels that one register of eight holds: tiles of every height from seven on, and of two heights together.
    let narrow = [(7, 5, 8), (8, 5, 24), (9, 5, 5), (11, 5, 4), (12, 5, 20), (21, 5, 7), (37, 5, 8)];
    for (rows, depth, columns) in shapes.into_iter().chain(narrow) {
        let (a, b, before) = (values(rows * depth, 1), values(depth * columns, 2), values(rows * columns, 3));
        let mut panels = vec![f32::NAN; depth * columns + WIDTH];
        panels_of(&b, depth, columns, &mut panels);
        let columns_of_a = transposed(&a, depth);
        for sum in [Kind::Fresh, Kind::Continued, Kind::Added, Kind::Descended(0.3)] {
            let chain = |i: usize, j: usize, start: f32| {
                (0..depth).fold(start, |s, k| a[i * depth + k].mul_add(b[k * columns + j], s))
            };
            let expected: Vec<f32> = (0..rows * columns)
                .map(|at| match sum {
                    Kind::Fresh => chain(at / columns, at % columns, 0.0),
                    Kind::Continued => chain(at / columns, at % columns, before[at]),
                    Kind::Added => before[at] + chain(at / columns, at % columns, 0.0),
                    Kind::Descended(rate) => before[at] - rate * chain(at / columns, at % columns, 0.0),
                })
                .collect();
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            // A sum that meets its place at its end is not cut.
            let cuts = if matches!(sum, Kind::Fresh | Kind::Continued) { vec![0, depth / 3] } else { vec![0] };
            for (cut, by_runs) in cuts.into_iter().flat_map(|cut| [(cut, true), (cut, false)]) {
                for on in On::all() {
                    let mut result = before.clone();
                    let left = if by_runs { &a } else { &columns_of_a };
                    let (right, overlapping, out) = (&panels, false, &mut result[..]);
                    Case { rows, depth, columns, left, by_runs, right, cut, sum, overlapping, out }.run(on);
                    let what = format!("{on:?}: {rows} × {depth} × {columns}, {sum:?}, cut {cut}, by runs {by_runs}");
                    assert_eq!(bits(&result), bits(&expected), "{what}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 2 * 80, "{seen} products were held to the loop");
}

#[test]
fn another_order_would_show() {
    let (a, b) = (values(40, 1), values(40, 2));
    let forward = (0..40).fold(0f32, |s, k| a[k].mul_add(b[k], s));
    let backward = (0..40).rev().fold(0f32, |s, k| a[k].mul_add(b[k], s));
    let rounded = (0..40).fold(0f32, |s, k| s + a[k] * b[k]);
    assert!(forward != backward && forward != rounded);
}

#[test]
fn overlapping_rows_leave_each_the_width_of_its_panel() {
    for (columns, on) in
        [10, 8, 5, 1].into_iter().flat_map(|columns| On::all().into_iter().map(move |on| (columns, on)))
    {
        let (rows, depth) = (25, 4);
        let (a, b) = (values(depth * rows, 1), values(depth * columns + WIDTH, 2));
        let mut out = vec![f32::NAN; rows * columns + WIDTH];
        let (left, right, by_runs, cut, sum) = (&a[..], &b[..], false, 0, Kind::Fresh);
        Case { rows, depth, columns, left, by_runs, right, cut, sum, overlapping: true, out: &mut out }.run(on);
        for (at, value) in out[..rows * columns].iter().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let chain = (0..depth).fold(0f32, |s, k| a[k * rows + row].mul_add(b[k * columns + column], s));
            assert_eq!(value.to_bits(), chain.to_bits(), "{on:?}, element {at}");
        }
    }
}

#[test]
fn a_left_factor_that_names_the_rows_it_meets_skips_the_others() {
    let (rows, depth, columns) = (13, 40, 37);
    let meets: Vec<u32> = (0..depth as u32).filter(|k| k % 3 != 1).collect();
    let (a, b) = (values(rows * meets.len(), 1), values(depth * columns, 2));
    let mut panels = vec![f32::NAN; depth * columns + WIDTH];
    panels_of(&b, depth, columns, &mut panels);
    for on in On::all() {
        let mut out = vec![f32::NAN; rows * columns];
        let left = Picked { values: &a, stride: meets.len(), meets: &meets };
        let right = Panels { values: &panels, depth, first: 0, columns };
        let target =
            Target { values: &mut out, place: Place::Stride(columns), panel_stride: WIDTH, overlapping: false };
        on.run(ByRuns { left, rows, right, target, sum: Fresh });
        for (at, value) in out.iter().enumerate() {
            let (i, j) = (at / columns, at % columns);
            let met = meets.iter().enumerate();
            let chain = met.fold(0f32, |s, (k, &row)| a[i * meets.len() + k].mul_add(b[row as usize * columns + j], s));
            assert_eq!(value.to_bits(), chain.to_bits(), "{on:?}, element {at}");
        }
    }
}

#[test]
fn rows_reach_listed_places_in_panels_that_lie_apart() {
    let (rows, depth, columns) = (13, 40, 58);
    let (a, b) = (values(rows * depth, 1), values(depth * columns, 2));
    // Panels of the left factor: a row has a segment in each.
    let (mut left, mut right) = (vec![f32::NAN; rows * depth], vec![f32::NAN; depth * columns + WIDTH]);
    panels_of(&a, rows, depth, &mut left);
    panels_of(&b, depth, columns, &mut right);
    let transposed = transposed(&a, depth);
    let listed: Vec<u32> = (0..rows as u32).rev().map(|row| row * WIDTH as u32).collect();
    let panel_stride = rows * WIDTH + 5;
    let before = values(columns.div_ceil(WIDTH) * panel_stride, 3);
    let mut expected = before.clone();
    for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
        let chain = (0..depth).fold(0f32, |s, k| a[i * depth + k].mul_add(b[k * columns + j], s));
        expected[j / WIDTH * panel_stride + listed[i] as usize + j % WIDTH] += chain;
    }
    for (on, by_runs) in On::all().into_iter().flat_map(|on| [(on, true), (on, false)]) {
        let mut out = before.clone();
        let right = Panels { values: &right, depth, first: 0, columns };
        let target = Target { values: &mut out, place: Place::Listed(&listed), panel_stride, overlapping: false };
        if by_runs {
            let left = RowsOfPanels { values: &left, depth: rows, columns: depth, first: 0 };
            on.run(ByRuns { left, rows, right, target, sum: Added });
        } else {
            let left = Dense { values: &transposed, stride: rows, length: depth };
            on.run(ByColumns { left, rows, right, target, sum: Added });
        }
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&out) == bits(&expected), "{on:?}, by runs {by_runs}");
    }
}
