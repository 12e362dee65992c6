//! `colla-host compare`: several runs in one table and one plot.

use super::{
    arguments::{BandName, CompareArguments, CompareFormat},
    print,
};
use crate::{
    compare::{self, Band, Comparison, Options, Request},
    error::{Fault, Kind},
    record::{self, report},
};
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use std::path::Path;

pub(super) fn compare(arguments: &CompareArguments) -> Result<()> {
    // Whatever is wrong with the file's name is known before anything is read.
    let plot = arguments.out.as_deref().map(|path| Ok::<_, anyhow::Error>((path, Plot::of(path)?))).transpose()?;
    let requests = arguments.runs.iter().map(|run| Request::parse(run)).collect::<Result<Vec<_>>>()?;
    let options = Options {
        metric: arguments.metric.clone(),
        last: arguments.last.get(),
        target: arguments.target,
        band: match arguments.band {
            BandName::Range => Band::Range,
            BandName::Sd => Band::Sd,
        },
        unfinished: arguments.unfinished,
    };
    let comparison = compare::compare(&requests, &options)?;
    if let Some((path, plot)) = plot {
        record::write_file(path, plot.draw(&comparison, arguments.from)?.as_bytes())?;
    }
    print(&match arguments.format {
        CompareFormat::Table => text(&comparison),
        CompareFormat::Json => serde_json::to_string(&comparison)? + "\n",
        CompareFormat::Csv => comparison.csv()?,
    })
}

/// The form of the plot's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plot {
    Svg,
    Html,
}

impl Plot {
    /// By the ending of its name. Errors: `Kind::Usage` for another one.
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Plot::Svg),
            Some("html" | "htm") => Ok(Plot::Html),
            _ => {
                let message = format!("`--out {}`: a plot is written as FILE.svg or FILE.html", path.display());
                Err(Fault::new(Kind::Usage, message))
            }
        }
    }

    fn draw(self, comparison: &Comparison, from: u64) -> Result<String> {
        let curves = comparison.curves(from)?;
        match self {
            Plot::Svg => report::comparison_svg(&curves),
            Plot::Html => report::comparison_html(&curves, &comparison.table(), &comparison.notes, &comparison.runs()),
        }
    }
}

fn text(comparison: &Comparison) -> String {
    let (head, rows) = comparison.table();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(head).add_rows(rows);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let [first, last] = comparison.rounds;
    let mut text = format!("{table}\n{}, rounds {first} to {last}\n", comparison.metric.title());
    if comparison.series.iter().any(|series| series.runs.len() > 1) {
        text += "mean over runs ± their standard deviation\n";
    }
    comparison.notes.iter().for_each(|note| text += &format!("{note}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_plots_name_says_its_form() {
        assert_eq!(Plot::of(Path::new("a.b/x.SVG")).unwrap(), Plot::Svg);
        assert_eq!(Plot::of(Path::new("x.html")).unwrap(), Plot::Html);
        let error = Plot::of(Path::new("x.png")).unwrap_err();
        assert_eq!(error.to_string(), "`--out x.png`: a plot is written as FILE.svg or FILE.html");
        assert_eq!(crate::error::exit_code(&error), 2);
    }
}
