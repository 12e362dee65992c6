//! Who plays which role: the plugins of a run, checked as a composition.

use super::{facts::RoundFacts, requirements::bounding_stage};
use crate::{
    client::{ClientId, SERVER},
    error::{Fault, Kind},
    plugin::{Callbacks, Direction, Instance, Need, Plugin, Requirement, Role},
    stages::{NormPromise, StageSpec, StageSpecs, failure, no_bound, open},
    train::Layout,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, Value, abi::op};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest broadcast of one plugin.
const MAX_BROADCAST_BYTES: usize = 64 << 10;
/// Most metrics of one plugin in one round.
const MAX_METRICS: usize = 64;

/// One plugin of the run with its control instance.
pub struct Member {
    pub plugin: Plugin,
    pub control: Box<dyn Instance>,
    /// What ROUND_BEGIN answered this round.
    pub broadcast: Map,
    /// Whether any such answer was not empty.
    has_broadcast: bool,
    position: u8,
    run_seed: u64,
}

impl Member {
    pub fn name(&self) -> &str {
        &self.plugin.manifest().name
    }

    pub fn position(&self) -> u8 {
        self.position
    }

    /// Keys the random streams of one of this plugin's instances, and passes on what the plugin broadcasts this round.
    /// Every data-plane instance is told so once a round, before its first block.
    pub fn open_round(&self, instance: &mut dyn Instance, round: u64) -> Result<()> {
        instance.set_callbacks(self.callbacks(round, None));
        // Once it has broadcast anything, an empty map is news as well.
        if self.has_broadcast {
            instance.call(op::SYNC, &self.broadcast)?;
        }
        Ok(())
    }

    /// Keys the random streams of the control instance for a call that concerns no client.
    pub fn key_control(&mut self, round: u64) {
        let callbacks = self.callbacks(round, None);
        self.control.set_callbacks(callbacks);
    }

    /// Client scope means `client`; where no client is meant, it means the server.
    pub fn callbacks(&self, round: u64, client: Option<ClientId>) -> Callbacks {
        let (run_seed, position) = (self.run_seed, self.position);
        Callbacks { run_seed, position, round, client: client.unwrap_or(SERVER).0.into() }
    }

    pub fn has(&self, role: Role) -> bool {
        self.plugin.manifest().kinds.contains(&role)
    }
}

/// All plugins of the run in the given order, exactly one of them an aggregate.
pub struct Roster {
    pub members: Vec<Member>,
    /// The norm on which plugins of the run rely, if they do and a stage bounds it.
    norm: Option<NormPromise>,
}

impl Roster {
    /// Checks the composition and opens one control instance for each plugin.
    ///
    /// Errors: `Kind::Config` for two plugins in a role that takes one, none in the role aggregate, or a role that this
    /// host does not run.
    pub fn new(plugins: Vec<Plugin>, run_seed: u64, layout: &Layout) -> Result<Self> {
        check(&plugins)?;
        let norm = norm_promise(&plugins);
        let members = plugins.into_iter().enumerate().map(|(index, plugin)| {
            let position = index as u8;
            let control = open(&plugin, position, run_seed, 0, layout)?;
            Ok(Member { plugin, control, broadcast: Map::new(), has_broadcast: false, position, run_seed })
        });
        Ok(Roster { members: members.collect::<Result<_>>()?, norm })
    }

    /// Asks the stage on whose bound others rely for that of a round, so that a plugin that has none is refused before the
    /// run. An instance of its own answers, since the control instance begins each round once.
    ///
    /// Errors: `Kind::PluginRefused` if it has none; a plugin failure.
    pub fn check_norm_bound(&self, facts: &RoundFacts, layout: &Layout) -> Result<()> {
        let Some(promise) = self.norm.filter(|promise| promise.parameter.is_none()) else { return Ok(()) };
        let member = &self.members[usize::from(promise.position)];
        let mut instance = open(&member.plugin, member.position, member.run_seed, 0, layout)?;
        instance.set_callbacks(member.callbacks(facts.round, None));
        let broadcast = instance.call(op::ROUND_BEGIN, &facts.message())?;
        match promise.bound(Some(&broadcast)) {
            Some(_) => Ok(()),
            None => Err(Fault::new(Kind::PluginRefused, no_bound(member.name()).to_string())),
        }
    }

    /// Largest norm of an update that is aggregated, where a stage bounds it, nothing behind that stage can raise it again,
    /// and a plugin relies on it. Known once the round has begun.
    pub fn norm_bound(&self) -> Option<f64> {
        let promise = self.norm?;
        promise.bound(Some(&self.members[usize::from(promise.position)].broadcast))
    }

    pub fn with_role(&mut self, role: Role) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(move |m| m.has(role))
    }

    pub fn position_of(&self, role: Role) -> Option<usize> {
        self.members.iter().position(|m| m.has(role))
    }

    /// Whether a plugin's method rests on this.
    pub fn requires(&self, requirement: Requirement) -> bool {
        self.members.iter().any(|m| m.plugin.manifest().requires.contains(&requirement))
    }

    /// Whether a plugin's method needs this scalar.
    pub fn needs(&self, need: Need) -> bool {
        self.members.iter().any(|m| m.plugin.manifest().needs.contains(&need))
    }

    /// What agents build their own stage instances from.
    /// `initial_weights`: those before round 1.
    pub fn stages(&self, initial_weights: &Arc<[f32]>) -> StageSpecs {
        let spec = |m: &Member| StageSpec {
            plugin: m.plugin.clone(),
            position: m.position,
            initial_weights: initial_weights.clone(),
        };
        StageSpecs {
            normalize: self.members.iter().filter(|m| m.has(Role::Normalize)).map(spec).collect(),
            compress: self.members.iter().find(|m| m.has(Role::Compress) && m.plugin.direction().is_up()).map(spec),
            downlink: self.members.iter().find(|m| m.has(Role::Compress) && m.plugin.direction().is_down()).map(spec),
            norm: self.norm,
        }
    }

    /// Opens the round at every plugin and keeps what each broadcasts.
    /// Errors: a plugin failure, also for a stage without the bound on which others rely.
    pub fn begin(&mut self, facts: &RoundFacts) -> Result<()> {
        let message = facts.message();
        for member in &mut self.members {
            member.control.set_callbacks(member.callbacks(facts.round, None));
            member.broadcast = member.control.call(op::ROUND_BEGIN, &message)?;
            member.has_broadcast |= !member.broadcast.0.is_empty();
            let bytes = member.broadcast.encode().len();
            if bytes > MAX_BROADCAST_BYTES {
                let message = format!("broadcasts {bytes} bytes; at most {MAX_BROADCAST_BYTES} are allowed");
                return Err(failure(member.name(), op::ROUND_BEGIN, message).into());
            }
        }
        match self.norm {
            Some(promise) if self.norm_bound().is_none() => {
                Err(no_bound(self.members[usize::from(promise.position)].name()).into())
            }
            _ => Ok(()),
        }
    }

    /// Bytes that each client of the cohort receives besides the weights.
    pub fn broadcast_bytes(&self) -> u64 {
        self.members.iter().filter(|m| !m.broadcast.0.is_empty()).map(|m| m.broadcast.encode().len() as u64).sum()
    }

    /// Closes the round at every plugin and collects what each wants recorded, under `plugin.<name>.<metric>`.
    pub fn end(&mut self, round: u64, summary: &Map) -> Result<BTreeMap<String, f64>> {
        let mut metrics = BTreeMap::new();
        for member in &mut self.members {
            member.control.set_callbacks(member.callbacks(round, None));
            let reply = member.control.call(op::ROUND_END, summary)?;
            let named = read_metrics(&reply).map_err(|message| failure(member.name(), op::ROUND_END, message))?;
            for (metric, value) in named {
                let mut name = format!("plugin.{}.{metric}", member.name());
                if metrics.contains_key(&name) {
                    // The same plugin twice in one run: told apart by position.
                    name = format!("plugin.{}-{}.{metric}", member.name(), member.position);
                }
                metrics.insert(name, value);
            }
        }
        Ok(metrics)
    }
}

/// Reads a reply to ROUND_END. Names end up in files and on screens, so they are held to the manifest's alphabet.
fn read_metrics(reply: &Map) -> Result<Vec<(&str, f64)>, String> {
    if reply.0.len() > MAX_METRICS {
        return Err(format!("answered {} metrics; at most {MAX_METRICS} are allowed", reply.0.len()));
    }
    let metric = |(name, value): &'_ (String, Value)| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
            let name: String = name.chars().take(64).collect();
            return Err(format!("metric {name:?}; a name is 1 to 64 letters, digits, `-` and `_`"));
        }
        match value {
            Value::F64(v) if v.is_finite() => Ok(*v),
            Value::I64(v) => Ok(*v as f64),
            other => Err(format!("metric `{name}` is {other:?}; it must be a finite number")),
        }
    };
    reply.0.iter().map(|entry| Ok((entry.0.as_str(), metric(entry)?))).collect()
}

fn check(plugins: &[Plugin]) -> Result<()> {
    if plugins.len() > usize::from(u8::MAX) {
        return Err(Fault::new(Kind::Config, format!("{} plugins — a run takes at most 255", plugins.len())));
    }
    for role in [Role::Aggregate, Role::ServerStep, Role::Select, Role::Attack] {
        if let [first, second, ..] = names(plugins, |p| p.manifest().has(role))[..] {
            let role = role.name();
            let problem = format!("both play the role {role}, which only one can; leave one out");
            return Err(Fault::new(Kind::Config, format!("plugins `{first}` and `{second}` — {problem}")));
        }
    }
    for (direction, is_so) in [("up", Direction::is_up as fn(Direction) -> bool), ("down", Direction::is_down)] {
        let compressors = names(plugins, |p| p.manifest().has(Role::Compress) && is_so(p.direction()));
        if let [first, second, ..] = compressors[..] {
            let problem = format!(
                "both play the role compress in the direction {direction}, which only one can; leave one out, or give them \
                 different values of `direction`"
            );
            return Err(Fault::new(Kind::Config, format!("plugins `{first}` and `{second}` — {problem}")));
        }
    }
    let personal = names(plugins, |p| p.manifest().personal.is_some());
    if let [first, second, ..] = personal[..] {
        return Err(Fault::new(
            Kind::Config,
            format!(
                "plugins `{first}` and `{second}` — both keep the personal model of a client, which only one can; leave one out"
            ),
        ));
    }
    if !plugins.iter().any(|p| p.manifest().kinds.contains(&Role::Aggregate)) {
        return Err(Fault::new(Kind::Config, "plugins — none plays the role aggregate; add `fedavg`"));
    }
    Ok(())
}

/// The norm that stages are held to: that of the stage that bounds it, if a plugin requires it or, of the role post, is told.
fn norm_promise(plugins: &[Plugin]) -> Option<NormPromise> {
    let relies = |plugin: &Plugin| {
        plugin.manifest().has(Role::Post) || plugin.manifest().requires.contains(&Requirement::NormBound)
    };
    let position = bounding_stage(plugins).ok().filter(|_| plugins.iter().any(relies))?;
    let plugin = &plugins[position];
    let parameter = plugin.manifest().norm_bound.as_ref().and_then(|name| plugin.parameters().f64(name));
    Some(NormPromise { position: position as u8, parameter })
}

fn names(plugins: &[Plugin], which: impl Fn(&Plugin) -> bool) -> Vec<&str> {
    plugins.iter().filter(|plugin| which(plugin)).map(|plugin| plugin.manifest().name.as_str()).collect()
}
