//! `cargo dev strategies`: writes `docs/strategies.md`, what the shipped plugins say of themselves, grouped by role.
//!
//! Everything in it is read from the manifests in the committed files, but for the introductions of the roles, which
//! stand here, and the bytes that compressors send, which `strategies/wire.rs` measures. What it never does: describe
//! a method in words that its author did not choose.

#[path = "strategies/wire.rs"]
mod wire;

use anyhow::{Context, Result, ensure};
use colla::config;
use colla::plugin::{
    AttackedPart, InitialWeights, Manifest, MaxEncoded, NormEffect, Parameter, Reduce, Role, StateInit, StateScope,
    StateShape, StateSlot, inspect, shipped_names,
};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/strategies.md";

/// In the order in which they act.
const ROLES: [Role; 9] = [
    Role::Select,
    Role::Client,
    Role::Normalize,
    Role::Compress,
    Role::Attack,
    Role::Mix,
    Role::Aggregate,
    Role::Post,
    Role::ServerStep,
];

const HEAD: &str = "\
<!-- Written by `cargo dev strategies` from the manifests of the shipped plugins; do not edit. -->
# Strategies

The plugins that are part of the binary: `--plugin NAME`, with parameters `--plugin NAME:parameter=value,…`. Roles
stand in the order in which they act in a round; plugins of different roles stack ([plugins.md](plugins.md) has the
rules, and how to write one). A plugin with several roles stands with the first of them. `colla-host plugin inspect
NAME` shows the same and the limits it runs under.

P is the number of the model's weights, K that of the updates in a round. *Requires* lists conditions that are
checked before the run, and set where they were left open; *needs*, scalars of each client ([abi.md, sections 11 and
12](abi.md#11-the-manifest) define the words). *Memory* is what a method keeps on the server or for each client
beside the weights and the buffers of the agents: what it takes beyond `host.update-memory` and `host.state-memory`
([settings.md](settings.md#host)) lies in a temporary file.
";

/// Writes the page, or with `check` fails if it is not what the manifests give.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let text = page()?;
    let path = root.join(PAGE);
    if !check {
        return fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()));
    }
    let committed = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let line = committed.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = line.unwrap_or_else(|| committed.lines().count().min(text.lines().count())) + 1;
    ensure!(
        committed == text,
        "{PAGE}: line {line} is not what the manifests of the shipped plugins give; run `cargo dev strategies` and commit \
         what it writes"
    );
    println!("{PAGE} is what the manifests give");
    Ok(())
}

fn page() -> Result<String> {
    let manifest = |name| Ok(inspect(&config::Plugin::shipped(name))?.manifest);
    let manifests = shipped_names().map(manifest).collect::<Result<Vec<Manifest>>>()?;
    let mut page = HEAD.to_owned() + &index(&manifests);
    for role in ROLES {
        let _ = write!(page, "\n## {}\n\n{}\n", role.name(), introduction(role));
        let (own, elsewhere): (Vec<&Manifest>, Vec<&Manifest>) =
            manifests.iter().filter(|manifest| manifest.has(role)).partition(|manifest| first_role(manifest) == role);
        if !elsewhere.is_empty() {
            let links: Vec<String> = elsewhere.iter().map(|manifest| link(&manifest.name)).collect();
            let _ = write!(page, "\nAlso in this role: {}.\n", links.join(", "));
        }
        for manifest in own {
            page += &section(manifest)?;
        }
    }
    Ok(page)
}

/// All names at a glance.
fn index(manifests: &[Manifest]) -> String {
    let mut table = String::from("\n| role | plugins |\n| --- | --- |\n");
    for role in ROLES {
        let own = manifests.iter().filter(|manifest| first_role(manifest) == role);
        let links: Vec<String> = own.map(|manifest| link(&manifest.name)).collect();
        let _ = writeln!(table, "| [{0}](#{0}) | {1} |", role.name(), links.join(" "));
    }
    table
}

fn first_role(manifest: &Manifest) -> Role {
    ROLES.into_iter().find(|role| manifest.has(*role)).unwrap_or(Role::Aggregate)
}

fn link(name: &str) -> String {
    format!("[`{name}`](#{name})")
}

/// When a role acts, and what it sees.
fn introduction(role: Role) -> &'static str {
    match role {
        Role::Select => {
            "Before a round: chooses its cohort in the place of the host's draw. Sees every client's number of \
             examples, and of those that have taken part the mean training loss of their last round."
        }
        Role::Client => {
            "At a client, around local training: adds terms to its objective, keeps slots of its own between rounds, \
             and may upload vectors besides the update. Sees the weights that the client received, those that it \
             trained, and its slots; never its examples."
        }
        Role::Normalize => {
            "At a client, after training: changes the update in place, before compression. Sees that client's update \
             and measures of it, such as its norm. Several act in the order in which they are given."
        }
        Role::Compress => {
            "At a client, last: turns the update into bytes, which the server decodes. Sees that client's update. \
             Two parameters are the host's, for each of them: `error-feedback=true` adds what one upload lost to the \
             client's next update, and costs P values for each client (a codec must lose less than it is given, or \
             what is added grows from round to round; the run notes where it does not); `direction=down` or `both` \
             compresses what the server sends as well. *Wire* is told twice: the most that a piece of m values may take, and what \
             was sent with the defaults for each weight of an MLP (64-200-200-10) in its first round, where plain \
             values take 4 bytes."
        }
        Role::Attack => {
            "In the place of hostile clients (`attack.fraction` or `attack.clients`): on the server, where it replaces \
             their updates and sees those and the honest ones; or before they train, where it says on which labels \
             (`label-flip`) and sees neither weights nor rows."
        }
        Role::Mix => {
            "On the server, before the aggregate: replaces the updates by combinations of them. Sees the distances \
             between the updates, not the updates."
        }
        Role::Aggregate => {
            "On the server: makes one update of all. A rule gives weights before training (the host then adds \
             updates up as they come), or when all are there; or it sees the distances between them, or all values \
             of a coordinate. FedAvg aggregates where no plugin does."
        }
        Role::Post => {
            "On the server: changes the aggregate in place, before the server's step. Sees the aggregate, and how \
             far one client can have moved it."
        }
        Role::ServerStep => {
            "On the server, last: makes new weights of the old ones and the aggregate, with slots of its own. Where \
             no plugin does, the aggregate times `federation.server-learning-rate` is added."
        }
    }
}

fn section(manifest: &Manifest) -> Result<String> {
    let mut text = format!("\n### {}\n\n{}.", manifest.name, manifest.summary);
    if !manifest.paper.is_empty() {
        let _ = write!(text, " {}.", linked(&manifest.paper));
    }
    text += "\n";
    text += &parameters(&manifest.parameters);
    let facts = facts(manifest)?;
    if !facts.is_empty() {
        text += "\n";
    }
    for (name, fact) in facts {
        let _ = writeln!(text, "- {name}: {fact}");
    }
    Ok(text)
}

/// Each `arXiv:` number as a link.
fn linked(paper: &str) -> String {
    let mut text = String::new();
    for (place, part) in paper.split("arXiv:").enumerate() {
        let digits = part.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.len());
        let number = part[..digits].trim_end_matches('.');
        match place {
            0 => text += part,
            _ if number.is_empty() => text += &format!("arXiv:{part}"),
            _ => text += &format!("[arXiv:{number}](https://arxiv.org/abs/{number}){}", &part[number.len()..]),
        }
    }
    text
}

fn parameters(parameters: &[Parameter]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let mut table = String::from("\n| parameter | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for parameter in parameters {
        let default = parameter.default.as_str().map_or_else(|| parameter.default.to_string(), str::to_owned);
        let allowed = match parameter.choices.is_empty() {
            true => parameter.range(),
            false => parameter.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        };
        let (name, doc) = (&parameter.name, parameter.doc.replace('|', "\\|"));
        let _ = writeln!(table, "| `{name}` | {default} | {allowed} | {doc} |");
    }
    table
}

/// What else is to know before it is used.
fn facts(manifest: &Manifest) -> Result<Vec<(&'static str, String)>> {
    let mut facts = Vec::new();
    let mut fact = |name, text: String| {
        if !text.is_empty() {
            facts.push((name, text));
        }
    };
    if manifest.kinds.len() > 1 {
        fact("roles", words(manifest.kinds.iter().map(|role| role.name())));
    }
    fact("requires", words(manifest.requires.iter().map(|word| word.name())));
    fact("needs", words(manifest.needs.iter().map(word).collect::<Vec<_>>().iter().map(String::as_str)));
    fact("state", manifest.state.iter().map(slot).collect::<Vec<_>>().join("; "));
    fact("uploads besides the update", words(manifest.vectors.iter().map(|vector| vector.name.as_str())));
    fact("norm of the update", norm(manifest).into());
    fact("memory", memory(manifest));
    if let Some(noise) = &manifest.privacy {
        let (mechanism, parameter) = (noise.mechanism.name(), &noise.noise);
        fact("noise", format!("{mechanism}, as much as `{parameter}` says; [accounted for](privacy.md)"));
    }
    if let Some(most) = manifest.max_encoded {
        let sent = wire::bytes_a_weight(&manifest.name)?;
        fact("wire", format!("at most {} bytes a piece; {sent:.3} bytes a weight were sent", capacity(most)));
    }
    if manifest.rng {
        fact("random numbers", "drawn from the run's seed".into());
    }
    Ok(facts)
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The word that manifests use.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn slot(slot: &StateSlot) -> String {
    let place = match slot.scope {
        StateScope::Server if slot.broadcast => "on the server, sent to each cohort",
        StateScope::Server => "on the server",
        StateScope::Client => "for each client",
    };
    let start = match &slot.init {
        StateInit::Value(value) => value.to_string(),
        StateInit::Parameter(name) => format!("`{name}`"),
        StateInit::Weights(InitialWeights::InitialWeights) => "the weights before round 1".into(),
        StateInit::Weights(InitialWeights::ReceivedWeights) => "the weights that it first receives".into(),
    };
    let shape = match slot.shape {
        StateShape::Model => "P values",
        StateShape::Piece => "some values for each piece",
        StateShape::Norm => "the values of the normalisation layers",
    };
    format!("`{}` {place}, {shape}, from {start}", slot.name)
}

fn norm(manifest: &Manifest) -> &'static str {
    let is_stage = manifest.has(Role::Normalize) || manifest.has(Role::Compress);
    match manifest.norm {
        _ if !is_stage => "",
        NormEffect::Bounds => "bounded",
        NormEffect::Keeps => "never grows",
        NormEffect::Raises => "may grow",
    }
}

/// What is kept beside the weights.
fn memory(manifest: &Manifest) -> String {
    let keeps_updates = manifest.attacks(AttackedPart::Updates)
        || manifest.has(Role::Mix)
        || manifest.reduce.iter().any(|reduce| *reduce != Reduce::SumBefore);
    let slots = |scope| {
        let model = |slot: &&StateSlot| slot.scope == scope && slot.shape == StateShape::Model;
        manifest.state.iter().filter(model).count()
    };
    let times = |count: usize| if count == 1 { "4·P bytes".into() } else { format!("{}·P bytes", 4 * count) };
    let mut parts: Vec<String> = Vec::new();
    if keeps_updates {
        parts.push("the round's updates, 4·K·P bytes".into());
    } else if manifest.has(Role::Aggregate) {
        parts.push("one sum of P values, however many clients".into());
    }
    match slots(StateScope::Server) {
        0 => {}
        count => parts.push(format!("{} on the server", times(count))),
    }
    match slots(StateScope::Client) {
        0 => {}
        count => parts.push(format!("{} for each client that has taken part", times(count))),
    }
    parts.join("; ")
}

fn capacity(most: MaxEncoded) -> String {
    let MaxEncoded { num, den, plus } = most;
    let values = match (num, den) {
        (1, 1) => "m".into(),
        (num, 1) => format!("{num}·m"),
        (1, den) => format!("m/{den}"),
        (num, den) => format!("{num}·m/{den}"),
    };
    if plus == 0 { values } else { format!("{values} + {plus}") }
}
