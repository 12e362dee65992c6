//! The command line: flags become overrides of the one configuration, errors become one line and an exit code.
//!
//! Where in the flow: above everything; `run` alone does work of the flow, through [`crate::run::Experiment`].
//! What it never does: hold a default of the experiment, or print results anywhere but on standard output.

mod apply;
mod arguments;
mod author;
mod compare;
mod guard;
mod partition;
mod plugin;
mod privacy;
mod run;

use crate::{
    error::{Fault, Kind},
    record::Failure,
};
use anyhow::Result;
use arguments::{Arguments, Command, Format, PluginCommand};
use clap::{CommandFactory, Parser};
use std::{
    ffi::OsString,
    io::{Write, stderr, stdout},
    process::ExitCode,
};

/// Runs the command of the process's arguments.
///
/// Exit codes: 0 done, 2 usage, 3 configuration, 4 data, 5 plugin refused, 6 plugin failed, 7 diverged, 8 input or
/// output, 9 the privacy budget is spent, 101 a bug of ours.
pub fn main() -> ExitCode {
    guard::note_panics();
    run_command(std::env::args_os())
}

fn run_command(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let given: Vec<OsString> = arguments.collect();
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(told) if told.exit_code() != 0 && asks_for_json(&given) => return fail(&usage(&told), Format::Json),
        // Help and version come this way too; they go to standard output and end with 0.
        Err(told) => {
            let code = u8::try_from(told.exit_code()).unwrap_or(Kind::Usage.exit_code());
            let _ = told.print();
            return ExitCode::from(code);
        }
    };
    let command = arguments.into_command();
    let format = command.format();
    match guard::catching_panics(|| execute(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, format),
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Partition(arguments) => partition::show(&arguments),
        Command::Plugin { command: PluginCommand::Inspect(arguments) } => plugin::inspect(&arguments),
        Command::Plugin { command: PluginCommand::List(arguments) } => plugin::list(&arguments),
        Command::Plugin { command: PluginCommand::New(arguments) } => author::new(&arguments),
        Command::Plugin { command: PluginCommand::Build(arguments) } => author::build(&arguments),
        Command::Plugin { command: PluginCommand::Check(arguments) } => author::check(&arguments),
        Command::Plugin { command: PluginCommand::Apply(arguments) } => apply::apply(&arguments),
        Command::Privacy(arguments) => privacy::answer(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "colla-host", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Whether a line that cannot be understood asks for JSON all the same.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let flags: Vec<&OsString> = arguments.iter().take_while(|argument| *argument != "--").collect();
    flags.iter().any(|flag| *flag == "--format=json")
        || flags.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json")
}

/// The parser's error without its colours, usage and pointer to `--help`, which are for people.
fn usage(told: &clap::Error) -> anyhow::Error {
    let text = told.render().to_string();
    let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let told = told.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let told = told.replace(":; ", ": ");
    Fault::new(Kind::Usage, told.strip_prefix("error: ").unwrap_or(&told))
}

/// Tells of an error on standard error: one line, or one JSON object.
fn fail(error: &anyhow::Error, format: Format) -> ExitCode {
    let failure = Failure::of(error);
    let line = match format {
        Format::Text => format!("error: {}", one_line(&failure.error)),
        Format::Json => serde_json::to_string(&failure).unwrap_or_else(|_| failure.error.clone()),
    };
    // If standard error is closed too, the exit code is all that is left.
    let _ = writeln!(stderr(), "{line}");
    ExitCode::from(failure.exit_code)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Six decimals, or six behind the first digit where decimals would show no digits, or too many.
fn decimals(value: f64) -> String {
    let plain = value == 0.0 || (1e-4..=1e6).contains(&value);
    if plain { format!("{value:.6}") } else { format!("{value:.6e}") }
}

/// Writes to standard output. Errors: `Kind::Io` if it is closed or full.
fn print(text: &str) -> Result<()> {
    let written = stdout().lock().write_all(text.as_bytes()).and_then(|()| stdout().flush());
    written.map_err(|error| Fault::new(Kind::Io, format!("writing to standard output: {error}")))
}
