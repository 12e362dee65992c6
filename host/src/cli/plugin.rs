//! `colla-host plugin inspect` and `plugin list`: what plugins say of themselves. Nothing of a plugin is run.

use super::{
    arguments::{Format, InspectArguments, ListArguments},
    print,
};
use crate::{
    config,
    error::{Fault, Kind},
    plugin::{self, Inspected, Limits, Manifest, Noise, Origin, Parameter, StateInit, StateScope},
    record::{bytes, count},
};
use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};
use std::io::{Write, stderr};

/// Of tables; longer texts are wrapped.
const WIDTH: u16 = 110;

pub(super) fn inspect(arguments: &InspectArguments) -> Result<()> {
    let spec = plugin::parse_spec(&arguments.plugin)?;
    if let Some(parameter) = spec.parameters.keys().next() {
        let message =
            format!("`{}`: nothing is run, so `{parameter}` sets nothing; leave parameters out", arguments.plugin);
        return Err(Fault::new(Kind::Usage, message));
    }
    let inspected = plugin::inspect(&spec)?;
    say_if_shipped(&inspected, &arguments.plugin);
    print(&match arguments.output.format {
        Format::Json => format!("{:#}\n", to_json(&inspected)?),
        Format::Text => to_text(&inspected),
    })
}

/// Whoever asked for a file must not take the answer for that file's.
pub(super) fn say_if_shipped(inspected: &Inspected, asked: &str) {
    if inspected.origin == (Origin::Shipped { asked_for_file: true }) {
        let name = &inspected.manifest.name;
        let _ = writeln!(stderr(), "note: there is no file `{asked}`; this is the shipped plugin `{name}`");
    }
}

pub(super) fn list(arguments: &ListArguments) -> Result<()> {
    let shipped = |name: &str| plugin::inspect(&config::Plugin { name: Some(name.into()), ..Default::default() });
    let plugins = plugin::shipped_names().map(shipped).collect::<Result<Vec<_>>>()?;
    print(&match arguments.output.format {
        Format::Json => format!("{:#}\n", Value::Array(plugins.iter().map(to_json).collect::<Result<_>>()?)),
        Format::Text => listing(&plugins),
    })
}

fn to_json(inspected: &Inspected) -> Result<Value> {
    Ok(json!({
        "manifest": serde_json::to_value(&inspected.manifest)?,
        "form": inspected.form,
        "bytes": inspected.bytes,
        "blake3": inspected.blake3,
        "sha256": inspected.sha256,
        "imports": inspected.imports,
        "limits": inspected.limits,
        "shipped": matches!(inspected.origin, Origin::Shipped { .. }),
    }))
}

fn to_text(inspected: &Inspected) -> String {
    let manifest = &inspected.manifest;
    let mut text = format!("{} {}: {}\n", manifest.name, manifest.version, manifest.summary);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text += &format!("{name:<14}{value}\n");
        }
    };
    line("roles", words(&manifest.kinds).join(", "));
    line("abi", manifest.abi.clone());
    line("paper", manifest.paper.clone());
    line("authors", manifest.authors.join(", "));
    line("license", manifest.license.clone());
    line("homepage", manifest.homepage.clone());
    line("reduces over", words(&manifest.reduce).join(", then "));
    line("state", state(manifest));
    line("needs", words(&manifest.needs).join(", "));
    line("requires", words(&manifest.requires).join(", "));
    line("noise", manifest.privacy.as_ref().map_or(String::new(), noise));
    line("random draws", if manifest.rng { "yes, from the run's seed".into() } else { "none".into() });
    line("form", inspected.form.to_string());
    line("size", format!("{} ({} bytes)", bytes(inspected.bytes as u64), count(inspected.bytes as u64)));
    line("blake3", inspected.blake3.clone());
    line("sha256", inspected.sha256.clone());
    line("imports", imports(inspected));
    let parameters =
        if manifest.parameters.is_empty() { "no parameters\n".into() } else { parameters(manifest) + "\n" };
    text + &parameters + &limits(&inspected.limits) + "\n"
}

/// What the ledger of a run goes by.
fn noise(noise: &Noise) -> String {
    format!("{}, as much as `{}` says; accounted for in a run", noise.mechanism.name(), noise.noise)
}

/// A file that cannot be loaded may have thousands.
const SHOWN_IMPORTS: usize = 8;

fn imports(inspected: &Inspected) -> String {
    let Some(imports) = &inspected.imports else {
        return "not told by a library; it can reach all that you can".into();
    };
    match imports.len() {
        0 => "none".into(),
        few if few <= SHOWN_IMPORTS => imports.join(", "),
        many => format!("{} and {} more", imports[..SHOWN_IMPORTS].join(", "), many - SHOWN_IMPORTS),
    }
}

/// What the loader holds the file to.
fn limits(limits: &Limits) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["limit", "value", "grows with the model"]);
    table.add_row(["file", &power_of_two(limits.file_bytes), ""]);
    let Some(sandbox) = &limits.sandbox else {
        table.add_row(["memory, fuel, stack, time", "none", "native code runs with all rights of the host"]);
        return table.to_string();
    };
    let grown = format!(
        "{} bytes a value + {} where that is more; with what the host puts there at most {}",
        sandbox.memory_bytes_per_element,
        power_of_two(sandbox.memory_bytes_added),
        power_of_two(sandbox.memory_bytes_in_all)
    );
    table.add_row(["memory", &power_of_two(sandbox.memory_bytes), &grown]);
    let grown = format!("and {} for each value", count(sandbox.fuel_per_element));
    table.add_row(["fuel of a call", &format!("{} units", count(sandbox.fuel_per_call)), &grown]);
    table.add_row(["stack", &power_of_two(sandbox.stack_bytes), ""]);
    table.add_row(["time of a call", &format!("{} s", sandbox.seconds_per_call), ""]);
    table.to_string()
}

/// Limits are powers of two, told exactly.
fn power_of_two(bytes: usize) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{} GiB", bytes >> 30),
        20.. => format!("{} MiB", bytes >> 20),
        10.. => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

fn parameters(manifest: &Manifest) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["parameter", "type", "default", "allowed", "meaning"]);
    for parameter in &manifest.parameters {
        let kind = word(&parameter.kind);
        let default = parameter.default.as_str().map_or_else(|| parameter.default.to_string(), str::to_owned);
        table.add_row([&parameter.name, &kind, &default, &allowed(parameter), &parameter.doc]);
    }
    table.to_string()
}

fn allowed(parameter: &Parameter) -> String {
    if parameter.choices.is_empty() { parameter.range() } else { parameter.choices.join(", ") }
}

fn state(manifest: &Manifest) -> String {
    let slots = manifest.state.iter().map(|slot| {
        let scope = if slot.scope == StateScope::Server { "on the server" } else { "for each client" };
        let start = match &slot.init {
            StateInit::Value(value) => value.to_string(),
            StateInit::Parameter(name) => format!("`{name}`"),
            StateInit::Weights(weights) => word(weights),
        };
        format!("{} {scope}, from {start}", slot.name)
    });
    slots.collect::<Vec<_>>().join("; ")
}

fn listing(plugins: &[Inspected]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["plugin", "version", "roles", "parameters", "what it does"]);
    for plugin in plugins {
        let Manifest { name, version, kinds, parameters, summary, .. } = &plugin.manifest;
        let parameters: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        table.add_row([name, version, &words(kinds).join(", "), &parameters.join(", "), summary]);
    }
    table.to_string() + "\n"
}

fn words<T: serde::Serialize>(values: &[T]) -> Vec<String> {
    values.iter().map(word).collect()
}

/// The word that manifests use.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Inspected {
        plugin::inspect(&plugin::parse_spec(name).unwrap()).unwrap()
    }

    #[test]
    fn the_manifest_of_a_shipped_plugin_is_told_in_words() {
        let text = to_text(&shipped("fedprox"));
        for line in ["roles         client\n", "form          wasm\n", "│ mu "] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains(&format!("blake3        {}\n", shipped("fedprox").blake3)));
    }

    #[test]
    fn the_same_is_told_to_programs() {
        let value = to_json(&shipped("fedprox")).unwrap();
        assert_eq!(value["manifest"]["name"], "fedprox");
        assert_eq!(value["manifest"]["params"][0]["name"], "mu");
        assert_eq!((&value["form"], &value["shipped"]), (&json!("wasm"), &json!(true)));
    }

    #[test]
    fn imports_and_limits_are_those_that_the_loader_applies() {
        let text = to_text(&shipped("qsgd"));
        assert!(text.contains("imports       colla_v1.log, colla_v1.rand_fill\n"), "{text}");
        assert!(!to_text(&shipped("fedavg")).contains("rand_fill"));
        let line = "noise         gaussian, as much as `noise-multiplier` says; accounted for in a run\n";
        assert!(to_text(&shipped("dp-gaussian")).contains(line), "{}", to_text(&shipped("dp-gaussian")));
        let rows: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for row in
            ["│ file ┆ 4 MiB", "│ memory ┆ 64 MiB", "│ fuel of a call ┆ 1,000,000,000 units", "│ stack ┆ 512 KiB"]
        {
            assert!(rows.iter().any(|line| line.starts_with(row)), "`{row}` is not in\n{text}");
        }
        let value = to_json(&shipped("qsgd")).unwrap();
        assert_eq!(value["imports"], json!(["colla_v1.log", "colla_v1.rand_fill"]));
        assert_eq!(
            value["limits"],
            json!({
                "file_bytes": 4 << 20, "memory_bytes": 64 << 20, "memory_bytes_per_element": 16,
                "memory_bytes_added": 16 << 20, "memory_bytes_in_all": 2u64 << 30, "stack_bytes": 512 << 10,
                "fuel_per_call": 1_000_000_000, "fuel_per_element": 2_000, "seconds_per_call": 60,
            })
        );
    }

    #[test]
    fn many_imports_are_counted_and_a_library_has_no_limits() {
        let mut inspected = shipped("fedavg");
        inspected.imports = Some((0..11).map(|i| format!("env.f{i}")).collect());
        assert!(imports(&inspected).ends_with("env.f6, env.f7 and 3 more"), "{}", imports(&inspected));
        (inspected.imports, inspected.limits) = (None, Limits { file_bytes: 64 << 20, sandbox: None });
        let text = to_text(&inspected);
        assert!(text.contains("imports       not told by a library") && text.contains("64 MiB"), "{text}");
        assert_eq!(to_json(&inspected).unwrap()["limits"], json!({"file_bytes": 64 << 20}));
    }

    #[test]
    fn every_shipped_plugin_is_listed() {
        let plugins: Vec<Inspected> = plugin::shipped_names().map(shipped).collect();
        let text = listing(&plugins);
        assert!(plugin::shipped_names().all(|name| text.contains(name)), "{text}");
    }
}
