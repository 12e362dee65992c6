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
    use serde_json::Value;

    /// The summary of a run and its rounds.
    fn experiment(settings: &str) -> Result<(Value, Vec<Value>)> {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("run");
        let line =
            format!("colla-host --rounds 1 --seed 3 --plugin fedprox --quiet --out {} {settings}", out.display());
        let Command::Run(arguments) = Arguments::try_parse_from(line.split_whitespace())?.into_command() else {
            panic!("without a subcommand the experiment is run");
        };
        run(&arguments)?;
        let read = |name| std::fs::read_to_string(out.join(name));
        let rounds = read("metrics.jsonl")?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok((serde_json::from_str(&read("summary.json")?)?, rounds))
    }

    /// The same on the first adapter there is; `None` where there is none and none must be.
    fn on_a_device(settings: &str) -> Option<Result<(Value, Vec<Value>)>> {
        match experiment(&format!("--device gpu:0 {settings}")) {
            Err(error) if error.to_string().contains("no GPU was found") => {
                assert!(std::env::var_os("COLLA_REQUIRE_GPU").is_none(), "COLLA_REQUIRE_GPU is set, but {error}");
                eprintln!("no test on a GPU: {error}");
                None
            }
            done => Some(done),
        }
    }

    #[test]
    fn a_round_on_a_device_goes_the_way_of_one_on_the_processor_in_stacks_of_any_size() {
        // One round, since further ones multiply differences of rounding: on an H200 the CNN's loss was 3e-3 off
        // after two.
        // 64 MiB hold two clients of the CNN, 2048 hold the whole cohort of the others.
        for (model, memory) in [("logistic", 2048), ("mlp", 2048), ("cnn", 64)] {
            let settings = format!(
                "--set model.name=\"{model}\" --set train.momentum=0.5 --set train.weight-decay=0.001 \
                 --set host.device-memory={memory}"
            );
            let Some(done) = on_a_device(&settings) else { return };
            let (summary, there) = done.unwrap();
            assert!(summary["kernel"].as_str().unwrap().starts_with("stacks, "), "{summary}");
            let (_, here) = experiment(&format!("--device cpu {settings}")).unwrap();
            assert_eq!((there.len(), here.len()), (2, 2));
            for (there, here) in there.iter().zip(&here) {
                let far = |key: &str| (there[key].as_f64().unwrap() - here[key].as_f64().unwrap()).abs();
                let what = format!("{model} in {memory} MiB: {there} there, {here} here");
                assert!(far("test_loss") < 1e-4 && far("test_accuracy") < 2e-3, "{what}");
                assert!(here["train_loss"].is_null() || far("train_loss") < 1e-4, "{what}");
            }
            assert_ne!(there[0]["test_loss"], there[1]["test_loss"], "{model} learns");
        }
    }

    #[test]
    fn a_model_that_does_not_fit_a_device_is_refused_before_the_first_round() {
        let settings = "--set model.name=\"mlp\" --set model.hidden=[2000,2000] --set host.device-memory=64";
        let Some(done) = on_a_device(settings) else { return };
        let error = done.expect_err("4,152,010 weights do not fit 64 MiB six times").to_string();
        assert!(error.contains("`host.device-memory = 64`") && error.contains("use at least"), "{error}");
    }
}
