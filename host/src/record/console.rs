//! What a run shows in the terminal: progress on standard error, results on standard output.

use super::{Observer, Outcome, PrivacyTerms, RoundRecord, RunInfo, Summary, metrics, summary, units};
use crate::error::{Fault, Kind};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::{
    io::{IsTerminal, Write, stderr},
    path::Path,
};

/// Passes everything on to several observers, in order; the first error stops the run.
pub struct Tee<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for Tee<'_> {
    fn start(&mut self, info: &RunInfo) -> Result<()> {
        self.0.iter_mut().try_for_each(|observer| observer.start(info))
    }

    fn clients(&mut self, round: u64, done: usize, cohort: usize) {
        self.0.iter_mut().for_each(|observer| observer.clients(round, done, cohort));
    }

    fn warning(&mut self, line: &str) {
        self.0.iter_mut().for_each(|observer| observer.warning(line));
    }

    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        self.0.iter_mut().try_for_each(|observer| observer.round(record))
    }

    fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        self.0.iter_mut().try_for_each(|observer| observer.finish(outcome))
    }
}

/// The lines of `metrics.jsonl`, as they come, for the program that reads our output.
pub struct JsonLines<W: Write>(pub W);

impl<W: Write> Observer for JsonLines<W> {
    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        let written =
            metrics::json_line(record).and_then(|line| self.0.write_all(line.as_bytes())).and_then(|()| self.0.flush());
        written.map_err(|error| Fault::new(Kind::Io, format!("writing metrics to standard output: {error}")))
    }
}

/// Where a run stands: a bar in a terminal, one line a round elsewhere.
pub struct Progress {
    display: Display,
    rounds: u64,
    accuracy: Option<f64>,
    upload_bytes: u64,
    download_bytes: u64,
}

enum Display {
    Bar(ProgressBar),
    Lines(Box<dyn Write>),
}

impl Progress {
    /// On standard error: the bar if that is a terminal, else the lines.
    pub fn on_stderr() -> Self {
        if stderr().is_terminal() {
            Self::with(Display::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())))
        } else {
            Self::lines(stderr())
        }
    }

    /// One line a round into `writer`.
    pub fn lines(writer: impl Write + 'static) -> Self {
        Self::with(Display::Lines(Box::new(writer)))
    }

    /// Writes a line above the bar, from any thread; `None` where there is no bar, and standard error will do.
    pub fn above(&self) -> Option<impl FnMut(&str) + Send + 'static> {
        let Display::Bar(bar) = &self.display else { return None };
        let bar = bar.clone();
        Some(move |line: &str| bar.println(line))
    }

    fn with(display: Display) -> Self {
        Progress { display, rounds: 0, accuracy: None, upload_bytes: 0, download_bytes: 0 }
    }

    fn say(&mut self, line: &str) {
        match &mut self.display {
            Display::Bar(bar) => bar.println(line),
            // Nobody is there to be told that standard error is closed.
            Display::Lines(writer) => drop(writeln!(writer, "{line}")),
        }
    }

    fn message(&self, clients: &str) -> String {
        let accuracy = self.accuracy.map_or("–".into(), units::percent);
        let (up, down) = (units::bytes(self.upload_bytes), units::bytes(self.download_bytes));
        format!("accuracy {accuracy}, {clients} clients, {up} up, {down} down")
    }
}

impl Observer for Progress {
    fn start(&mut self, info: &RunInfo) -> Result<()> {
        self.rounds = info.rounds;
        if let Display::Bar(bar) = &self.display {
            bar.set_style(bar_style());
            bar.set_length(info.rounds);
        }
        self.say(&headline(info));
        for plugin in &info.plugins {
            let (name, version, form, hash) = (&plugin.name, &plugin.version, &plugin.form, short(&plugin.blake3));
            self.say(&format!("plugin {name} {version} ({form}, blake3 {hash}; {})", plugin.source));
        }
        info.notes.iter().for_each(|note| self.say(&format!("note: {note}")));
        Ok(())
    }

    fn clients(&mut self, _round: u64, done: usize, cohort: usize) {
        if let Display::Bar(bar) = &self.display {
            bar.set_message(self.message(&format!("{done}/{cohort}")));
        }
    }

    fn warning(&mut self, line: &str) {
        self.say(&format!("warning: {line}"));
    }

    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        self.accuracy = record.test_accuracy.or(self.accuracy);
        self.upload_bytes += record.upload_bytes;
        self.download_bytes += record.download_bytes;
        match &self.display {
            Display::Bar(bar) => {
                bar.set_position(record.round);
                bar.set_message(self.message(&record.clients.to_string()));
            }
            Display::Lines(_) => self.say(&round_line(record, self.rounds)),
        }
        Ok(())
    }

    fn finish(&mut self, _outcome: &Outcome) -> Result<()> {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // A run that stops early must not leave half a bar in front of its error.
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn bar_style() -> ProgressStyle {
    let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // Before the first round is done there is nothing to go by.
        let _ = match (state.pos(), state.eta().as_secs()) {
            (0, _) => write!(out, "–"),
            (_, seconds @ 0..60) => write!(out, "{seconds} s"),
            (_, seconds) => write!(out, "{}", units::seconds(seconds as f64)),
        };
    };
    ProgressStyle::with_template("{bar:14} round {pos}/{len}, {left} left, {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
        .progress_chars("━╸─")
}

fn headline(info: &RunInfo) -> String {
    let (clients, weights) = (units::count(info.num_clients as u64), units::count(info.num_weights as u64));
    let (data, model, rounds, threads) = (&info.data, &info.model, info.rounds, info.threads);
    let device = info.device.as_ref().map_or(String::new(), |device| format!("{device} and "));
    format!("{data}, {clients} clients; {model}, {weights} weights; {rounds} rounds on {device}{threads} threads")
}

fn round_line(record: &RoundRecord, rounds: u64) -> String {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
    let mut line = format!(
        "round {:>width$}/{rounds}  accuracy {}  loss {}  train loss {}  clients {}  {}  up {}  down {}",
        record.round,
        record.test_accuracy.map_or("–".into(), units::percent),
        number(record.test_loss),
        number(record.train_loss),
        record.clients,
        units::seconds(record.seconds),
        units::bytes(record.upload_bytes),
        units::bytes(record.download_bytes),
        width = rounds.to_string().len(),
    );
    if let Some(late) = record.stragglers.filter(|late| *late > 0) {
        line += &format!("  stragglers {late}");
    }
    if let Some(epsilon) = record.epsilon {
        line += &format!("  epsilon {epsilon:.4}");
    }
    if record.failures > 0 {
        line += &format!("  failures {}", record.failures);
    }
    line
}

/// The results of a finished run, for people.
pub fn results_table(summary: &Summary, folder: &Path) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED.with_solid_inner_borders());
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_string(), value]);
    };
    if let Some(last) = &summary.r#final {
        row("final accuracy", format!("{} (round {})", units::percent(last.test_accuracy), last.round));
    }
    if let Some(best) = &summary.best {
        row("best accuracy", format!("{} (round {})", units::percent(best.test_accuracy), best.round));
    }
    if let Some(last) = &summary.last10 {
        let rounds = if last.rounds == 1 { "last round".into() } else { format!("last {} rounds", last.rounds) };
        row(&rounds, format!("{} ± {:.2}", units::percent(last.mean), last.sd * 100.0));
    }
    if let Some((last, rows)) = summary.r#final.as_ref().and_then(|last| Some((last, last.client_rows?))) {
        for (name, spread) in [("client accuracy", last.client_accuracy), ("personal accuracy", last.personal_accuracy)]
        {
            let Some(spread) = spread else { continue };
            let (mean, sd, p10) = (units::percent(spread.mean), spread.sd * 100.0, units::percent(spread.p10));
            row(name, format!("{mean} ± {sd:.2}, 10th percentile {p10} ({rows})"));
        }
    }
    row("upload", units::bytes(summary.upload_bytes));
    row("download", units::bytes(summary.download_bytes));
    if let Some(privacy) = &summary.privacy {
        row("privacy", privacy_cell(privacy));
    }
    if let Some(rate) = summary.clients_per_second {
        row("clients per second", format!("{rate:.1}"));
    }
    row("time", units::seconds(summary.seconds));
    if let Some(peak) = summary.peak_rss_bytes {
        row("peak memory", units::bytes(peak));
    }
    if summary.failures > 0 {
        row("failures", summary.failures.to_string());
    }
    for plugin in &summary.plugins {
        let (name, version, form, hash) = (&plugin.name, &plugin.version, &plugin.form, short(&plugin.blake3));
        row("plugin", format!("{name} {version} ({form}, blake3 {hash})"));
    }
    if let Some(hash) = &summary.weights_blake3 {
        row("weights blake3", hash.clone());
    }
    row("run directory", folder.display().to_string());
    table.to_string()
}

fn privacy_cell(privacy: &summary::Privacy) -> String {
    let PrivacyTerms { delta, adjacency, accountant, untracked, .. } = &privacy.terms;
    match (privacy.epsilon, untracked) {
        (Some(epsilon), _) => format!("epsilon {epsilon:.4} at delta {delta:e}, {adjacency} ({accountant}, simulated)"),
        (None, Some(why)) => format!("epsilon is not tracked: {why}"),
        (None, None) => "–".into(),
    }
}

/// The first digits of a hash, enough to tell files apart by eye.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
