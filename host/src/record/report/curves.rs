//! The course of the run: accuracy and loss over rounds.

use super::{
    axis::Axis,
    chart::{self, BLUE, ORANGE},
};
use crate::record::RoundRecord;
use anyhow::Result;
use plotters::prelude::*;

const SIZE: (u32, u32) = (520, 290);

/// Test accuracy, and the middle four fifths of the clients' own accuracies where they were measured.
pub(super) fn accuracy(rounds: &[RoundRecord]) -> Result<Option<String>> {
    let points = series(rounds, |record| record.test_accuracy);
    let spreads = rounds.iter().filter_map(|record| Some((record.round as f64, record.client_accuracy?)));
    let band: Vec<(f64, f64, f64)> = spreads.map(|(round, spread)| (round, spread.p10, spread.p90)).collect();
    let band = if band.len() > 1 { band } else { Vec::new() };
    if points.iter().all(|(_, y)| !y.is_finite()) {
        return Ok(None);
    }
    let values = points.iter().map(|point| point.1).chain(band.iter().flat_map(|&(_, low, high)| [low, high]));
    let y = Axis::percent(values.map(|value| value.clamp(0.0, 1.0)).chain([0.0]), 5);
    let drawn = chart::svg("test accuracy over rounds", SIZE, |area| {
        let mut chart = chart::axes(area, &x_axis(rounds), "round", &y)?;
        let upper = band.iter().map(|&(x, _, high)| (x, high));
        let outline: Vec<_> = upper.chain(band.iter().rev().map(|&(x, low, _)| (x, low))).collect();
        if outline.iter().all(|(_, y)| y.is_finite()) && !outline.is_empty() {
            chart::shapes(&mut chart, [Polygon::new(outline, BLUE.mix(0.15))])?;
        }
        chart::line(&mut chart, &points, BLUE)
    })?;
    Ok(Some(drawn))
}

/// Whether [`accuracy`] draws the clients' band.
pub(super) fn has_client_band(rounds: &[RoundRecord]) -> bool {
    rounds.iter().filter(|record| record.client_accuracy.is_some()).count() > 1
}

/// Loss on the test set, and the cohort's loss in local training.
pub(super) fn loss(rounds: &[RoundRecord]) -> Result<Option<String>> {
    let test = series(rounds, |record| record.test_loss);
    let train = series(rounds, |record| record.train_loss);
    let values = || test.iter().chain(&train).map(|point| point.1);
    if values().all(|value| !value.is_finite()) {
        return Ok(None);
    }
    let y = Axis::around(values().chain([0.0]), 5);
    let drawn = chart::svg("loss over rounds", SIZE, |area| {
        let mut chart = chart::axes(area, &x_axis(rounds), "round", &y)?;
        chart::line(&mut chart, &train, ORANGE)?;
        chart::line(&mut chart, &test, BLUE)
    })?;
    Ok(Some(drawn))
}

/// The values that were measured. A round without a value is passed over; a value that is not finite breaks the line.
fn series(rounds: &[RoundRecord], pick: impl Fn(&RoundRecord) -> Option<f64>) -> Vec<(f64, f64)> {
    let measured = rounds.iter().filter_map(|record| Some((record.round as f64, pick(record)?)));
    chart::thinned(measured.collect(), SIZE.0)
}

fn x_axis(rounds: &[RoundRecord]) -> Axis {
    let first = rounds.first().map_or(0, |record| record.round);
    let last = rounds.last().map_or(0, |record| record.round);
    Axis::counts(first, last, 8)
}
