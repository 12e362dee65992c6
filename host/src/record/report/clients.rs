//! How the final model serves each client.

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
}

/// Sorted bars of accuracy, or a histogram; the mean over clients is the orange line. Nothing without any number.
pub(super) fn accuracy(clients: &[(u64, f64)]) -> Result<Option<Drawing>> {
    let mut values: Vec<f64> = clients.iter().map(|client| client.1).filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return Ok(None);
    }
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let sorted = values.len() <= MOST_BARS;
    let svg = if sorted { bars(&values, mean)? } else { histogram(&values, mean)? };
    Ok(Some(Drawing { svg, sorted, mean }))
}

fn bars(values: &[f64], mean: f64) -> Result<String> {
    let (x, y) = (Axis::counts(0, values.len() as u64, 8), Axis::percent([0.0, 1.0], 5));
    chart::svg("accuracy of each client, sorted", SIZE, |area| {
        let mut chart = chart::axes(area, &x, "clients, sorted by accuracy", &y)?;
        let bars = values.iter().enumerate().map(|(i, &value)| {
            let left = i as f64;
            Rectangle::new([(left + 0.1, 0.0), (left + 0.9, value)], BLUE.mix(0.7).filled())
        });
        chart::shapes(&mut chart, bars)?;
        chart::line(&mut chart, &[(0.0, mean), (x.range.end, mean)], ORANGE)
    })
}

fn histogram(values: &[f64], mean: f64) -> Result<String> {
    let mut counts = [0u64; BINS];
    for value in values {
        counts[((value * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1);
    let (x, y) = (Axis::percent([0.0, 1.0], 5), Axis::around([0.0, most as f64], 5));
    chart::svg("number of clients by accuracy", SIZE, |area| {
        let mut chart = chart::axes(area, &x, "accuracy", &y)?;
        let bars = counts.iter().enumerate().map(|(bin, &count)| {
            let (left, right) = (bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64);
            Rectangle::new([(left + 0.003, 0.0), (right - 0.003, count as f64)], BLUE.mix(0.7).filled())
        });
        chart::shapes(&mut chart, bars)?;
        chart::line(&mut chart, &[(mean, 0.0), (mean, y.range.end)], ORANGE)
    })
}
