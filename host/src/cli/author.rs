//! `colla-host plugin new`, `plugin build` and `plugin check`: a plugin of one's own.

use super::{
    arguments::{BuildArguments, CheckArguments, Format, NewArguments},
    plugin::say_if_shipped,
    print,
};
use crate::{
    check::{self, Report, Verdict},
    error::{Fault, Kind},
    plugin::{
        self,
        project::{self, Built},
    },
    record::{bytes, count},
};
use anyhow::Result;
use std::env;

pub(super) fn new(arguments: &NewArguments) -> Result<()> {
    let folder = arguments.dir.clone().unwrap_or_else(|| arguments.name.clone().into());
    project::create(&arguments.name, &arguments.kind, arguments.lang, &folder)?;
    let (name, folder, source) = (&arguments.name, folder.display(), arguments.lang.source());
    print(&format!(
        "wrote {folder}: the method is {source}, its name and parameters are manifest.json\n\
         next  colla-host plugin build {folder}\n\
         then  colla-host plugin check {folder}/{name}.wasm\n\
         and   colla-host --plugin {folder}/{name}.wasm\n"
    ))
}

pub(super) fn build(arguments: &BuildArguments) -> Result<()> {
    // The author's own variable, as cargo would take it; the build itself takes none.
    let target = env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    // Cargo runs in the project's folder, the variable is meant from here.
    let target = target.map(|folder| env::current_dir().map(|here| here.join(folder))).transpose()?;
    print(&told(&project::build_project(&arguments.dir, target.as_deref())?))
}

fn told(built: &Built) -> String {
    let file = built.file.display();
    let size = format!("{} ({} bytes)", bytes(built.bytes as u64), count(built.bytes as u64));
    let line = |name: &str, value: &str| format!("{name:<8}{value}\n");
    line("built", &file.to_string())
        + &line("size", &size)
        + &line("blake3", &built.blake3)
        + &line("check", &format!("colla-host plugin check {file}"))
        + &line("run", &format!("colla-host --plugin {file}"))
}

pub(super) fn check(arguments: &CheckArguments) -> Result<()> {
    let spec = plugin::parse_spec(&arguments.plugin)?;
    let report = check::check(&spec, arguments.native.as_deref())?;
    if let Ok(inspected) = plugin::inspect(&spec) {
        say_if_shipped(&inspected, &arguments.plugin);
    }
    print(&match arguments.output.format {
        Format::Json => format!("{:#}\n", serde_json::to_value(&report)?),
        Format::Text => verdicts(&report),
    })?;
    match report.broken()[..] {
        [] => Ok(()),
        ref broken => {
            let message = format!("plugin `{}` breaks {}", report.plugin, broken.join(", "));
            // As a run would end: what is no plugin is refused, what is one and breaks a law has failed.
            let kind = if report.is_plugin { Kind::PluginFailed } else { Kind::PluginRefused };
            Err(Fault::new(kind, format!("{message}; the lines marked FAIL say how")))
        }
    }
}

/// A line for each law, then the verdict.
fn verdicts(report: &Report) -> String {
    let mut text = String::new();
    let mut roles: Vec<_> = report.lines.iter().filter_map(|line| line.role).collect();
    roles.dedup();
    let several = roles.len() > 1;
    for line in &report.lines {
        let verdict = match line.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skipped | Verdict::Measured => "-",
        };
        let role = line.role.filter(|_| several).map_or(String::new(), |role| format!("{}: ", role.name()));
        text += &format!("{verdict:<6}{:<12}{role}{}\n", line.law, line.text);
    }
    let kept = report.lines.iter().filter(|line| line.verdict == Verdict::Pass).count();
    match report.broken().len() {
        0 => text + &format!("{} keeps all {kept} laws\n", report.plugin),
        broken => text + &format!("{} breaks {broken} of {} laws\n", report.plugin, kept + broken),
    }
}
