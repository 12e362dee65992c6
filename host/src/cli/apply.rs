//! `colla-host plugin apply`: aggregation of updates from a file.

use super::{
    arguments::{ApplyArguments, Format, OnBadUpdate},
    decimals, print,
};
use crate::{
    apply::{self, Applied, Options, Updates},
    config::{Config, MAX_THREADS},
    error::{Fault, Kind},
    plugin,
    record::{bytes, count},
};
use anyhow::Result;

pub(super) fn apply(arguments: &ApplyArguments) -> Result<()> {
    let options = options(arguments)?;
    let specs = arguments.plugins.iter().map(|argument| plugin::parse_spec(argument)).collect::<Result<_>>()?;
    refuse_to_overwrite(arguments)?;
    let updates = Updates::read(&arguments.updates)?;
    let plugins = apply::load(specs, &arguments.allow_native, updates.num_examples.len())?;
    let results = apply::apply(plugins, &updates, &options)?;
    apply::save(&arguments.out, &updates, &results)?;
    let line = |result: &Applied| match arguments.output.format {
        Format::Json => Ok(serde_json::to_string(result)? + "\n"),
        Format::Text => Ok(text(result)),
    };
    print(&results.iter().map(line).collect::<Result<String>>()?)
}

/// The updates may be somebody's only copy.
fn refuse_to_overwrite(arguments: &ApplyArguments) -> Result<()> {
    let [updates, out] = [&arguments.updates, &arguments.out].map(std::fs::canonicalize);
    match (updates, out) {
        (Ok(updates), Ok(out)) if updates == out => {
            let message = format!("`--out {}`: it is the file of the updates; name another", arguments.out.display());
            Err(Fault::new(Kind::Usage, message))
        }
        _ => Ok(()),
    }
}

fn options(arguments: &ApplyArguments) -> Result<Options> {
    let defaults = Config::default();
    let positive = |name: &str, value: Option<f64>| match value {
        Some(x) if !(x.is_finite() && x > 0.0) => {
            Err(Fault::new(Kind::Usage, format!("`{name} {x}`: must be a finite number above 0")))
        }
        value => Ok(value),
    };
    if arguments.threads > MAX_THREADS {
        let message = format!("`--threads {}`: must be at most {MAX_THREADS}", arguments.threads);
        return Err(Fault::new(Kind::Usage, message));
    }
    Ok(Options {
        update_bound: positive("--update-bound", arguments.update_bound)?,
        quarantine: arguments.on_bad_update == OnBadUpdate::Quarantine,
        learning_rate: positive("--learning-rate", arguments.learning_rate)?.unwrap_or(defaults.train.learning_rate),
        seed: arguments.seed.unwrap_or(defaults.seed),
        threads: arguments.threads,
    })
}

/// One line; numbers of clients that were left out are ids, counted from 0.
fn text(result: &Applied) -> String {
    let mut line = format!("round {}: {} clients", result.round, count(result.accepted as u64));
    if !result.left_out.is_empty() {
        let ids: Vec<String> = result.left_out.iter().map(usize::to_string).collect();
        line += &format!(" (left out: {})", ids.join(", "));
    }
    if let Some(attackers) = result.attackers {
        line += &format!(", {attackers} hostile");
    }
    line += &format!(", {} up, aggregate of norm {}", bytes(result.upload_bytes), decimals(result.aggregate_norm));
    for (name, value) in &result.metrics {
        line += &format!(", {name} {value}");
    }
    line + "\n"
}
