//! What methods require of the rest of the run (`requires` in the manifest), checked before it begins.
//!
//! Where in the flow: once all plugins are loaded. Two requirements set an option of the aggregate that the user left open
//! ([`settle`]); all of them are refused where the user, or the rest of the composition, says otherwise.
//! What it never does: change what the user gave.

use crate::{
    config::{self, Config, Sampling},
    error::{Fault, Kind},
    plugin::{AttackedPart, Manifest, NoiseMechanism, NormEffect, ParameterType, Plugin, Reduce, Requirement, Role},
    train::Layout,
};
use anyhow::Result;

/// Parameters of an aggregate that requirements set, and the word that they set.
const WEIGHTS: &str = "weights";
const UNIFORM: &str = "uniform";
const DENOMINATOR: &str = "denominator";

/// The aggregate's position and configuration with what plugins require of it set; `None` if it is so already.
///
/// `specs`: what the plugins were loaded from. `expected_cohort`: clients of a cohort on average, asked for if needed.
/// Errors: `Kind::Config` naming plugin and requirement, what contradicts it, and what to do.
pub fn settle(
    plugins: &[Plugin],
    specs: &[config::Plugin],
    expected_cohort: impl FnOnce() -> Result<f64>,
) -> Result<Option<(usize, config::Plugin)>> {
    let Some(index) = plugins.iter().position(|plugin| plugin.manifest().has(Role::Aggregate)) else {
        return Ok(None);
    };
    let (rule, mut spec) = (plugins[index].manifest(), specs[index].clone());
    let wanted = |requirement| plugins.iter().find(|plugin| plugin.manifest().requires.contains(&requirement));
    if let Some(by) = wanted(Requirement::UniformWeights) {
        uniform_weights(rule, &mut spec).map_err(|why| refusal(by, Requirement::UniformWeights, &why))?;
    }
    if let Some(by) = wanted(Requirement::FixedDenominator) {
        let expected = expected_cohort()?;
        let settled = fixed_denominator(rule, &mut spec, expected);
        settled.map_err(|why| refusal(by, Requirement::FixedDenominator, &why))?;
    }
    Ok((spec != specs[index]).then_some((index, spec)))
}

/// Checks the requirements that [`settle`] does not see to. Errors: as there, for root rows that nobody can ask for, and for
/// stragglers in a run whose noise is accounted for on the aggregate.
pub fn check(plugins: &[Plugin], config: &Config, layout: &Layout) -> Result<()> {
    noise_without_stragglers(plugins, config)?;
    let rows = config.federation.root_rows;
    // Only decisions see the server's own update.
    let reads = |manifest: &Manifest| {
        let decides = manifest.has(Role::Mix) || manifest.reduce.contains(&Reduce::Gram);
        decides || manifest.requires.contains(&Requirement::RootData)
    };
    if rows > 0 && !plugins.iter().any(|plugin| reads(plugin.manifest())) {
        let message = format!(
            "config `federation.root-rows = {rows}`: no plugin of this run can compare updates with one of the server; \
             leave it out, or add a mix or an aggregate by distances that does"
        );
        return Err(Fault::new(Kind::Config, message));
    }
    for plugin in plugins {
        for &requirement in &plugin.manifest().requires {
            if let Some(why) = contradiction(requirement, plugins, config, layout) {
                return Err(refusal(plugin, requirement, &why));
            }
        }
    }
    Ok(())
}

/// The same where nothing is trained: how clients were drawn and trained, and what a layer is, is not known there.
/// `has_root`: whether the server has an update of its own. Errors: as there.
pub fn check_offline(plugins: &[Plugin], has_root: bool) -> Result<()> {
    for plugin in plugins {
        for &requirement in &plugin.manifest().requires {
            let why = match requirement {
                Requirement::NormBound => bounding_stage(plugins).err(),
                Requirement::RootData => (!has_root).then(|| "the file has no `root/<name>`; add these tensors".into()),
                Requirement::NoMix => mixed(plugins),
                Requirement::LastStage => followed(plugins),
                // The first two are seen to by `settle`.
                Requirement::UniformWeights
                | Requirement::FixedDenominator
                | Requirement::PoissonCohort
                | Requirement::FixedCohort
                | Requirement::PlainSgd
                | Requirement::NormalisationLayers => None,
            };
            if let Some(why) = why {
                return Err(refusal(plugin, requirement, &why));
            }
        }
    }
    Ok(())
}

fn refusal(plugin: &Plugin, requirement: Requirement, why: &str) -> anyhow::Error {
    let (name, requirement) = (&plugin.manifest().name, requirement.name());
    Fault::new(Kind::Config, format!("plugin `{name}` — it requires `{requirement}`, but {why}"))
}

/// Every client counts the same. A rule that is no sum and has no such option treats its rows alike.
fn uniform_weights(rule: &Manifest, spec: &mut config::Plugin) -> Result<(), String> {
    let name = &rule.name;
    let has_option = rule.parameter(WEIGHTS).is_some_and(|option| option.choices.iter().any(|word| word == UNIFORM));
    if !has_option {
        return match is_sum(rule) {
            false => Ok(()),
            true => Err(format!("`{name}` has no parameter `{WEIGHTS}` to set; use `fedavg`")),
        };
    }
    match spec.parameters.get(WEIGHTS) {
        None => drop(spec.parameters.insert(WEIGHTS.into(), UNIFORM.into())),
        Some(given) if given.as_str() == Some(UNIFORM) => {}
        Some(given) => {
            return Err(format!("`{name}` has `{WEIGHTS} = {given}`; leave it out, or set it to \"{UNIFORM}\""));
        }
    }
    Ok(())
}

/// What a sum is divided by does not depend on who took part: a number that the user gave, or the expected cohort.
fn fixed_denominator(rule: &Manifest, spec: &mut config::Plugin, expected_cohort: f64) -> Result<(), String> {
    let name = &rule.name;
    if !is_sum(rule) {
        return Err(format!("`{name}` is no sum and has no denominator; use a rule over sums, such as `fedavg`"));
    }
    if rule.parameter(DENOMINATOR).is_none_or(|option| option.kind != ParameterType::Float) {
        return Err(format!("`{name}` has no parameter `{DENOMINATOR}` to set; use `fedavg`"));
    }
    if let Some(given) = spec.parameters.get(DENOMINATOR) {
        let number = given.as_float().or(given.as_integer().map(|number| number as f64));
        return match number {
            Some(number) if number > 0.0 => Ok(()),
            _ => Err(format!(
                "`{name}` has `{DENOMINATOR} = {given}`, which stands for the weights of those that took part; leave it out, \
                 or give a positive number"
            )),
        };
    }
    let weights = rule.parameter(WEIGHTS).map(|option| {
        let given = spec.parameters.get(WEIGHTS).and_then(toml::Value::as_str);
        given.or(option.default.as_str()).unwrap_or_default()
    });
    match weights {
        Some(weights) if weights != UNIFORM => Err(format!(
            "`{name}` has `{WEIGHTS} = \"{weights}\"`, and the expected cohort is a number of clients; set `{WEIGHTS}` to \
             \"{UNIFORM}\", or give `{DENOMINATOR}`"
        )),
        _ => {
            spec.parameters.insert(DENOMINATOR.into(), expected_cohort.into());
            Ok(())
        }
    }
}

fn is_sum(rule: &Manifest) -> bool {
    matches!(rule.reduce[..], [] | [Reduce::SumBefore | Reduce::SumAfter])
}

/// The accountants bound what one client changes by its own update. Who is late is drawn among all of a cohort, so there one
/// client also decides whether others are. Noise that each client adds by itself does not rest on that.
fn noise_without_stragglers(plugins: &[Plugin], config: &Config) -> Result<()> {
    let Some(share) = config.stragglers.map(|stragglers| stragglers.share).filter(|share| *share > 0.0) else {
        return Ok(());
    };
    let on_the_aggregate = |plugin: &&Plugin| {
        plugin.manifest().privacy.as_ref().is_some_and(|noise| noise.mechanism != NoiseMechanism::LocalGaussian)
    };
    let Some(plugin) = plugins.iter().find(on_the_aggregate) else { return Ok(()) };
    let name = &plugin.manifest().name;
    Err(Fault::new(
        Kind::Config,
        format!(
            "config `stragglers.share = {share}`: the noise of `{name}` hides one client's update, and with stragglers a \
             client also changes who else is late; leave the section or the plugin out"
        ),
    ))
}

/// What stands against a requirement, and what to do.
fn contradiction(requirement: Requirement, plugins: &[Plugin], config: &Config, layout: &Layout) -> Option<String> {
    let (train, federation) = (&config.train, &config.federation);
    match requirement {
        // Seen to by `settle`.
        Requirement::UniformWeights | Requirement::FixedDenominator => None,
        Requirement::PoissonCohort => (federation.sampling != Sampling::Poisson)
            .then(|| "`federation.sampling = \"fixed\"`; set it to \"poisson\"".into()),
        Requirement::FixedCohort => (federation.sampling != Sampling::Fixed)
            .then(|| "`federation.sampling = \"poisson\"`; set it to \"fixed\"".into()),
        Requirement::PlainSgd => {
            (train.momentum != 0.0).then(|| format!("`train.momentum = {}`; set it to 0", train.momentum))
        }
        Requirement::NormBound => bounding_stage(plugins).err(),
        Requirement::NormalisationLayers => (!layout.tensors.iter().any(|tensor| tensor.role.is_of_norm()))
            .then(|| "the model has none; use a model with normalisation layers, or leave the plugin out".into()),
        Requirement::RootData => {
            (federation.root_rows == 0).then(|| "the server has no rows of its own; set `federation.root-rows`".into())
        }
        Requirement::NoMix => mixed(plugins),
        Requirement::LastStage => followed(plugins),
    }
}

/// Why an update does not arrive as the stage that requires it left it, if so. Where two require it, one follows the other.
fn followed(plugins: &[Plugin]) -> Option<String> {
    let position = plugins.iter().position(|plugin| plugin.manifest().requires.contains(&Requirement::LastStage))?;
    let compresses = |plugin: &&Plugin| plugin.manifest().has(Role::Compress) && plugin.direction().is_up();
    let next = plugins[position + 1..].iter().find(|plugin| plugin.manifest().has(Role::Normalize));
    let name = &next.or_else(|| plugins.iter().find(compresses))?.manifest().name;
    Some(format!("`{name}` changes the update behind it; leave it out, or put a normalizer first"))
}

/// Why an aggregate sees mixed rows, if it does: nobody asks for their weights.
fn mixed(plugins: &[Plugin]) -> Option<String> {
    let mixer = plugins.iter().find(|plugin| plugin.manifest().has(Role::Mix))?;
    let name = &mixer.manifest().name;
    Some(format!("`{name}` mixes the updates before it, and mixed ones all count the same; leave one of them out"))
}

/// Position of the stage whose bound holds for every update that is aggregated: the last one that bounds the norm.
/// Errors: why there is none, and what to do.
pub fn bounding_stage(plugins: &[Plugin]) -> Result<usize, String> {
    let with = |role: Role| plugins.iter().enumerate().filter(move |(_, plugin)| plugin.manifest().has(role));
    for role in [Role::Attack, Role::Mix] {
        // What hostile clients train passes the stages like every update; what they send in its place does not.
        let acts_behind = |plugin: &Plugin| role == Role::Mix || plugin.manifest().attacks(AttackedPart::Updates);
        if let Some((_, plugin)) = with(role).find(|(_, plugin)| acts_behind(plugin)) {
            let name = &plugin.manifest().name;
            return Err(format!(
                "`{name}` plays the role {} behind the stage that bounds it; leave it out",
                role.name()
            ));
        }
    }
    if let Some(plugin) = plugins.iter().find(|plugin| !plugin.manifest().vectors.is_empty()) {
        let Manifest { name, vectors, .. } = plugin.manifest();
        return Err(format!("`{name}` uploads the vector `{}`, which no stage bounds; leave it out", vectors[0].name));
    }
    // Undoing comes behind everything, and the inverse of what lowers a norm raises it.
    if let Some((_, plugin)) = with(Role::Normalize).find(|(_, plugin)| plugin.manifest().max_header > 0) {
        let name = &plugin.manifest().name;
        return Err(format!("`{name}` is undone on the server, which may raise the norm; leave it out"));
    }
    let upwards = || with(Role::Compress).filter(|(_, plugin)| plugin.direction().is_up());
    if let Some((_, plugin)) = upwards().find(|(_, plugin)| plugin.error_feedback()) {
        let name = &plugin.manifest().name;
        return Err(format!("`{name}` adds what it lost before to an update; set its `error-feedback` to false"));
    }
    let mut bounding = None;
    for (position, plugin) in with(Role::Normalize).chain(upwards()) {
        let name = &plugin.manifest().name;
        match (plugin.manifest().norm, bounding) {
            (NormEffect::Bounds, _) => bounding = Some(position),
            (NormEffect::Raises, Some(before)) => {
                let before = &plugins[before].manifest().name;
                return Err(format!("`{name}` may raise the norm behind `{before}`; leave it out"));
            }
            _ => {}
        }
    }
    bounding.ok_or_else(|| "no stage bounds the norm of an update; add one that does, such as `clip`".into())
}
