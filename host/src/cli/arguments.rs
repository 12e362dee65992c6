//! Every command and flag, declared once: the parser, the help and the completions read this file.

use crate::{
    config::Config,
    error::{Fault, Kind, did_you_mean},
    plugin::{self, project::Language},
};
use anyhow::Result;
use clap::{
    ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

#[derive(Parser)]
#[command(
    name = "colla-host",
    version,
    about = "Federated-learning simulator whose every method is a sandboxed plugin",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

const EXAMPLES: &str = "\
Without a subcommand the experiment is run; without a file it is the default experiment.

Examples:
  colla-host                                     FedAvg on optdigits, 100 clients, 50 rounds
  colla-host --plugin fedprox:mu=0.1             the same with FedProx
  colla-host experiment.toml --out runs/first    an experiment from a file, results in runs/first
  colla-host --set partition.alpha=0.5 --set train.local-epochs=1 --rounds 20
  colla-host --plugin clip --plugin topk:ratio=0.01 --plugin ./krum.wasm:f=2
  colla-host partition experiment.toml           who would have which rows
  colla-host compare runs/* --out plot.svg       several runs in one table and one plot
  colla-host plugin inspect fedprox.wasm         what a plugin says of itself
  colla-host plugin new my-rule --kind aggregate-rows    a plugin of your own
  colla-host privacy --target-epsilon 4 --sampling-rate 0.01 --rounds 500 --delta 1e-6    how much noise that takes
  colla-host --print-config > experiment.toml    all settings with their values";

const PRIVACY: &str = "\
It is the privacy of clients: Gaussian noise on the sum of a drawn cohort's clipped updates, round after round, as \
the plugins `clip` and `dp-gaussian` do it. A run simulates it: its noise comes from a seed that anyone can read.";

const COMPARE: &str = "\
Runs that differ in nothing but their seeds (`seed`, `partition.seed`, `data.seed`) form one series: its line is the \
mean over the runs. A series is called by what sets its configuration apart; NAME=RUN gives it a name, and one named \
run names its series. Runs are compared on the rounds that all of them have. What keeps series from having the same \
cohorts is told below the table.

Examples:
  colla-host compare runs/*                                    one series for each configuration
  colla-host compare FedAvg=runs/0001 SCAFFOLD=runs/0002 --target 0.9 --out plot.svg
  colla-host compare runs/* --metric client_accuracy.p10 --band sd --format csv";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run an experiment (the default)
    Run(RunArguments),
    /// Show which client has how many rows of which class
    Partition(PartitionArguments),
    /// Compare finished runs: a table, and with --out one plot
    #[command(after_help = COMPARE)]
    Compare(CompareArguments),
    /// Look at plugins, or write one of your own
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Tell which epsilon so much noise gives, or how much noise an epsilon takes
    #[command(after_help = PRIVACY)]
    Privacy(PrivacyArguments),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Show the manifest of a plugin file or a shipped plugin: roles, parameters, paper, hashes
    Inspect(InspectArguments),
    /// List the shipped plugins
    List(ListArguments),
    /// Write a new plugin project: a small working method of one role, with a test
    New(NewArguments),
    /// Build the plugin project in a folder to NAME.wasm beside its manifest
    Build(BuildArguments),
    /// Run a plugin through the laws of its roles, one line each; exit code 6 if one is broken
    Check(CheckArguments),
    /// Aggregate updates from a file with plugins, without training
    Apply(ApplyArguments),
}

#[derive(Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub experiment: ExperimentArguments,
    #[command(flatten)]
    pub output: FormatArgument,
    /// Show nothing but errors (and the metrics with --format json); what plugins say stands in plugins.log of the run
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the resolved configuration as TOML and end
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Args)]
pub(super) struct PartitionArguments {
    #[command(flatten)]
    pub experiment: ExperimentArguments,
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Args)]
pub(super) struct CompareArguments {
    /// Run directories; with a name, the series that the run is put into
    #[arg(value_name = "[NAME=]RUN", required = true)]
    pub runs: Vec<String>,
    /// What is compared: a key of metrics.jsonl, such as `train_loss` or `client_accuracy.mean`; `accuracy` and `loss`
    /// are the test set's
    #[arg(long, value_name = "NAME", default_value = "accuracy")]
    pub metric: String,
    /// Average the end of a run over so many measured rounds
    #[arg(long, value_name = "N", default_value = "10")]
    pub last: NonZeroUsize,
    /// Tell the first round at this value or beyond it, such as 0.9
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub target: Option<f64>,
    /// Plot the series over the rounds; HTML has the table as well
    #[arg(long, value_name = "FILE.svg|FILE.html")]
    pub out: Option<PathBuf>,
    /// Plot from this round on, so that the end fills the height; changes no number
    #[arg(long, value_name = "ROUND", default_value_t = 0, requires = "out")]
    pub from: u64,
    /// What the area around a line shows
    #[arg(long, value_enum, default_value_t = BandName::Range)]
    pub band: BandName,
    /// Take unfinished runs as well, as far as they came
    #[arg(long)]
    pub unfinished: bool,
    /// What standard output is for
    #[arg(long, value_enum, default_value_t = CompareFormat::Table)]
    pub format: CompareFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BandName {
    /// From the smallest to the largest run
    Range,
    /// One standard deviation (n - 1) over the runs to each side
    Sd,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompareFormat {
    /// For people: a row for each series
    Table,
    /// Every number: each run's, and each series' curve
    Json,
    /// The table with numbers in full
    Csv,
}

#[derive(Args)]
pub(super) struct InspectArguments {
    /// A plugin file, or the name of a shipped plugin
    #[arg(value_name = "FILE")]
    pub plugin: String,
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Args)]
pub(super) struct NewArguments {
    /// What the plugin is called: lower-case letters, digits, `-` and `_`
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it does
    #[arg(long, value_parser = PossibleValuesParser::new(plugin::project::kinds()))]
    pub kind: String,
    /// What it is written in
    #[arg(long, value_parser = language(), default_value = Language::Rust.name())]
    pub lang: Language,
    /// The project's folder, new or empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

fn language() -> impl TypedValueParser<Value = Language> {
    let named = |name: String| Language::ALL.into_iter().find(|language| language.name() == name);
    PossibleValuesParser::new(Language::ALL.map(Language::name)).try_map(move |name| named(name).ok_or("no language"))
}

#[derive(Args)]
pub(super) struct BuildArguments {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

#[derive(Args)]
pub(super) struct CheckArguments {
    /// A WASM plugin file or the name of a shipped plugin, with parameters if not the defaults are to be checked
    #[arg(value_name = "FILE[:k=v,…]")]
    pub plugin: String,
    /// The native library of the same source, to compare bit for bit; it is loaded with all rights of this process
    #[arg(long, value_name = "FILE")]
    pub native: Option<PathBuf>,
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Args)]
pub(super) struct ApplyArguments {
    /// Plugins as with `run --plugin`, in their order; FedAvg aggregates if none of them does
    #[arg(value_name = "PLUGIN[:k=v,…]")]
    pub plugins: Vec<String>,
    /// A safetensors file with `num_examples` and the clients' weights, `client/<i>/<name>` beside `global/<name>`, or
    /// their updates, `delta/<round>/<i>/<name>`
    #[arg(long, value_name = "FILE")]
    pub updates: PathBuf,
    /// Where the new weights go: a safetensors file with a tensor for each `<name>`, or `<round>/<name>` from round 1 on
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What becomes of a client whose update is not finite or beyond the bound
    #[arg(long, value_enum, default_value_t = OnBadUpdate::Refuse)]
    pub on_bad_update: OnBadUpdate,
    /// Largest magnitude of an element of an update [default: none]
    #[arg(long, value_name = "X")]
    pub update_bound: Option<f64>,
    /// Learning rate of the clients, for rules that read it [default: the default experiment's]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Seed of the plugins' draws
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Threads; 0 means one per core. Never changes a result
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Allow the native plugin file with this hash to be loaded, with all rights of this process; repeatable
    #[arg(long, value_name = "BLAKE3")]
    pub allow_native: Vec<String>,
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Args)]
#[command(group(ArgGroup::new("question").required(true).args(["noise_multiplier", "target_epsilon"])))]
pub(super) struct PrivacyArguments {
    /// Standard deviation of the noise over the sensitivity, as `dp-gaussian` takes it; 0 gives an infinite epsilon
    #[arg(long, value_name = "Z", allow_negative_numbers = true)]
    pub noise_multiplier: Option<f64>,
    /// The smallest noise multiplier with at most this epsilon is asked for, to within 0.01 %
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub target_epsilon: Option<f64>,
    /// Share of the clients in a round's cohort, in (0, 1]
    #[arg(long, value_name = "Q", allow_negative_numbers = true)]
    pub sampling_rate: f64,
    /// Rounds in which a client could be drawn
    #[arg(long, value_name = "T")]
    pub rounds: u64,
    /// Probability with which the bound on epsilon may fail, in (0, 1): well below 1 / clients
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    pub delta: f64,
    /// How rounds are added up
    #[arg(long, value_enum, default_value_t = AccountantName::Rdp)]
    pub accountant: AccountantName,
    /// How cohorts are drawn, hence which data sets count as neighbours
    #[arg(long, value_enum, default_value_t = CohortName::Poisson)]
    pub sampling: CohortName,
    /// Number of clients, of which a fixed cohort is the share
    #[arg(long, value_name = "N")]
    pub population: Option<usize>,
    #[command(flatten)]
    pub output: FormatArgument,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AccountantName {
    /// Rényi differential privacy: fast, loose where there is little noise
    Rdp,
    /// Privacy loss distribution: tight, for Poisson cohorts
    Pld,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CohortName {
    /// Each client by itself; neighbours have one client more or less
    Poisson,
    /// The same number in every round; neighbours have one client replaced
    Fixed,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnBadUpdate {
    /// End with exit code 7
    Refuse,
    /// Leave the client out and say so
    Quarantine,
}

#[derive(Args)]
pub(super) struct FormatArgument {
    /// What standard output is for: people, or programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// What makes an experiment: a file and the flags that override it. Later `--set` win over earlier ones and over the
/// other flags.
#[derive(Args)]
pub(super) struct ExperimentArguments {
    /// The experiment as TOML [default: the default experiment]
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// A plugin: a file or the name of a shipped one, then parameters; repeatable, order counts [default: FedAvg]
    #[arg(long = "plugin", value_name = "FILE[:k=v,…]")]
    plugins: Vec<String>,
    /// Override any setting, such as train.learning-rate=0.05; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Data: a CSV file or a folder of IDX files, or the name of an embedded data set
    #[arg(long, value_name = "PATH|NAME")]
    data: Option<String>,
    /// Where to train: `cpu`, or `gpu`, `cuda` with an index if need be, in a build with the cargo feature of that name
    #[arg(long, value_name = "cpu|gpu[:N]|cuda[:N]")]
    device: Option<String>,
    /// Agents, one per thread; 0 means one per core. Never changes a result
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Run seed: cohorts, initial weights, batch order. The partition has its own: --set partition.seed=N
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Rounds to train
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rounds: Option<usize>,
    /// Run directory, new or empty [default: the next of runs/0001, runs/0002, …]
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Allow the native plugin file with this hash to be loaded, with all rights of this process; repeatable
    #[arg(long, value_name = "BLAKE3")]
    allow_native: Vec<String>,
}

impl Arguments {
    /// The command; without one it is `run`.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

impl Command {
    /// The form in which errors are told.
    pub fn format(&self) -> Format {
        match self {
            Command::Run(arguments) => arguments.output.format,
            Command::Partition(arguments) => arguments.output.format,
            Command::Compare(CompareArguments { format: CompareFormat::Json, .. }) => Format::Json,
            Command::Compare(_) => Format::Text,
            Command::Plugin { command: PluginCommand::Inspect(arguments) } => arguments.output.format,
            Command::Plugin { command: PluginCommand::List(arguments) } => arguments.output.format,
            Command::Plugin { command: PluginCommand::Check(arguments) } => arguments.output.format,
            Command::Plugin { command: PluginCommand::Apply(arguments) } => arguments.output.format,
            Command::Plugin { command: PluginCommand::New(_) | PluginCommand::Build(_) } => Format::Text,
            Command::Privacy(arguments) => arguments.output.format,
            Command::Completions { .. } => Format::Text,
        }
    }
}

impl ExperimentArguments {
    /// The configuration of file and flags, checked.
    ///
    /// Errors: `Kind::Usage` for a plugin that cannot be read or a file that was meant as a subcommand, else as
    /// [`Config::load`].
    pub fn load(&self) -> Result<Config> {
        if let Some(path) = &self.config {
            misspelt_subcommand(path)?;
        }
        let mut config = Config::load(self.config.as_deref(), &self.overrides())?;
        for argument in &self.plugins {
            config.plugins.push(plugin::parse_spec(argument)?);
        }
        config.host.allow_native.extend(self.allow_native.iter().cloned());
        config.check()?;
        Ok(config)
    }

    fn overrides(&self) -> Vec<(String, String)> {
        // Text must stay text, even where it looks like a number.
        let text = |value: &String| toml::Value::String(value.clone()).to_string();
        let flags = [
            (
                if self.data.as_deref().is_some_and(is_path) { "data.path" } else { "data.name" },
                self.data.as_ref().map(text),
            ),
            ("host.device", self.device.as_ref().map(text)),
            ("host.threads", self.threads.map(|n| n.to_string())),
            ("seed", self.seed.map(|n| n.to_string())),
            ("federation.num-server-rounds", self.rounds.map(|n| n.to_string())),
            ("host.out", self.out.as_ref().map(text)),
        ];
        let given = flags.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
        given.chain(self.set.iter().cloned()).collect()
    }
}

/// A word without points and slashes is the name of an embedded data set, unless such a file or folder is there.
fn is_path(data: &str) -> bool {
    data.contains(['/', '\\', '.']) || Path::new(data).exists()
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.into())),
        _ => Err("write KEY=VALUE, such as train.learning-rate=0.05".into()),
    }
}

/// `colla-host partiton` names no file but a subcommand, not quite.
fn misspelt_subcommand(path: &Path) -> Result<()> {
    let word = path.to_string_lossy();
    if path.exists() || word.contains(['/', '\\', '.']) {
        return Ok(());
    }
    let command = Arguments::command();
    let near = did_you_mean(&word, command.get_subcommands().map(|subcommand| subcommand.get_name()));
    let near = near.replacen("did you mean", "did you mean the subcommand", 1);
    Err(Fault::new(Kind::Usage, format!("`{word}` is neither a file nor a subcommand{near}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("colla-host").chain(line.split_whitespace()))
    }

    fn config(line: &str) -> Result<Config> {
        match parse(line).unwrap_or_else(|error| panic!("{error}")).into_command() {
            Command::Run(arguments) => arguments.experiment.load(),
            Command::Partition(arguments) => arguments.experiment.load(),
            _ => panic!("{line} has no configuration"),
        }
    }

    #[test]
    fn the_declarations_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_arguments_mean_the_default_experiment() {
        assert_eq!(config("").unwrap(), Config::load(None, &[]).unwrap());
        assert_eq!(config("run").unwrap(), config("").unwrap());
    }

    #[test]
    fn flags_are_overrides_and_set_wins() {
        let line =
            "--seed 7 --rounds 3 --threads 2 --out runs/x --data heart-disease --set seed=8 --set model.hidden=[8,8]";
        let config = config(line).unwrap();
        assert_eq!((config.seed, config.federation.num_server_rounds, config.host.threads), (8, 3, 2));
        assert_eq!(config.host.out, Some("runs/x".into()));
        assert_eq!(config.data.name.as_deref(), Some("heart-disease"));
        assert_eq!(config.model.hidden, Some(vec![8, 8]));
    }

    #[test]
    fn text_flags_stay_text() {
        assert_eq!(config("--out 2024").unwrap().host.out, Some("2024".into()));
        assert_eq!(config("--data 1.5").unwrap().data.path, Some("1.5".into()));
    }

    #[test]
    fn plugins_are_appended_in_order() {
        let config = config("run --plugin fedprox.wasm:mu=0.1 --plugin topk").unwrap();
        assert_eq!(config.plugins[0].path, Some("fedprox.wasm".into()));
        assert_eq!(config.plugins[0].parameters["mu"].as_float(), Some(0.1));
        assert_eq!(config.plugins[1].name.as_deref(), Some("topk"));
    }

    #[test]
    fn mistakes_on_the_line_are_usage_errors() {
        let error = config("partiton").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`partiton` is neither a file nor a subcommand; did you mean the subcommand `partition`?"
        );
        assert_eq!(exit_code(&error), 2);
        let told = |line: &str| parse(line).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told("--sed 3").contains("--seed"), "{}", told("--sed 3"));
        assert!(told("--set seed").contains("write KEY=VALUE"));
        assert!(told("--rounds many").contains("invalid value 'many'"));
        assert!(told("--rounds -3").contains("invalid value '-3'"), "{}", told("--rounds -3"));
        assert!(told("--seed 18446744073709551615").contains("0..=9223372036854775807"));
    }

    #[test]
    fn a_flag_out_of_range_is_a_configuration_error() {
        let error = config("--device tpu").unwrap_err();
        assert!(error.to_string().contains("unknown device"), "{error}");
        assert_eq!(exit_code(&error), 3);
        assert_eq!(exit_code(&config("missing.toml").unwrap_err()), 3);
    }
}
