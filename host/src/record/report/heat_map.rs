//! Who has what: rows per client above, rows of each class at each client below.

use super::{
    axis::Axis,
    chart::{self, BLUE, SCALE},
};
use anyhow::Result;
use plotters::prelude::*;

const WIDTH: u32 = 1140;
const SIZES_HEIGHT: u32 = 110;
/// More clients than this would be drawn narrower than three pixels.
const MOST_CLIENTS: usize = 300;
const MOST_CLASSES: usize = 100;
/// The faintest cell that the eye still tells from an empty one.
const FAINTEST: f64 = 0.12;

/// What was drawn, for the caption and the legend.
pub(super) struct Drawing {
    pub svg: String,
    pub clients: usize,
    pub classes: usize,
    /// Rows in the fullest cell.
    pub most: u32,
}

/// The first clients and classes of the partition. Nothing where no counts are known.
pub(super) fn partition(counts: &[Vec<u32>]) -> Result<Option<Drawing>> {
    let shown = &counts[..counts.len().min(MOST_CLIENTS)];
    let classes = shown.iter().map(Vec::len).max().unwrap_or(0).min(MOST_CLASSES);
    let most = shown.iter().flat_map(|row| row.iter().take(classes)).copied().max().unwrap_or(0);
    if classes == 0 || most == 0 {
        return Ok(None);
    }
    let cells_height = (classes as u32 * 20).clamp(60, 420) + 54;
    let svg = chart::svg("rows of each class at each client", (WIDTH, SIZES_HEIGHT + cells_height), |area| {
        let (top, bottom) = area.split_vertically(SIZES_HEIGHT as i32 * SCALE);
        sizes(&top, shown)?;
        cells(&bottom, shown, classes, most)
    })?;
    Ok(Some(Drawing { svg, clients: shown.len(), classes, most }))
}

/// How strongly a cell is painted. Square roots, because most partitions have few full cells and many small ones.
pub(super) fn opacity(rows: u32, most: u32) -> f64 {
    FAINTEST + (1.0 - FAINTEST) * (f64::from(rows) / f64::from(most)).sqrt()
}

fn sizes(area: &chart::Area<'_>, counts: &[Vec<u32>]) -> Result<()> {
    let sizes: Vec<u64> = counts.iter().map(|row| row.iter().map(|&rows| u64::from(rows)).sum()).collect();
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let (x, y) = (Axis::places(sizes.len(), 10), Axis::around([0.0, largest as f64], 3));
    let mut chart = chart::axes(area, &x, "", &y)?;
    let gap = if sizes.len() > 150 { 0.0 } else { 0.1 };
    let bars = sizes.iter().enumerate().map(|(client, &rows)| {
        let left = client as f64;
        Rectangle::new([(left + gap, 0.0), (left + 1.0 - gap, rows as f64)], BLUE.mix(0.7).filled())
    });
    chart::shapes(&mut chart, bars)
}

fn cells(area: &chart::Area<'_>, counts: &[Vec<u32>], classes: usize, most: u32) -> Result<()> {
    let (x, y) = (Axis::places(counts.len(), 10), Axis::places(classes, 20).downwards());
    let mut chart = chart::axes(area, &x, "client", &y)?;
    let filled = counts.iter().enumerate().flat_map(|(client, row)| {
        let cell = row.iter().take(classes).enumerate().filter(|(_, rows)| **rows > 0);
        cell.map(move |(class, &rows)| {
            let (left, top) = (client as f64, class as f64);
            let paint = BLUE.mix(opacity(rows, most)).filled();
            Rectangle::new([(left, top), (left + 1.0, top + 1.0)], paint)
        })
    });
    chart::shapes(&mut chart, filled)
}
