//! `colla-host run`: one experiment, its run directory, its results.

use super::{
    arguments::{Format, RunArguments},
    guard, print,
};
use crate::{
    plugin,
    record::{self, JsonLines, Observer, Progress, RunDirectory, Tee},
    run::Experiment,
};
use anyhow::{Context, Result};
use std::io::{IsTerminal, stdout};

pub(super) fn run(arguments: &RunArguments) -> Result<()> {
    let config = arguments.experiment.load()?;
    if arguments.print_config {
        return print(&config.to_toml()?);
    }
    let mut directory = RunDirectory::create(&config)?;
    let folder = directory.path().to_path_buf();
    let outcome = guard::catching_panics(|| {
        let (mut progress, mut metrics) = (Progress::on_stderr(), JsonLines(stdout()));
        // What plugins say must neither break a quiet run's silence nor cut through the bar.
        let _redirected = match shows_progress(arguments) {
            false if arguments.quiet => Some(plugin::redirect(directory.plugins_log())),
            false => None,
            true => progress.above().map(plugin::redirect),
        };
        let mut observers: Vec<&mut dyn Observer> = vec![&mut directory];
        if arguments.output.format == Format::Json {
            observers.push(&mut metrics);
        }
        if shows_progress(arguments) {
            observers.push(&mut progress);
        }
        let mut experiment = Experiment::from_config(config)?;
        // Where results go is room for more; the system's folder may be a part of memory.
        experiment.scratch = folder;
        experiment.run(&mut Tee(observers))
    });
    let outcome = outcome.map_err(|error| written_down(&mut directory, error));
    // A run that a spent budget ended has results as well.
    let has_results = outcome.is_ok() || directory.summary().is_some();
    if has_results && arguments.output.format == Format::Text && !arguments.quiet {
        let summary = directory.summary().context("the run ended without a summary")?;
        print(&(record::results_table(summary, directory.path()) + "\n"))?;
    }
    outcome
}

/// Progress is for people: not when they asked for quiet, and not between JSON lines on the same screen.
fn shows_progress(arguments: &RunArguments) -> bool {
    !arguments.quiet && (arguments.output.format == Format::Text || !stdout().is_terminal())
}

/// The error, after the run directory was told of it. If that fails too, the first error stays the first.
fn written_down(directory: &mut RunDirectory, error: anyhow::Error) -> anyhow::Error {
    match directory.fail(&error) {
        Ok(_) => error,
        Err(second) => error.context(format!("this could not be written to the run directory ({second:#})")),
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::*;
    use crate::cli::arguments::{Arguments, Command};
    use clap::Parser;

    #[test]
    fn a_device_trains_from_the_command_line_to_the_summary() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let line =
            format!("colla-host --device gpu:0 --rounds 5 --seed 3 --plugin fedprox --quiet --out {}", out.display());
        let Command::Run(arguments) = Arguments::try_parse_from(line.split_whitespace()).unwrap().into_command() else {
            panic!("without a subcommand the experiment is run");
        };
        match run(&arguments) {
            Err(error) if error.to_string().contains("no GPU was found") => {
                assert!(std::env::var_os("COLLA_REQUIRE_GPU").is_none(), "COLLA_REQUIRE_GPU is set, but {error}");
                return eprintln!("no test on a GPU: {error}");
            }
            done => done.unwrap(),
        }
        let read = |name| std::fs::read_to_string(out.join(name)).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
        assert!(summary["kernel"].as_str().unwrap().starts_with("stacks, "), "{summary}");
        assert!(summary["final"]["test_accuracy"].as_f64().unwrap() > 0.3, "{summary}");
        assert_eq!(read("metrics.jsonl").lines().count(), 6);
    }
}
