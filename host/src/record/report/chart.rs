//! Drawing: one look for all charts, as SVG; inline, the page's style sheet colours it.
//!
//! Texts and lines carry one of the colours below; the style sheet maps each to the reader's light or dark scheme.
//! Everything is drawn at [`SCALE`] units per pixel, because the backend rounds coordinates to whole units.

use super::axis::Axis;
use anyhow::{Result, anyhow};
use plotters::{coord::Shift, prelude::*};

pub(super) const SCALE: i32 = 4;

/// Accuracy, cells of the heat map, bars.
pub(super) const BLUE: RGBColor = RGBColor(0x25, 0x63, 0xEB);
/// Training loss and means.
pub(super) const ORANGE: RGBColor = RGBColor(0xEA, 0x58, 0x0C);
pub(super) const TEXT: RGBColor = RGBColor(0x57, 0x60, 0x6A);
pub(super) const GRID: RGBColor = RGBColor(0xE4, 0xE7, 0xEB);
pub(super) const AXIS: RGBColor = RGBColor(0x9A, 0xA4, 0xAF);

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// An SVG of `width × height` pixels with what `draw` puts on it. `title` is what a screen reader says.
pub(super) fn svg(
    title: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    {
        let scale = SCALE as u32;
        let root = SVGBackend::with_string(&mut text, (width * scale, height * scale)).into_drawing_area();
        draw(&root)?;
        root.present().map_err(failed)?;
    }
    let label = format!("<svg role=\"img\" aria-label=\"{}\" ", super::escape(title));
    Ok(text.replacen("<svg ", &label, 1))
}

/// Axes with horizontal grid lines, tick labels and the name of the x axis; without a name the x axis stays bare.
pub(super) fn axes<'a, 'b>(area: &'a Area<'b>, x: &Axis, x_name: &str, y: &Axis) -> Result<Plane<'a, 'b>> {
    let bare = x_name.is_empty();
    let mut chart = ChartBuilder::on(area)
        .margin_top(10 * SCALE)
        .margin_right(18 * SCALE)
        .x_label_area_size(if bare { SCALE } else { 40 * SCALE })
        .y_label_area_size(54 * SCALE)
        .build_cartesian_2d(if bare { x.bare() } else { x.clone() }, y.clone())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(if y.grid { GRID.stroke_width(SCALE as u32) } else { TRANSPARENT.into() })
        .light_line_style(TRANSPARENT)
        .axis_style(AXIS.stroke_width(SCALE as u32))
        .label_style(text_style())
        .axis_desc_style(text_style())
        .set_all_tick_mark_size(3 * SCALE)
        .x_desc(x_name)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

/// Draws shapes in the chart's coordinates.
pub(super) fn shapes<E>(chart: &mut Plane<'_, '_>, shapes: impl IntoIterator<Item = E>) -> Result<()>
where
    for<'e> &'e E: plotters::element::PointCollection<'e, (f64, f64)>,
    E: for<'b> plotters::element::Drawable<SVGBackend<'b>>,
{
    chart.draw_series(shapes).map_err(failed).map(drop)
}

/// A line through the points, broken where a value is not finite; a point without neighbours is a dot.
pub(super) fn line(chart: &mut Plane<'_, '_>, points: &[(f64, f64)], colour: RGBColor) -> Result<()> {
    let style = colour.stroke_width(2 * SCALE as u32);
    for run in points.split(|(_, y)| !y.is_finite()).filter(|run| !run.is_empty()) {
        if let [point] = run {
            shapes(chart, [Circle::new(*point, 4 * SCALE, colour.filled())])?;
        } else {
            shapes(chart, [PathElement::new(run.to_vec(), style)])?;
        }
    }
    Ok(())
}

/// At most about twice `pixels` of the points, the last one among them: more would only make the page heavy.
pub(super) fn thinned<T>(points: Vec<T>, pixels: u32) -> Vec<T> {
    let stride = points.len().div_ceil(2 * pixels as usize).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(i, _)| i % stride == 0 || *i == last).map(|(_, point)| point).collect()
}

/// Labels of 12 pixels. The family is the page's, by style sheet; the backend divides sizes by 1.24.
pub(super) fn text_style() -> TextStyle<'static> {
    ("sans-serif", 12.0 * 1.24 * f64::from(SCALE)).into_font().color(&TEXT)
}

/// Drawing into memory fails only by a mistake of ours.
pub(super) fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing the report: {error}")
}
