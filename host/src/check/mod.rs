//! `plugin check`: does a plugin keep the laws that the host and its users rely on?
//!
//! Where in the flow: beside a run, above strategy and stages, whose measures, plans and limits it uses. The laws are in
//! `laws.rs`, `codec.rs`, `header.rs` and `norm.rs`; `bench/` drives the plugin's instances.
//! What it never does: say that a method is a good one. A plugin that passes is well-behaved, not right.

mod bench;
mod codec;
mod header;
mod inputs;
mod laws;
mod norm;
mod rows;

use crate::{
    config,
    error::{Fault, Kind, exit_code},
    plugin::{self, Form, Inspected, NormEffect, Plugin, Reduce, Role},
};
use anyhow::Result;
use bench::{Bench, Planes};
use laws::{Broken, Held};
use rows::Rows;
use serde::Serialize;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How a law came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Fail,
    /// Not asked, since a law that it rests on is broken.
    Skipped,
    /// A measurement, which cannot fail.
    Measured,
}

/// One law and its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub law: &'static str,
    /// The role that the law belongs to; none for those of the file as a whole.
    pub role: Option<Role>,
    pub verdict: Verdict,
    pub text: String,
}

/// All laws of a plugin's roles.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub plugin: String,
    /// Hex.
    pub blake3: String,
    pub lines: Vec<Line>,
    /// Whether the file can be a plugin at all.
    #[serde(skip)]
    pub is_plugin: bool,
    /// The role that is being asked.
    #[serde(skip)]
    role: Option<Role>,
}

impl Report {
    /// Names of the broken laws, in order.
    pub fn broken(&self) -> Vec<&'static str> {
        self.lines.iter().filter(|line| line.verdict == Verdict::Fail).map(|line| line.law).collect()
    }

    fn tell(&mut self, law: &'static str, held: Held) -> bool {
        let holds = held.is_ok();
        let (verdict, text) = match held {
            Ok(text) => (Verdict::Pass, text),
            Err(Broken(text)) => (Verdict::Fail, text),
        };
        self.line(law, verdict, text);
        holds
    }

    fn skip(&mut self, law: &'static str, because: &str) {
        self.line(law, Verdict::Skipped, format!("not asked, since `{because}` fails"));
    }

    fn line(&mut self, law: &'static str, verdict: Verdict, text: String) {
        self.lines.push(Line { law, role: self.role, verdict, text });
    }
}

/// The plugin under examination.
struct Subject {
    spec: config::Plugin,
    plugin: Plugin,
    /// Whether the module imports `rand_fill`; `None` for a library, whose imports say nothing.
    can_draw: Option<bool>,
    /// Clients of every cohort that it is asked with.
    rows: Rows,
}

impl Subject {
    /// New instances for a model of `len` parameters, as a run has them.
    fn bench(&self, len: usize) -> Result<Bench> {
        Bench::open(&self.plugin, len, self.rows.count, Planes::Apart)
    }

    /// Whether the role aggregate, if it has it, weighs updates that the host sums.
    fn reduces_sums(&self) -> bool {
        matches!(self.plugin.manifest().reduce[..], [] | [Reduce::SumBefore | Reduce::SumAfter])
    }

    fn reduces_rows(&self) -> bool {
        self.plugin.manifest().reduce.contains(&Reduce::Rows)
    }
}

/// Examines a WASM plugin, and the native library of the same source if one is given. Naming the library is the approval
/// to load it, with all rights of this process.
///
/// Errors: [`Kind::Config`] if there is no such file, it is a native library, or the parameters in `spec` are not its;
/// for `native` if there is no such file, [`Kind::Usage`] if it is WASM. A file that cannot be loaded is no error here but
/// a broken law.
pub fn check(spec: &config::Plugin, native: Option<&Path>) -> Result<Report> {
    let inspected = match plugin::inspect(spec) {
        Ok(inspected) => inspected,
        Err(error) if exit_code(&error) == Kind::PluginRefused.exit_code() => {
            let name = spec.path.as_ref().map_or(String::new(), |path| path.display().to_string());
            let (blake3, lines) = (String::new(), Vec::new());
            let mut report = Report { plugin: name, blake3, lines, is_plugin: false, role: None };
            report.tell("load", Err(error.into()));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let native = native.map(|path| library(path, spec)).transpose()?;
    let name = inspected.manifest.name.clone();
    if inspected.form == Form::Native {
        let problem = "it is a native library; give the WASM file, and the library with `--native`";
        return Err(Fault::new(Kind::Config, format!("checking plugin `{name}`: {problem}")));
    }
    let (blake3, lines) = (inspected.blake3.clone(), Vec::new());
    let mut report = Report { plugin: name, blake3, lines, is_plugin: true, role: None };
    let plugin = match plugin::load(spec, &[]) {
        Ok(plugin) => plugin,
        // Parameters that the user gave are no fault of the plugin's; its own defaults are.
        Err(error) if !spec.parameters.is_empty() && exit_code(&error) == Kind::Config.exit_code() => {
            return Err(error);
        }
        Err(error) => {
            report.is_plugin = exit_code(&error) != Kind::PluginRefused.exit_code();
            report.tell("load", Err(error.into()));
            return Ok(report);
        }
    };
    let roles = plugin.manifest().kinds.clone();
    let facts = format!("ABI {}, {} bytes, created with {}", plugin.manifest().abi, plugin.size(), given(spec));
    report.tell("load", Ok(facts));
    let rows = Rows::of(&plugin);
    let subject = Subject { spec: spec.clone(), plugin, can_draw: inspected.can_draw(), rows };
    report.tell("parameters", laws::parameters(&subject));
    report.tell("random", laws::random(&subject));
    for role in roles {
        report.role = Some(role);
        ask_role(&mut report, &subject, role);
    }
    report.role = None;
    match report.broken().first() {
        None => drop(report.tell("resume", laws::resume(&subject))),
        Some(broken) => report.skip("resume", broken),
    }
    if let Some((library, inspected)) = native {
        report.tell("native", ask_forms(&subject, &library, inspected.blake3));
    }
    Ok(report)
}

/// The parameters that the plugin was created with, in words.
fn given(spec: &config::Plugin) -> String {
    let pairs: Vec<String> = spec.parameters.iter().map(|(name, value)| format!("`{name} = {value}`")).collect();
    if pairs.is_empty() { "its defaults".into() } else { pairs.join(", ") }
}

type Law<'a> = (&'static str, &'a dyn Fn() -> Held);

/// The laws of one role. Answers that are not finite or not repeatable make all further comparisons meaningless.
fn ask_role(report: &mut Report, subject: &Subject, role: Role) {
    let (finite, weights) = (|| laws::finite(subject, role), || laws::weights(subject));
    let (round_trip, damage) = (|| codec::round_trip(subject), || codec::damage(subject));
    let (undo, headers) = (|| header::undo(subject), || header::damage(subject));
    let (sync, norm) = (|| laws::sync(subject, role), || norm::norm(subject, role));
    let (cuts, order) = (|| laws::cuts(subject, role), || laws::order(subject));
    let repeatable = || laws::repeatable(subject, role);
    let sound: Law<'_> = match role {
        Role::Compress => ("round-trip", &round_trip),
        Role::Aggregate if subject.reduces_sums() => ("weights", &weights),
        Role::Select => ("selection", &finite),
        _ => ("finite", &finite),
    };
    let gates: [Law<'_>; 2] = [sound, ("repeatable", &repeatable)];
    let mut further: Vec<Law<'_>> = Vec::new();
    if laws::has_data_plane(subject, role) {
        further.push(("sync", &sync));
    }
    if laws::has_cuts(subject, role) {
        further.push(("cuts", &cuts));
    }
    match role {
        Role::Mix | Role::Aggregate if laws::has_order(subject, role) => further.push(("order", &order)),
        Role::Normalize if subject.plugin.manifest().max_header > 0 => {
            further.extend([("undo", &undo as &dyn Fn() -> Held), ("damage", &headers)]);
        }
        Role::Compress => further.push(("damage", &damage)),
        _ => {}
    }
    if matches!(role, Role::Normalize | Role::Compress) && subject.plugin.manifest().norm != NormEffect::Raises {
        further.push(("norm", &norm));
    }
    let mut broken = None;
    for (place, (law, ask)) in gates.into_iter().enumerate() {
        let held = || match (place, role) {
            (0, Role::Aggregate | Role::Mix) => subject.rows.tell(ask()),
            _ => ask(),
        };
        match broken {
            None if !report.tell(law, held()) => broken = Some(law),
            None => {}
            Some(gate) => report.skip(law, gate),
        }
    }
    for (law, ask) in further {
        match broken {
            None => drop(report.tell(law, ask())),
            Some(gate) => report.skip(law, gate),
        }
    }
    if report.broken().is_empty() {
        measure(report, subject, role);
    }
}

/// The native library that is to be compared, looked at before any law is asked.
///
/// Errors: [`Kind::Config`] if there is no such file, [`Kind::Usage`] if it is a WASM file, [`Kind::PluginRefused`] if it is
/// no plugin.
fn library(path: &Path, spec: &config::Plugin) -> Result<(config::Plugin, Inspected)> {
    let label = path.display();
    // Unlike with plugins, a bare name can only be a file.
    if !path.exists() {
        let message = format!("`--native {label}`: the file does not exist; give the path of a native library");
        return Err(Fault::new(Kind::Config, message));
    }
    let parameters = spec.parameters.clone();
    let spec = config::Plugin { path: Some(path.into()), parameters, ..config::Plugin::default() };
    let inspected = plugin::inspect(&spec)?;
    match inspected.form {
        Form::Native => Ok((spec, inspected)),
        Form::Wasm => {
            let message = format!("`--native {label}`: it is a WASM file; give the native library of the same source");
            Err(Fault::new(Kind::Usage, message))
        }
    }
}

/// The law of two forms, for each role. `blake3`: of the library.
fn ask_forms(subject: &Subject, library: &config::Plugin, blake3: String) -> Held {
    let native = plugin::load(library, &[blake3])?;
    let roles = &subject.plugin.manifest().kinds;
    roles.iter().try_fold(String::new(), |_, &role| laws::forms(subject, &native, role))
}

/// How fast the data operation of a role is on one thread, in bytes of its updates; judges nothing.
fn measure(report: &mut Report, subject: &Subject, role: Role) {
    const LEN: usize = 65_536;
    let Ok(mut bench) = subject.bench(LEN) else { return };
    // Vectors that one answer reads: that of a rule over rows is all rows and then one, that of a server step two rounds.
    let rows = match role {
        Role::Normalize | Role::Post => 1,
        Role::Compress | Role::ServerStep => 2,
        Role::Aggregate if subject.plugin.manifest().reduce == [Reduce::Rows] => subject.rows.count + 1,
        // The honest updates and the own one, for two attackers, and the own one alone.
        Role::Attack if laws::has_data_plane(subject, role) => 2 * (subject.rows.count - 1) + 1,
        // Local and received weights, twice.
        Role::Client if bench.ends() => 4,
        _ => return,
    };
    let input = inputs::ordinary(LEN, subject.rows.count);
    let (start, mut rounds) = (Instant::now(), 0u32);
    while start.elapsed() < Duration::from_millis(100) {
        if bench.answer(role, &input, LEN).is_err() {
            return;
        }
        rounds += 1;
    }
    let rate = (4 * LEN * rows) as f64 * f64::from(rounds) / start.elapsed().as_secs_f64() / 1e9;
    let text = format!("{rate:.2} GB/s of updates on one thread, with the copies to and from the plugin");
    report.line("speed", Verdict::Measured, text);
}
