//! `report.html`: the run on one page that needs nothing else, neither scripts nor network; and the plot of several
//! runs.
//!
//! Where in the flow: drawn once, from what the run directory collected or a comparison computed. Everything that came
//! from outside (names, parameters, the configuration) is escaped.
//! What it never does: compute a result; it shows those of [`super::Summary`].

mod axis;
mod chart;
mod clients;
mod comparison;
mod curves;
mod heat_map;

#[cfg(test)]
mod tests;

pub use comparison::{Curve, CurvePoint, Curves, comparison_html, comparison_svg};

use super::{Outcome, RoundRecord, RunInfo, Summary, units};
use anyhow::Result;
use std::fmt::Write;

/// What a report tells of.
pub struct Run<'a> {
    pub info: &'a RunInfo,
    pub rounds: &'a [RoundRecord],
    pub outcome: &'a Outcome,
    pub summary: &'a Summary,
    /// The stored configuration, as TOML.
    pub config: &'a str,
}

/// The page.
pub fn html(run: &Run<'_>) -> Result<String> {
    let title = escape(&format!("{}, {}", run.info.data, run.info.model));
    let body = [header(run), tiles(run), curves(run)?, clients(run)?, partition(run)?, plugins(run), config(run)];
    Ok(page(&format!("CollA run: {title}"), &body.concat()))
}

/// A page that needs nothing else. Title and body are HTML.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        include_str!("style.css"),
    )
}

/// Text that HTML shows as it is, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn header(run: &Run<'_>) -> String {
    let info = run.info;
    format!(
        "<header>\n<p class=\"brand\">CollA run report</p>\n<h1>{} <span>·</span> {}</h1>\n\
         <p class=\"facts\">{}, {}, {}, {}</p>\n</header>\n",
        escape(&info.data),
        escape(&info.model),
        plural(info.num_clients as u64, "client"),
        plural(run.summary.rounds, "round"),
        plural(info.num_weights as u64, "weight"),
        plural(info.threads as u64, "thread"),
    )
}

fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", units::count(number), if number == 1 { "" } else { "s" })
}

fn tiles(run: &Run<'_>) -> String {
    let summary = run.summary;
    let mut tiles = String::from("<section class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, note: &str| {
        let _ = writeln!(tiles, "<div><dt>{name}</dt><dd>{}</dd><p>{}</p></div>", escape(value), escape(note));
    };
    if let Some(last) = &summary.r#final {
        tile("Final accuracy", &units::percent(last.test_accuracy), &format!("test set, round {}", last.round));
    }
    if let Some(best) = &summary.best {
        tile("Best accuracy", &units::percent(best.test_accuracy), &format!("test set, round {}", best.round));
    }
    if let Some(last) = &summary.last10 {
        let note = match last.rounds {
            1 => "mean of one round".into(),
            _ => format!("mean; standard deviation {:.2} points", last.sd * 100.0),
        };
        tile(&format!("Last {}", plural(last.rounds as u64, "round")), &units::percent(last.mean), &note);
    }
    if let Some(loss) = summary.r#final.as_ref().and_then(|last| last.test_loss) {
        tile("Final loss", &format!("{loss:.4}"), "test set");
    }
    if let Some(personal) = summary.r#final.as_ref().and_then(|last| last.personal_accuracy) {
        let note =
            format!("mean over clients, each on its own rows; standard deviation {:.2} points", personal.sd * 100.0);
        tile("Personal models", &units::percent(personal.mean), &note);
    }
    tile("Upload", &units::bytes(summary.upload_bytes), "clients to server, all rounds");
    tile("Download", &units::bytes(summary.download_bytes), "server to clients, all rounds");
    if let Some(privacy) = &summary.privacy {
        let terms = &privacy.terms;
        match (privacy.epsilon, &terms.untracked) {
            (Some(epsilon), _) => {
                tile("Epsilon", &format!("{epsilon:.3}"), &format!("delta {:e}; {}", terms.delta, terms.statement))
            }
            (None, why) => {
                tile("Epsilon", "–", &format!("not tracked: {}", why.as_deref().unwrap_or("no round was done")))
            }
        }
    }
    if let Some(rate) = summary.clients_per_second {
        tile("Speed", &format!("{rate:.1}"), "clients per second of training");
    }
    let peak = summary.peak_rss_bytes.map_or(String::new(), |peak| format!("peak memory {}", units::bytes(peak)));
    tile("Time", &units::seconds(summary.seconds), &peak);
    if summary.failures > 0 {
        tile("Failures", &units::count(summary.failures), "clients whose training failed, all rounds");
    }
    tiles + "</section>\n"
}

fn curves(run: &Run<'_>) -> Result<String> {
    let mut section = String::from("<section class=\"pair\">\n");
    let band =
        if curves::has_client_band(run.rounds) { key("band", "clients, 10th to 90th percentile") } else { "".into() };
    section += &figure(
        "Accuracy",
        &(key("blue", "test set") + &band),
        curves::accuracy(run.rounds)?.as_deref(),
        "No round was evaluated on the test set.",
    );
    section += &figure(
        "Loss",
        &(key("blue", "test set") + &key("orange", "local training")),
        curves::loss(run.rounds)?.as_deref(),
        "No loss was measured.",
    );
    Ok(section + "</section>\n")
}

fn clients(run: &Run<'_>) -> Result<String> {
    let measured = &run.outcome.client_accuracy;
    let drawing = clients::accuracy(measured, &run.outcome.personal_accuracy)?;
    let count = plural(measured.len() as u64, "client");
    let legend = drawing.as_ref().map_or(String::new(), |drawing| {
        let bars = if drawing.sorted { format!("{count}, a bar each") } else { count };
        let mean = key("orange", &format!("mean over clients {}", units::percent(drawing.mean)));
        let personal = |mean| key("dot", &format!("personal models, mean {}", units::percent(mean)));
        key("bar", &bars) + &mean + &drawing.personal_mean.map_or(String::new(), personal)
    });
    let title = match drawing {
        Some(_) => format!("Accuracy at each client, on its own {}", run.outcome.client_rows),
        None => "Accuracy at each client".into(),
    };
    let chart = figure(&title, &legend, drawing.as_ref().map(|d| &*d.svg), "The clients' own rows were not evaluated.");
    Ok(format!("<section class=\"pair\">\n{chart}{}</section>\n", rounds_table(run)))
}

/// The last rounds in numbers; all of them are in `metrics.csv`.
fn rounds_table(run: &Run<'_>) -> String {
    const SHOWN: usize = 10;
    let mut rows = String::new();
    let late = run.rounds.iter().any(|record| record.stragglers.is_some());
    let turnout = |record: &RoundRecord| {
        let stragglers = record.stragglers.map_or("–".into(), units::count);
        if late { format!("<td>{}</td><td>{stragglers}</td>", units::count(record.clients)) } else { String::new() }
    };
    for record in run.rounds.iter().rev().take(SHOWN).rev() {
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td></tr>",
            record.round,
            record.test_accuracy.map_or("–".into(), units::percent),
            number(record.test_loss),
            number(record.train_loss),
            turnout(record),
            units::bytes(record.upload_bytes),
            units::seconds(record.seconds),
        );
    }
    let title = if run.rounds.len() > SHOWN { format!("Last {SHOWN} rounds") } else { "Rounds".into() };
    let turnout = if late { "<th>Clients</th><th>Stragglers</th>" } else { "" };
    format!(
        "<figure>\n<h2>{title}</h2>\n<div class=\"wide\"><table class=\"numbers\">\n<thead><tr><th>Round</th><th>Accuracy</th><th>Loss</th>\
         <th>Train loss</th>{turnout}<th>Upload</th><th>Time</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</figure>\n"
    )
}

fn partition(run: &Run<'_>) -> Result<String> {
    let drawing = heat_map::partition(&run.info.class_counts)?;
    let (mut title, mut legend) = ("Partition: rows of each class at each client".to_string(), String::new());
    if let Some(drawing) = &drawing {
        let classes = run.info.class_counts.first().map_or(0, Vec::len);
        if drawing.clients < run.info.num_clients {
            let _ = write!(
                title,
                "; the first {} of {} clients",
                drawing.clients,
                units::count(run.info.num_clients as u64)
            );
        }
        if drawing.classes < classes {
            let _ = write!(title, "; the first {} of {classes} classes", drawing.classes);
        }
        legend = key("bar", "rows per client") + "<span class=\"key\">below, rows of one class at one client:</span>";
        for rows in shades(drawing.most) {
            let opacity = heat_map::opacity(rows, drawing.most);
            let _ = write!(
                legend,
                "<span class=\"key\"><i class=\"cell\" style=\"opacity:{opacity:.3}\"></i>{rows}</span>"
            );
        }
    }
    let none = "There are too many clients to show, or no counts were kept.";
    Ok(format!("<section>\n{}</section>\n", figure(&title, &legend, drawing.as_ref().map(|d| &*d.svg), none)))
}

/// Up to five values from 1 to the largest, evenly spaced for the eye.
fn shades(most: u32) -> Vec<u32> {
    let quarters = (0..=4u32).map(|k| (f64::from(most) * f64::from(k * k) / 16.0).round().max(1.0) as u32);
    let mut shades: Vec<u32> = quarters.collect();
    shades.dedup();
    shades
}

fn plugins(run: &Run<'_>) -> String {
    if run.info.plugins.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for plugin in &run.info.plugins {
        let roles: Vec<String> = plugin.kinds.iter().map(role).collect();
        let parameters = plugin.parameters.iter().map(|(name, value)| escape(&format!("{name} = {value}")));
        let _ = writeln!(
            rows,
            "<tr><td>{} {}</td><td>{}</td><td>{}</td><td><code>{}</code></td><td class=\"hash\"><code>{}</code></td></tr>",
            escape(&plugin.name),
            escape(&plugin.version),
            escape(&roles.join(", ")),
            escape(&plugin.form),
            parameters.collect::<Vec<_>>().join("<br>"),
            escape(&plugin.blake3),
        );
    }
    format!(
        "<section>\n<h2>Plugins</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Plugin</th><th>Roles</th><th>Form</th>\
         <th>Parameters</th><th>BLAKE3</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

/// The name that manifests use.
fn role(role: &crate::plugin::Role) -> String {
    serde_json::to_value(role).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn config(run: &Run<'_>) -> String {
    let sections = run.config.trim().split("\n\n").map(|section| format!("<pre>{}</pre>\n", escape(section)));
    format!(
        "<section>\n<h2>Configuration</h2>\n<div class=\"config\">\n{}</div>\n</section>\n<footer>\n\
         <p>colla {}, kernel {}</p>\n<p>weights blake3 <code>{}</code></p>\n</footer>\n",
        sections.collect::<String>(),
        escape(run.summary.version),
        escape(&run.outcome.kernel),
        escape(run.summary.weights_blake3.as_deref().unwrap_or("–")),
    )
}

fn figure(title: &str, legend: &str, svg: Option<&str>, without: &str) -> String {
    let drawn = svg.map_or_else(
        || format!("<p class=\"empty\">{without}</p>\n"),
        |svg| format!("<div class=\"wide\">{svg}</div>\n"),
    );
    let legend = if svg.is_some() { legend } else { "" };
    format!("<figure>\n<h2>{}</h2>\n<p class=\"legend\">{legend}</p>\n{drawn}</figure>\n", escape(title))
}

fn key(colour: &str, text: &str) -> String {
    format!("<span class=\"key\"><i class=\"{colour}\"></i>{}</span>", escape(text))
}
