//! Markdown tables in plain text.

use comfy_table::{Table, presets::ASCII_MARKDOWN};

/// A table with its head; every line has as many cells.
pub fn markdown<const N: usize>(head: [&str; N], lines: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head);
    table.add_rows(lines);
    format!("{table}\n")
}

/// Three significant digits, a dash for what is not known.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".into() };
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = (2 - magnitude).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}
