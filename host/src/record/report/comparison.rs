//! Several runs in one plot: a line for each series over the rounds, and around it a band over its runs. As an SVG
//! file of its own, or on a page with the table.
//!
//! Where in the flow: drawn for [`crate::compare`], which computes everything. Series differ in colour and in dashes,
//! so that they can be told apart in grey and by whoever does not see all colours.
//! What it never does: write anything that depends on the time or the machine; the same runs give the same bytes.

use super::{
    axis::Axis,
    chart::{self, SCALE},
    escape,
};
use crate::error::{Fault, Kind};
use anyhow::Result;
use plotters::prelude::*;
use std::fmt::Write;

/// What is drawn.
pub struct Curves {
    /// Above the plot.
    pub title: String,
    /// Values are shares, written in percent.
    pub share: bool,
    pub curves: Vec<Curve>,
}

/// One series.
pub struct Curve {
    pub label: String,
    /// Whether there is a band.
    pub banded: bool,
    /// In the order of their rounds.
    pub points: Vec<CurvePoint>,
}

/// A round; a value that is not finite breaks line and band.
#[derive(Clone, Copy)]
pub struct CurvePoint {
    pub round: u64,
    pub value: f64,
    /// Edges of the band.
    pub low: f64,
    pub high: f64,
}

const WIDTH: u32 = 760;
const PLOT_HEIGHT: u32 = 340;
const TITLE_HEIGHT: u32 = 30;
const KEY_HEIGHT: u32 = 20;
/// Characters of 12 pixels that fit beside a key.
const MOST_CHARACTERS: usize = 108;

/// Colours that differ for readers with any usual colour vision (Okabe and Ito, 2008, without its yellow and black,
/// which vanish on white and on black; grey and brown in their place), and dashes in pixels that differ without
/// colour.
const LOOKS: [(RGBColor, &str); 8] = [
    (RGBColor(0x00, 0x72, 0xB2), ""),
    (RGBColor(0xD5, 0x5E, 0x00), "9 4"),
    (RGBColor(0x00, 0x9E, 0x73), "2 3"),
    (RGBColor(0xCC, 0x79, 0xA7), "10 3 2 3"),
    (RGBColor(0xE6, 0x9F, 0x00), "16 4"),
    (RGBColor(0x56, 0xB4, 0xE9), "6 2 2 2 2 2"),
    (RGBColor(0x80, 0x80, 0x80), "4 4"),
    (RGBColor(0xA6, 0x76, 0x1D), "16 3 5 3"),
];

/// The plot as a file: black on white, so that it reads the same on any page.
/// Errors: `Kind::Usage` for more series than can be told apart.
pub fn comparison_svg(curves: &Curves) -> Result<String> {
    let svg = plot(curves)?;
    let (width, height) = size(curves);
    let scaled = format!("width=\"{}\" height=\"{}\"", width * SCALE as u32, height * SCALE as u32);
    let svg = svg.replacen(&scaled, &format!("width=\"{width}\" height=\"{height}\""), 1);
    let paper = "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n";
    Ok(match svg.split_once('>') {
        Some((root, content)) => format!("{root}>\n{paper}{}\n", content.trim()),
        None => svg,
    })
}

/// The plot on a page, with the table, what there is to note, and a list of the runs: series, run, and what is told of
/// it.
/// Errors: as [`comparison_svg`].
pub fn comparison_html(
    curves: &Curves,
    (head, rows): &(Vec<String>, Vec<Vec<String>>),
    notes: &[String],
    runs: &[[String; 3]],
) -> Result<String> {
    let notes: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let runs: Vec<Vec<String>> = runs.iter().map(|run| run.to_vec()).collect();
    let body = format!(
        "<header>\n<p class=\"brand\">CollA comparison</p>\n<h1>{} series</h1>\n</header>\n\
         <section>\n<figure>\n<div class=\"wide\">{}</div>\n</figure>\n</section>\n\
         <section>\n<div class=\"scroll\">{}</div>\n<ul>\n{notes}</ul>\n</section>\n\
         <section>\n<h2>Runs</h2>\n<div class=\"scroll\">{}</div>\n</section>\n",
        curves.curves.len(),
        plot(curves)?,
        table(head, rows),
        table(&["Series", "Run", "Seeds"].map(String::from), &runs),
    );
    Ok(super::page("CollA comparison", &body))
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut table = String::from("<table>\n<thead><tr>");
    head.iter().for_each(|name| table += &format!("<th>{}</th>", escape(name)));
    table += "</tr></thead>\n<tbody>\n";
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(table, "<tr>{cells}</tr>");
    }
    table + "</tbody>\n</table>"
}

fn size(curves: &Curves) -> (u32, u32) {
    (WIDTH, TITLE_HEIGHT + KEY_HEIGHT * curves.curves.len() as u32 + PLOT_HEIGHT)
}

fn plot(curves: &Curves) -> Result<String> {
    let count = curves.curves.len();
    if count > LOOKS.len() {
        let message = format!(
            "{count} series cannot be told apart in one plot; compare at most {} at a time, or leave out `--out`",
            LOOKS.len()
        );
        return Err(Fault::new(Kind::Usage, message));
    }
    let looks = || curves.curves.iter().zip(LOOKS);
    let svg = chart::svg(&curves.title, size(curves), |area| {
        let (head, body) = area.split_vertically((TITLE_HEIGHT + KEY_HEIGHT * count as u32) as i32 * SCALE);
        keys(&head, curves)?;
        let (x, y) = axes(curves);
        let mut chart = chart::axes(&body, &x, "round", &y)?;
        // Bands first: no line may lie below another's band.
        for (curve, (colour, _)) in looks().filter(|(curve, _)| curve.banded) {
            band(&mut chart, &chart::thinned(curve.points.clone(), WIDTH), colour)?;
        }
        for (curve, (colour, _)) in looks() {
            let points = curve.points.iter().map(|point| (point.round as f64, point.value)).collect();
            chart::line(&mut chart, &chart::thinned(points, WIDTH), colour)?;
        }
        Ok(())
    })?;
    Ok(looks().fold(svg, |svg, (_, (colour, dashes))| dashed(&svg, colour, dashes)))
}

/// Title, and below it the line, the label and the number of each series.
fn keys(head: &chart::Area<'_>, curves: &Curves) -> Result<()> {
    let at = |x: i32, y: i32| (x * SCALE, y * SCALE);
    let write = |text: &str, place| head.draw(&Text::new(shortened(text), place, chart::text_style()));
    write(&curves.title, at(14, 10)).map_err(chart::failed)?;
    for (place, (curve, (colour, _))) in curves.curves.iter().zip(LOOKS).enumerate() {
        let top = TITLE_HEIGHT as i32 + KEY_HEIGHT as i32 * place as i32;
        let line = PathElement::new(vec![at(14, top + 8), at(54, top + 8)], colour.stroke_width(2 * SCALE as u32));
        head.draw(&line).map_err(chart::failed)?;
        write(&curve.label, at(64, top + 2)).map_err(chart::failed)?;
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MOST_CHARACTERS {
        return text.into();
    }
    text.chars().take(MOST_CHARACTERS - 1).chain(['…']).collect()
}

fn axes(curves: &Curves) -> (Axis, Axis) {
    let points = || curves.curves.iter().flat_map(|curve| curve.points.iter().map(|point| (curve.banded, point)));
    let rounds = || points().map(|(_, point)| point.round);
    let x = Axis::counts(rounds().min().unwrap_or(0), rounds().max().unwrap_or(0), 10);
    let values = points().flat_map(|(banded, point)| match banded {
        true => vec![point.value, point.low, point.high],
        false => vec![point.value],
    });
    let y = match curves.share {
        // A deviation may reach beyond what a share can be.
        true => Axis::percent(values.map(|value| value.clamp(0.0, 1.0)), 6),
        false => Axis::around(values, 6),
    };
    (x, y)
}

fn band(chart: &mut chart::Plane<'_, '_>, points: &[CurvePoint], colour: RGBColor) -> Result<()> {
    let is_gap = |point: &CurvePoint| !(point.low.is_finite() && point.high.is_finite());
    for run in points.split(is_gap).filter(|run| run.len() > 1) {
        let upper = run.iter().map(|point| (point.round as f64, point.high));
        let lower = run.iter().rev().map(|point| (point.round as f64, point.low));
        chart::shapes(chart, [Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.16))])?;
    }
    Ok(())
}

/// Gives the lines of a colour their dashes, which the backend does not know. Attributes, since not every reader of SVG
/// reads style sheets.
fn dashed(svg: &str, colour: RGBColor, dashes: &str) -> String {
    if dashes.is_empty() {
        return svg.into();
    }
    let scaled: Vec<String> =
        dashes.split(' ').filter_map(|length| Some((length.parse::<i32>().ok()? * SCALE).to_string())).collect();
    let stroke = format!("stroke=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
    svg.replace(&stroke, &format!("{stroke} stroke-dasharray=\"{}\"", scaled.join(" ")))
}
