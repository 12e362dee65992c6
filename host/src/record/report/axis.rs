//! Axes with round numbers: where they begin and end, where the ticks are, and how ticks are written.

use crate::record::units;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// A span that begins and ends on a tick, with the text of each tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub range: Range<f64>,
    pub ticks: Vec<f64>,
    labels: Vec<String>,
    /// Whether its ticks are values to read off, so that grid lines help.
    pub grid: bool,
}

impl Axis {
    /// Covers the finite ones of `values` with about `wanted` ticks at multiples of 1, 2 or 5 times a power of ten.
    /// Without any finite value, or with only one, it is a span of length 1 or so that holds it.
    pub fn around(values: impl IntoIterator<Item = f64>, wanted: usize) -> Self {
        let (first, last, step) = span(values, wanted);
        let decimals = (-libm::floor(libm::log10(step) + 1e-9)).max(0.0) as usize;
        Self::stepped(first, last, step, |tick| match tick.abs() >= 1e6 || decimals > 6 {
            true => format!("{tick:.1e}"),
            false => format!("{tick:.decimals$}"),
        })
    }

    /// As [`Axis::around`] for shares, written in percent.
    pub fn percent(values: impl IntoIterator<Item = f64>, wanted: usize) -> Self {
        let (first, last, step) = span(values, wanted);
        let decimals = (-libm::floor(libm::log10(step * 100.0) + 1e-9)).max(0.0) as usize;
        Self::stepped(first, last, step, |tick| format!("{:.decimals$} %", tick * 100.0))
    }

    /// From `first` to `last` without margin, ticks at whole numbers only.
    pub fn counts(first: u64, last: u64, wanted: usize) -> Self {
        let (low, high) = (first as f64, last.max(first + 1) as f64);
        let step = step(high - low, wanted).max(1.0);
        let start = libm::ceil(low / step) as i64;
        let ticks: Vec<f64> = (start..).map(|i| i as f64 * step).take_while(|&tick| tick <= high).collect();
        let labels = ticks.iter().map(|tick| units::count(*tick as u64)).collect();
        Axis { range: low..high, ticks, labels, grid: true }
    }

    /// `count` places of width 1, some of them named by their number, counted from 0, in their middle.
    pub fn places(count: usize, wanted: usize) -> Self {
        let stride = step(count.max(1) as f64, wanted).max(1.0) as usize;
        let named = || (0..count).step_by(stride);
        let labels = named().map(|place| place.to_string()).collect();
        let ticks = named().map(|place| place as f64 + 0.5).collect();
        Axis { range: 0.0..count as f64, ticks, labels, grid: false }
    }

    /// The same from top to bottom, as tables are read.
    pub fn downwards(self) -> Self {
        Axis { range: self.range.end..self.range.start, ..self }
    }

    /// The same without ticks.
    pub fn bare(&self) -> Self {
        Axis { ticks: Vec::new(), labels: Vec::new(), ..self.clone() }
    }

    /// The text of one of the ticks.
    fn label(&self, tick: f64) -> String {
        self.ticks.iter().position(|&own| own == tick).map_or_else(String::new, |i| self.labels[i].clone())
    }

    fn stepped(first: f64, last: f64, step: f64, label: impl Fn(f64) -> String) -> Self {
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        let labels = ticks.iter().map(|&tick| label(tick)).collect();
        Axis { range: first * step..last * step, ticks, labels, grid: true }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, end): (i32, i32)) -> i32 {
        // The last unit of the area is one short of its end, which counts downwards on a vertical axis.
        let length = f64::from(end - first - (end - first).signum());
        let place = (value - self.range.start) / (self.range.end - self.range.start);
        first + (place * length).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, tick: &f64) -> String {
        self.label(*tick)
    }
}

/// First and last tick in steps, and the step.
fn span(values: impl IntoIterator<Item = f64>, wanted: usize) -> (f64, f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite() && value.abs() < 1e300);
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = match (low <= high, low < high) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, low + 0.5),
        (true, true) => (low, high),
    };
    let step = step(high - low, wanted);
    // A value that lies on a tick but for its last bits must not add a whole step.
    (libm::floor(low / step + 1e-9), libm::ceil(high / step - 1e-9), step)
}

/// The largest of 1, 2, 5 times a power of ten that gives at least about `wanted` parts, next size up otherwise.
fn step(length: f64, wanted: usize) -> f64 {
    let rough = length / wanted.max(1) as f64;
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * 0.999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        let axis = Axis::percent([0.083, 0.914], 5);
        assert_eq!(axis.range, 0.0..1.0);
        assert_eq!(labels(&axis), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        let axis = Axis::percent([0.9812, 0.9871], 5);
        assert_eq!(labels(&axis)[..2], ["98.0 %", "98.2 %"]);
        assert_eq!(labels(&Axis::around([0.0, 2.3], 5)), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
    }

    #[test]
    fn strange_values_still_give_an_axis() {
        assert_eq!(Axis::around([f64::NAN, f64::INFINITY], 5).range, 0.0..1.0);
        let single = Axis::around([3.0], 5);
        assert!(single.range.start < 3.0 && single.range.end > 3.0);
        assert_eq!(Axis::around([], 5).range, 0.0..1.0);
        assert!(Axis::around([-1e299, 1e299], 5).ticks.len() < 20);
    }

    #[test]
    fn places_are_named_in_their_middle_and_not_all() {
        let few = Axis::places(3, 10);
        assert_eq!((labels(&few), few.ticks), (vec!["0".into(), "1".into(), "2".into()], vec![0.5, 1.5, 2.5]));
        assert_eq!(labels(&Axis::places(62, 10)), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(Axis::places(3, 10).downwards().range, 3.0..0.0);
    }

    #[test]
    fn rounds_have_whole_ticks() {
        assert_eq!(Axis::counts(0, 0, 8).ticks, [0.0, 1.0]);
        assert_eq!(Axis::counts(0, 3, 8).ticks, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(Axis::counts(7, 50, 8).ticks, [10.0, 20.0, 30.0, 40.0, 50.0]);
    }
}
