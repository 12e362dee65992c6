//! How the final model serves each client, and beside it the client's personal model where a plugin keeps any.

use super::{
    axis::Axis,
    chart::{self, BLUE, ORANGE},
};
use anyhow::Result;
use plotters::prelude::*;

const SIZE: (u32, u32) = (520, 290);
/// Up to so many clients have a bar each; more are counted in bins.
const MOST_BARS: usize = 150;
const BINS: usize = 20;

/// What was drawn, for the caption.
pub(super) struct Drawing {
    pub svg: String,
    pub sorted: bool,
    pub mean: f64,
    /// Of the personal models.
    pub personal_mean: Option<f64>,
}

/// Sorted bars of accuracy, or a histogram; the mean over clients is the orange line. Each personal model, given in the
/// same order as `clients`, is a dot over its client's bar, or the outline of a second histogram. Nothing without any number.
pub(super) fn accuracy(clients: &[(u64, f64)], personal: &[(u64, f64)]) -> Result<Option<Drawing>> {
    let paired: Vec<f64> = match personal.len() == clients.len() {
        true => personal.iter().map(|client| client.1).collect(),
        false => Vec::new(),
    };
    let personal_of = |index: usize| paired.get(index).copied().unwrap_or(f64::NAN);
    let pairs = clients.iter().enumerate().map(|(index, client)| (client.1, personal_of(index)));
    let mut pairs: Vec<(f64, f64)> = pairs.filter(|pair| pair.0.is_finite()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let values: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let Some(mean) = mean(&values) else { return Ok(None) };
    let finite: Vec<f64> = pairs.iter().map(|pair| pair.1).filter(|value| value.is_finite()).collect();
    let sorted = values.len() <= MOST_BARS;
    let svg = if sorted { bars(&pairs, mean)? } else { histogram(&values, &finite, mean)? };
    Ok(Some(Drawing { svg, sorted, mean, personal_mean: self::mean(&finite) }))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Accuracies of the common and of the personal model; the latter not finite where there is none.
fn bars(values: &[(f64, f64)], mean: f64) -> Result<String> {
    let (x, y) = (Axis::counts(0, values.len() as u64, 8), Axis::percent([0.0, 1.0], 5));
    // Dots must stand out from the bars behind them.
    let opacity = if values.iter().any(|pair| pair.1.is_finite()) { 0.35 } else { 0.7 };
    chart::svg("accuracy of each client, sorted", SIZE, |area| {
        let mut chart = chart::axes(area, &x, "clients, sorted by accuracy", &y)?;
        let bars = values.iter().enumerate().map(|(i, &(value, _))| {
            let left = i as f64;
            Rectangle::new([(left + 0.1, 0.0), (left + 0.9, value)], BLUE.mix(opacity).filled())
        });
        chart::shapes(&mut chart, bars)?;
        let personal = values.iter().enumerate().filter(|(_, pair)| pair.1.is_finite());
        let dots =
            personal.map(|(i, &(_, value))| Circle::new((i as f64 + 0.5, value), 3 * chart::SCALE, BLUE.filled()));
        chart::shapes(&mut chart, dots)?;
        chart::line(&mut chart, &[(0.0, mean), (x.range.end, mean)], ORANGE)
    })
}

fn histogram(values: &[f64], personal: &[f64], mean: f64) -> Result<String> {
    let (counts, personal_counts) = (count(values), count(personal));
    let most = counts.iter().chain(&personal_counts).copied().max().unwrap_or(1);
    let (x, y) = (Axis::percent([0.0, 1.0], 5), Axis::around([0.0, most as f64], 5));
    chart::svg("number of clients by accuracy", SIZE, |area| {
        let mut chart = chart::axes(area, &x, "accuracy", &y)?;
        let bars = counts.iter().enumerate().map(|(bin, &count)| {
            let (left, right) = (bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64);
            Rectangle::new([(left + 0.003, 0.0), (right - 0.003, count as f64)], BLUE.mix(0.7).filled())
        });
        chart::shapes(&mut chart, bars)?;
        if !personal.is_empty() {
            let outline = personal_counts
                .iter()
                .enumerate()
                .flat_map(|(bin, &count)| [bin, bin + 1].map(|edge| (edge as f64 / BINS as f64, count as f64)));
            chart::line(&mut chart, &outline.collect::<Vec<_>>(), BLUE)?;
        }
        chart::line(&mut chart, &[(mean, 0.0), (mean, y.range.end)], ORANGE)
    })
}

fn count(values: &[f64]) -> [u64; BINS] {
    let mut counts = [0; BINS];
    for value in values {
        counts[((value * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    counts
}
