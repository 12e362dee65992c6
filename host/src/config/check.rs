//! Every range that a doc comment in [`super`] promises, checked once, so that nobody below checks again.
//! What depends on the data or on a manifest is checked where those are known.

use super::{Attack, BatchSize, Config, DeviceChoice, ModelName, Plugin, Privacy, StragglerWork, Stragglers};
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Display;

/// The exact grid is as coarse as this bound is large: beyond 2²⁰ it would eat into the precision of an update.
const MAX_UPDATE_BOUND: f64 = 1_048_576.0;
pub(crate) const MAX_STEPS: usize = 1_000_000_000;
pub(crate) const MAX_EPOCHS: usize = 1_000_000;
/// Random streams are keyed by 31 bits of the round.
const MAX_ROUNDS: usize = 1_000_000_000;
pub(crate) const MAX_THREADS: usize = 1024;
/// 2²⁴ MiB are 16 TiB.
const MAX_UPDATE_MEMORY: usize = 1 << 24;
/// A tebibyte in MiB.
const MAX_STATE_MEMORY: usize = 1 << 20;
const MAX_DEVICE_MEMORY: usize = 1 << 20;

impl Config {
    /// Errors: `Kind::Config` naming key, value and rule of the first value that is out of range.
    pub fn check(&self) -> Result<()> {
        self.check_data()?;
        self.check_training()?;
        self.check_rounds()?;
        self.stragglers.as_ref().map_or(Ok(()), |stragglers| self.check_stragglers(stragglers))?;
        self.attack.as_ref().map_or(Ok(()), check_attack)?;
        self.privacy.as_ref().map_or(Ok(()), check_privacy)?;
        self.plugins.iter().enumerate().try_for_each(|(i, plugin)| check_plugin(i, plugin))?;
        self.check_host()
    }

    fn check_data(&self) -> Result<()> {
        let (data, partition) = (&self.data, &self.partition);
        // TOML's integers are signed: a larger seed could not be stored with the results.
        rule("seed", self.seed, self.seed <= i64::MAX as u64, "at most 9223372036854775807")?;
        if let (Some(name), Some(path)) = (&data.name, &data.path) {
            return Err(wrong(format!(
                "config `data.name = \"{name}\"` and `data.path = \"{}\"`: give one of them",
                path.display()
            )));
        }
        let share = data.test_fraction;
        rule("data.test-fraction", share, share > 0.0 && share < 1.0, "above 0 and below 1")?;
        rule("partition.num-clients", partition.num_clients, partition.num_clients >= 1, "at least 1")?;
        let share = partition.test_fraction;
        rule("partition.test-fraction", share, (0.0..1.0).contains(&share), "at least 0 and below 1")?;
        rule("partition.seed", partition.seed, partition.seed <= i64::MAX as u64, "at most 9223372036854775807")?;
        self.check_model()
    }

    fn check_model(&self) -> Result<()> {
        let Some(hidden) = &self.model.hidden else { return Ok(()) };
        let name = match self.model.name {
            ModelName::Mlp => {
                let narrow = hidden.len() <= 64 && hidden.iter().all(|width| (1..=65_536).contains(width));
                return rule(
                    "model.hidden",
                    format!("{hidden:?}"),
                    narrow,
                    "a list of at most 64 widths from 1 to 65536",
                );
            }
            ModelName::Logistic => "logistic",
            ModelName::Cnn => "cnn",
            ModelName::CnnBn => "cnn-bn",
        };
        Err(wrong(format!(
            "config `model.hidden = {hidden:?}` and `model.name = \"{name}\"`: only an `mlp` has hidden layers to size; \
             leave `hidden` out, or use `mlp`"
        )))
    }

    fn check_training(&self) -> Result<()> {
        let train = &self.train;
        rule("train.batch-size", 0, train.batch_size != BatchSize::Rows(0), "a positive number or \"full\"")?;
        rule("train.learning-rate", train.learning_rate, positive(train.learning_rate), "a finite number above 0")?;
        rule("train.momentum", train.momentum, (0.0..1.0).contains(&train.momentum), "at least 0 and below 1")?;
        let decay = train.weight_decay;
        rule("train.weight-decay", decay, decay >= 0.0 && decay.is_finite(), "a finite number of at least 0")?;
        match train.local_steps {
            Some(steps) => rule("train.local-steps", steps, (1..=MAX_STEPS).contains(&steps), "from 1 to 1000000000"),
            None => {
                let epochs = train.local_epochs;
                rule("train.local-epochs", epochs, (1..=MAX_EPOCHS).contains(&epochs), "from 1 to 1000000")
            }
        }
    }

    fn check_rounds(&self) -> Result<()> {
        let (federation, evaluate) = (&self.federation, &self.evaluate);
        let rounds = federation.num_server_rounds;
        rule("federation.num-server-rounds", rounds, rounds <= MAX_ROUNDS, "at most 1000000000")?;
        let share = federation.fraction_train;
        rule("federation.fraction-train", share, share > 0.0 && share <= 1.0, "above 0 and at most 1")?;
        let rate = federation.server_learning_rate;
        rule("federation.server-learning-rate", rate, positive(rate), "a finite number above 0")?;
        let bound = federation.update_bound;
        rule(
            "federation.update-bound",
            bound,
            bound > 0.0 && bound <= MAX_UPDATE_BOUND,
            "above 0 and at most 1048576",
        )?;
        rule("evaluate.every", evaluate.every, evaluate.every >= 1, "at least 1")?;
        let share = evaluate.fraction_evaluate.unwrap_or(1.0);
        rule("evaluate.fraction-evaluate", share, share > 0.0 && share <= 1.0, "above 0 and at most 1")
    }

    fn check_stragglers(&self, stragglers: &Stragglers) -> Result<()> {
        let share = stragglers.share;
        rule("stragglers.share", share, (0.0..=1.0).contains(&share), "at least 0 and at most 1")?;
        let (key, length) = match self.train.local_steps {
            Some(steps) => ("local-steps", steps),
            None => ("local-epochs", self.train.local_epochs),
        };
        if share > 0.0 && stragglers.work == StragglerWork::Kept && length == 1 {
            return Err(wrong(format!(
                "config `stragglers.share = {share}` and `train.{key} = 1`: a straggler whose work is kept does at least one \
                 less than the others, and at least 1; use `{key}` of at least 2, or set `stragglers.work` to \"dropped\""
            )));
        }
        Ok(())
    }

    fn check_host(&self) -> Result<()> {
        let threads = self.host.threads;
        rule("host.threads", threads, threads <= MAX_THREADS, "at most 1024")?;
        let memory = self.host.update_memory;
        rule("host.update-memory", memory, memory <= MAX_UPDATE_MEMORY, "at most 16777216")?;
        let memory = self.host.state_memory;
        rule("host.state-memory", memory, memory <= MAX_STATE_MEMORY, "at most 1048576")?;
        for hash in &self.host.allow_native {
            rule("host.allow-native", format!("\"{hash}\""), is_blake3(hash), "the 64 hexadecimal digits of a BLAKE3")?;
        }
        let memory = self.host.device_memory;
        rule("host.device-memory", memory, (64..=MAX_DEVICE_MEMORY).contains(&memory), "from 64 to 1048576")?;
        DeviceChoice::parse(&self.host.device).map(drop)
    }
}

fn check_attack(attack: &Attack) -> Result<()> {
    match (attack.fraction, &attack.clients) {
        (Some(share), None) => rule("attack.fraction", share, (0.0..=1.0).contains(&share), "at least 0 and at most 1"),
        (None, Some(clients)) => {
            let distinct: BTreeSet<&u32> = clients.iter().collect();
            rule(
                "attack.clients",
                format!("{clients:?}"),
                distinct.len() == clients.len(),
                "a list without repetitions",
            )
        }
        (Some(share), Some(_)) => {
            Err(wrong(format!("config `attack.fraction = {share}` and `attack.clients`: give one of them")))
        }
        (None, None) => Err(wrong("config `[attack]`: neither `fraction` nor `clients`; say who is hostile".into())),
    }
}

fn check_privacy(privacy: &Privacy) -> Result<()> {
    let delta = privacy.delta;
    rule("privacy.delta", delta, delta > 0.0 && delta < 1.0, "above 0 and below 1")?;
    let budget = privacy.epsilon.unwrap_or(1.0);
    rule("privacy.epsilon", budget, positive(budget), "a finite number above 0")
}

fn check_plugin(index: usize, plugin: &Plugin) -> Result<()> {
    match (&plugin.name, &plugin.path) {
        (None, None) => {
            return Err(wrong(format!(
                "config `plugin[{index}]`: neither `name` nor `path`; name a shipped plugin or give the path of a file"
            )));
        }
        (Some(name), Some(path)) => {
            return Err(wrong(format!(
                "config `plugin[{index}]`: `name = \"{name}\"` and `path = \"{}\"`; give one of them",
                path.display()
            )));
        }
        _ => {}
    }
    match &plugin.blake3 {
        Some(hash) => {
            let key = format!("plugin[{index}].blake3");
            rule(&key, format!("\"{hash}\""), is_blake3(hash), "64 hexadecimal digits")
        }
        None => Ok(()),
    }
}

fn positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

fn is_blake3(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn rule(key: &str, value: impl Display, holds: bool, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(wrong(format!("config `{key} = {value}`: must be {rule}"))) }
}

fn wrong(message: String) -> anyhow::Error {
    Fault::new(Kind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), message: &str) {
        let mut config = Config::default();
        change(&mut config);
        let error = config.check().unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(exit_code(&error), 3);
    }

    #[test]
    fn the_defaults_pass() {
        Config::default().check().unwrap();
    }

    #[test]
    fn each_rule_names_key_value_and_range() {
        check(|c| c.seed = u64::MAX, "config `seed = 18446744073709551615`: must be at most 9223372036854775807");
        check(|c| c.data.test_fraction = 1.0, "config `data.test-fraction = 1`: must be above 0 and below 1");
        check(|c| c.partition.num_clients = 0, "config `partition.num-clients = 0`: must be at least 1");
        check(
            |c| c.partition.test_fraction = -0.1,
            "config `partition.test-fraction = -0.1`: must be at least 0 and below 1",
        );
        check(
            |c| c.model.hidden = Some(vec![8, 0]),
            "config `model.hidden = [8, 0]`: must be a list of at most 64 widths from 1 to 65536",
        );
        check(|c| c.train.learning_rate = 0.0, "config `train.learning-rate = 0`: must be a finite number above 0");
        check(
            |c| c.train.learning_rate = f64::NAN,
            "config `train.learning-rate = NaN`: must be a finite number above 0",
        );
        check(|c| c.train.momentum = 1.0, "config `train.momentum = 1`: must be at least 0 and below 1");
        check(
            |c| c.train.weight_decay = -1.0,
            "config `train.weight-decay = -1`: must be a finite number of at least 0",
        );
        check(|c| c.train.local_epochs = 0, "config `train.local-epochs = 0`: must be from 1 to 1000000");
        check(|c| c.train.local_steps = Some(0), "config `train.local-steps = 0`: must be from 1 to 1000000000");
        check(
            |c| c.federation.fraction_train = 1.5,
            "config `federation.fraction-train = 1.5`: must be above 0 and at most 1",
        );
        check(
            |c| c.federation.server_learning_rate = f64::INFINITY,
            "config `federation.server-learning-rate = inf`: must be a finite number above 0",
        );
        check(
            |c| c.federation.update_bound = 0.0,
            "config `federation.update-bound = 0`: must be above 0 and at most 1048576",
        );
        check(|c| c.evaluate.every = 0, "config `evaluate.every = 0`: must be at least 1");
        check(
            |c| c.evaluate.fraction_evaluate = Some(0.0),
            "config `evaluate.fraction-evaluate = 0`: must be above 0 and at most 1",
        );
    }

    #[test]
    fn hidden_layers_of_a_model_without_any_are_refused() {
        for (name, word) in [(ModelName::Logistic, "logistic"), (ModelName::Cnn, "cnn"), (ModelName::CnnBn, "cnn-bn")] {
            check(
                |c| (c.model.name, c.model.hidden) = (name, Some(vec![64])),
                &format!(
                    "config `model.hidden = [64]` and `model.name = \"{word}\"`: only an `mlp` has hidden layers to \
                     size; leave `hidden` out, or use `mlp`"
                ),
            );
        }
    }

    #[test]
    fn local_epochs_do_not_matter_beside_local_steps() {
        let mut config = Config::default();
        (config.train.local_epochs, config.train.local_steps) = (0, Some(3));
        config.check().unwrap();
    }

    #[test]
    fn data_and_plugins_have_one_source() {
        check(
            |c| (c.data.name, c.data.path) = (Some("optdigits".into()), Some("x.csv".into())),
            "config `data.name = \"optdigits\"` and `data.path = \"x.csv\"`: give one of them",
        );
        check(
            |c| c.plugins = vec![Plugin::default()],
            "config `plugin[0]`: neither `name` nor `path`; name a shipped plugin or give the path of a file",
        );
        check(
            |c| c.plugins = vec![Plugin { name: Some("a".into()), path: Some("a.wasm".into()), ..Plugin::default() }],
            "config `plugin[0]`: `name = \"a\"` and `path = \"a.wasm\"`; give one of them",
        );
        check(
            |c| c.plugins = vec![Plugin { name: Some("a".into()), blake3: Some("12".into()), ..Plugin::default() }],
            "config `plugin[0].blake3 = \"12\"`: must be 64 hexadecimal digits",
        );
    }

    #[test]
    fn a_device_has_a_known_name_and_enough_memory() {
        check(
            |c| c.host.device = "tpu".into(),
            "config `host.device = \"tpu\"`: unknown device; use `cpu`, `gpu` or `cuda`, the last two with an index if \
             there are several, such as `gpu:1`",
        );
        check(|c| c.host.device_memory = 63, "config `host.device-memory = 63`: must be from 64 to 1048576");
    }

    #[test]
    fn hostile_clients_are_given_in_one_way() {
        let attack =
            |fraction, clients: Option<&[u32]>| Some(Attack { fraction, clients: clients.map(<[u32]>::to_vec) });
        check(
            |c| c.attack = attack(Some(1.5), None),
            "config `attack.fraction = 1.5`: must be at least 0 and at most 1",
        );
        check(
            |c| c.attack = attack(None, Some(&[3, 1, 3])),
            "config `attack.clients = [3, 1, 3]`: must be a list without repetitions",
        );
        check(
            |c| c.attack = attack(Some(0.2), Some(&[3])),
            "config `attack.fraction = 0.2` and `attack.clients`: give one of them",
        );
        check(
            |c| c.attack = attack(None, None),
            "config `[attack]`: neither `fraction` nor `clients`; say who is hostile",
        );
    }

    #[test]
    fn stragglers_are_a_share_and_need_something_to_leave_out() {
        let late = |share, work| Some(Stragglers { share, work });
        check(
            |c| c.stragglers = late(1.5, StragglerWork::Kept),
            "config `stragglers.share = 1.5`: must be at least 0 and at most 1",
        );
        let one = |share, work| move |c: &mut Config| (c.train.local_epochs, c.stragglers) = (1, late(share, work));
        check(
            one(0.9, StragglerWork::Kept),
            "config `stragglers.share = 0.9` and `train.local-epochs = 1`: a straggler whose work is kept does at least \
             one less than the others, and at least 1; use `local-epochs` of at least 2, or set `stragglers.work` to \
             \"dropped\"",
        );
        check(
            |c| (c.train.local_steps, c.stragglers) = (Some(1), late(0.9, StragglerWork::Kept)),
            "config `stragglers.share = 0.9` and `train.local-steps = 1`: a straggler whose work is kept does at least \
             one less than the others, and at least 1; use `local-steps` of at least 2, or set `stragglers.work` to \
             \"dropped\"",
        );
        for (share, work) in [(0.0, StragglerWork::Kept), (0.9, StragglerWork::Dropped)] {
            let mut config = Config::default();
            one(share, work)(&mut config);
            config.check().unwrap();
        }
    }

    #[test]
    fn a_privacy_budget_is_a_positive_epsilon_and_delta_a_probability() {
        let privacy = |delta, epsilon| Some(Privacy { delta, epsilon, ..Privacy::default() });
        check(|c| c.privacy = privacy(0.0, None), "config `privacy.delta = 0`: must be above 0 and below 1");
        check(|c| c.privacy = privacy(1.0, None), "config `privacy.delta = 1`: must be above 0 and below 1");
        check(
            |c| c.privacy = privacy(1e-5, Some(0.0)),
            "config `privacy.epsilon = 0`: must be a finite number above 0",
        );
    }

    #[test]
    fn an_allowed_native_file_is_named_by_its_hash() {
        check(
            |c| c.host.allow_native = vec!["fedprox.so".into()],
            "config `host.allow-native = \"fedprox.so\"`: must be the 64 hexadecimal digits of a BLAKE3",
        );
    }
}
