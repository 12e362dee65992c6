//! Which noise a run has, and what goes past it.
//!
//! ε holds for what is released only if everything that is released depends on the clients' data through the noise.
//! What a composition lets past it is found here, by the roles and declarations of its plugins.

use crate::plugin::{Manifest, Need, Noise, NoiseMechanism, Plugin, Reduce, Role};

/// The noise of a run, with the numbers of its parameters.
pub(super) struct NoiseOf {
    pub mechanism: NoiseMechanism,
    /// In the mechanism's unit.
    pub amount: f64,
    /// Noise of a released count, as a share of the expected cohort.
    pub count: Option<f64>,
    /// Mechanism tree: 0 for one tree without end.
    pub rounds_of_a_tree: u64,
    pub completed: bool,
}

impl NoiseOf {
    /// The noise on the aggregate, else that on the clients, else `None`: a count alone protects nothing else.
    pub fn the_run(plugins: &[Plugin]) -> Option<Self> {
        let (plugin, noise) = noisy(plugins, Role::Post).chain(noisy(plugins, Role::Normalize)).next()?;
        let parameters = plugin.parameters();
        let number = |name: &Option<String>| name.as_ref().and_then(|name| parameters.i64(name)).unwrap_or(0);
        let count = noisy(plugins, Role::Aggregate).next();
        Some(NoiseOf {
            mechanism: noise.mechanism,
            amount: parameters.f64(&noise.noise).unwrap_or(0.0),
            count: count.map(|(plugin, noise)| plugin.parameters().f64(&noise.noise).unwrap_or(0.0)),
            rounds_of_a_tree: u64::try_from(number(&noise.restart)).unwrap_or(0),
            completed: noise.completion.as_ref().and_then(|name| parameters.bool(name)).unwrap_or(false),
        })
    }
}

/// Plugins whose noise is of this role.
fn noisy(plugins: &[Plugin], role: Role) -> impl Iterator<Item = (&Plugin, &Noise)> {
    let all = plugins.iter().filter_map(|plugin| Some((plugin, plugin.manifest().privacy.as_ref()?)));
    all.filter(move |(_, noise)| noise.mechanism.role() == role)
}

/// Why ε of a run with noise is not tracked; `None` if it is.
pub(super) fn untracked(plugins: &[Plugin]) -> Option<String> {
    let name = |plugin: &Plugin| plugin.manifest().name.clone();
    if let Some(selector) = plugins.iter().find(|plugin| plugin.manifest().has(Role::Select)) {
        return Some(format!(
            "`{}` chooses the cohort by what clients have told, which no noise covers",
            name(selector)
        ));
    }
    let posts: Vec<&Plugin> = noisy(plugins, Role::Post).map(|(plugin, _)| plugin).collect();
    let locals: Vec<&Plugin> = noisy(plugins, Role::Normalize).map(|(plugin, _)| plugin).collect();
    match (&posts[..], &locals[..]) {
        ([first, second, ..], _) | ([], [first, second, ..]) => {
            Some(format!("`{}` and `{}` both add noise, and one alone is accounted for", name(first), name(second)))
        }
        ([post], _) => past_the_server(plugins, post),
        ([], [local]) => past_the_client(plugins, local),
        ([], []) => None,
    }
}

/// What goes past the noise on the aggregate. That the norm is bounded and the sum has a sensitivity is required
/// already.
fn past_the_server(plugins: &[Plugin], post: &Plugin) -> Option<String> {
    let manifests = || plugins.iter().map(Plugin::manifest);
    let first = manifests().find(|manifest| manifest.has(Role::Post))?;
    if first.name != post.manifest().name {
        return Some(format!("`{}` changes the aggregate before it gets its noise", first.name));
    }
    let count = noisy(plugins, Role::Aggregate).next();
    let is_tree = post.manifest().privacy.as_ref().is_some_and(|noise| noise.mechanism == NoiseMechanism::Tree);
    if let (Some((plugin, _)), true) = (count, is_tree) {
        let name = &plugin.manifest().name;
        return Some(format!("the count that `{name}` releases each round is not accounted for beside a tree"));
    }
    let counts = |manifest: &Manifest| count.is_some_and(|(plugin, _)| plugin.manifest().name == manifest.name);
    let reader = manifests().find(|manifest| can_read_clients(manifest) && !counts(manifest));
    reader.map(|manifest| format!("`{}` can read of each client what no noise covers", manifest.name))
}

/// Whether the role aggregate or server-step is told losses or norms of clients, one by one.
fn can_read_clients(manifest: &Manifest) -> bool {
    !manifest.needs.is_empty() || manifest.reduce == [Reduce::SumAfter]
}

/// What a client uploads without its noise.
fn past_the_client(plugins: &[Plugin], local: &Plugin) -> Option<String> {
    let own = &local.manifest().name;
    let mut before = plugins.iter().map(Plugin::manifest).take_while(|manifest| manifest.name != *own);
    if let Some(header) = before.find(|manifest| manifest.max_header > 0) {
        return Some(format!("`{}` uploads a header that it makes before the noise", header.name));
    }
    let mut all = plugins.iter().map(Plugin::manifest);
    if let Some(Manifest { name, vectors, .. }) = all.clone().find(|manifest| !manifest.vectors.is_empty()) {
        return Some(format!("`{name}` uploads the vector `{}` without noise", vectors[0].name));
    }
    let reader = all.find(|m| m.needs.contains(&Need::LossBefore) || m.reduce == [Reduce::SumAfter]);
    reader.map(|manifest| format!("`{}` can read losses of each client, which no noise covers", manifest.name))
}
