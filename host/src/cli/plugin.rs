//! `colla-host plugin inspect` and `plugin list`: what plugins say of themselves. Nothing of a plugin is run.

use super::{
    arguments::{Format, InspectArguments, ListArguments},
    print,
};
use crate::{
    config,
    plugin::{self, Inspected, Manifest, Origin, Parameter, StateInit, StateScope},
    record::{bytes, count},
};
use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};
use std::io::{Write, stderr};

/// Of tables; longer texts are wrapped.
const WIDTH: u16 = 110;

pub(super) fn inspect(arguments: &InspectArguments) -> Result<()> {
    let inspected = plugin::inspect(&plugin::parse_spec(&arguments.plugin)?)?;
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
    line("random draws", if manifest.rng { "yes, from the run's seed".into() } else { "none".into() });
    line("form", inspected.form.to_string());
    line("size", format!("{} ({} bytes)", bytes(inspected.bytes as u64), count(inspected.bytes as u64)));
    line("blake3", inspected.blake3.clone());
    line("sha256", inspected.sha256.clone());
    if manifest.parameters.is_empty() { text + "no parameters\n" } else { text + &parameters(manifest) + "\n" }
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
    fn every_shipped_plugin_is_listed() {
        let plugins: Vec<Inspected> = plugin::shipped_names().map(shipped).collect();
        let text = listing(&plugins);
        assert!(plugin::shipped_names().all(|name| text.contains(name)), "{text}");
    }
}
