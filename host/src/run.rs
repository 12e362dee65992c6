//! The round loop: the only file that knows the order of things.

mod experiment;
mod tasks;

pub use experiment::Experiment;

use crate::{
    client::{
        self, ClientId, ClientStates,
        stragglers::{self, Late},
    },
    config::{self, ClientEvaluation, Config, DeviceChoice},
    evaluate::{self, Whose},
    executor::Executor,
    partition::{self, Partition},
    plugin::{AttackedPart, Need, Origin, Plugin},
    record::{Observer, Outcome, PluginRecord, RoundRecord, RunInfo, Spread},
    schedule::{AgentSpec, ClientReport, DeviceEngine, Engine, RoundJob, SequentialEngine, ThreadedEngine},
    stages::Downlink,
    strategy::{
        Roster,
        aggregate::{Aggregator, Arrived, Settings},
        attack::Attack,
        client_slots::ClientPlugins,
        facts::{ClientRow, RoundFacts},
        grid::Grid,
        hostile::Hostile,
        kept::Storage,
        ledger::Accounting,
        local::Trainee,
        post::Posts,
        rehearsal::{refused_number, rehearse, rehearse_attack, rehearse_bound, rehearse_choice},
        select::Selector,
        server_step::ServerStep,
        vectors::VectorRule,
    },
    train::Accelerator,
    wire,
};
use anyhow::Result;
use colla_plugin_sdk::Map;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tasks::{Circumstances, batch_size, client_state, plan, planned, root_rows, root_task, trained, weighted};

/// Above this many clients the report shows no partition heat map.
const MAX_CLIENTS_SHOWN: usize = 5_000;

/// What lives as long as a run.
struct Run<'a> {
    experiment: &'a Experiment,
    config: &'a Config,
    partition: Partition,
    executor: Arc<Executor>,
    engine: Box<dyn Engine>,
    /// What trains, for records.
    kernel: String,
    accelerator: Option<Accelerator>,
    roster: Roster,
    hostile: Option<Hostile>,
    selector: Option<Selector>,
    downlink: Option<Downlink>,
    aggregator: Aggregator,
    vectors: Option<VectorRule>,
    posts: Posts,
    server_step: ServerStep,
    /// What the noise costs; `None` without noise.
    accounting: Option<Accounting>,
    /// What to know before the run is believed.
    notes: Vec<String>,
    /// Rows of the training set that the server holds itself.
    root_rows: Vec<u32>,
    weights: Vec<f32>,
    client_accuracy: Vec<(ClientId, f64)>,
    /// The same rows by clients' personal models, where a plugin keeps any.
    personal_accuracy: Vec<(ClientId, f64)>,
    has_personal: bool,
    clients_trained: u64,
    train_seconds: f64,
}

impl<'a> Run<'a> {
    fn new(experiment: &'a Experiment) -> Result<Self> {
        let Experiment { config, data, model, plugins, scratch } = experiment;
        let layout = model.layout();
        let partition = partition::load_or_create(&config.partition, data)?;
        let executor = Arc::new(Executor::new(config.host.threads)?);
        let mut roster = Roster::new(plugins.clone(), config.seed, layout)?;
        let num_clients = partition.train.num_clients();
        let first = RoundFacts {
            round: 1,
            cohort: client::largest_cohort(&config.federation, num_clients),
            num_clients,
            expected_cohort: client::expected_cohort(&config.federation, num_clients),
            poisson: config.federation.sampling == config::Sampling::Poisson,
        };
        roster.check_norm_bound(&first, layout)?;
        let initial: Arc<[f32]> = model.initial_weights(config.seed)?.into();
        let stages = roster.stages(&initial);
        let downlink = |spec| Downlink::new(spec, config.seed, layout, &initial);
        let downlink = stages.downlink.as_ref().map(downlink).transpose()?;
        let notes = stages.notes(config.seed, layout);
        let client_plugins = ClientPlugins::new(&roster, layout, &initial)?;
        let state_memory = (config.host.state_memory as u64) << 20;
        client_state(config, &roster, &client_plugins, num_clients, layout.len()).check(state_memory)?;
        let has_personal = client_plugins.personal.is_some();
        let spec = AgentSpec {
            model: model.clone(),
            data: data.clone(),
            stages,
            train: config.train.clone(),
            run_seed: config.seed,
            update_bound: config.federation.update_bound,
            clients: Arc::new(ClientStates::new(state_memory, scratch.clone())),
            client_plugins,
            loss_before: roster.needs(Need::LossBefore),
            update_norm2: roster.needs(Need::UpdateNorm2),
        };
        let accelerator = Accelerator::open(DeviceChoice::parse(&config.host.device)?, config.host.device_memory)?;
        let mut kernel = model.kernel();
        // One thread needs no queue: the obvious engine then runs for real, and the others are held to it.
        let engine: Box<dyn Engine> = match (&accelerator, executor.threads()) {
            (Some(accelerator), _) => {
                let trainer = model.stack_trainer(data.clone(), accelerator)?;
                let largest = batch_size(&config.train, partition.train.sizes().max().unwrap_or(0));
                // What does not fit is refused before the first round rather than in it.
                trainer.capacity(largest, false)?;
                kernel = trainer.kernel();
                Box::new(DeviceEngine::new(&spec, executor.clone(), trainer)?)
            }
            (None, 1) => Box::new(SequentialEngine::new(&spec)?),
            (None, _) => Box::new(ThreadedEngine::new(&spec, executor.clone())?),
        };
        let hostile = Hostile::new(&roster, config.attack.as_ref(), num_clients, config.seed)?;
        let replaces = |hostile: &&Hostile| hostile.attacks(AttackedPart::Updates);
        let attack = hostile.as_ref().filter(replaces).map(|hostile| Attack::new(hostile.clone(), config.seed, layout));
        let settings = Settings {
            storage: Storage { memory_bytes: (config.host.update_memory as u64) << 20, folder: scratch.clone() },
            has_root: config.federation.root_rows > 0,
            keep: false,
            update_norm2: spec.update_norm2,
        };
        let aggregator = Aggregator::new(&roster, config.seed, layout, attack, settings);
        aggregator.check_room(first.cohort)?;
        if !first.poisson {
            let arriving = stragglers::arriving(config.stragglers.as_ref(), first.cohort);
            rehearse(plugins, config.seed, layout, &first, arriving, config.federation.root_rows > 0)?;
        }
        rehearse_choice(plugins, config.seed, layout, &config.federation, partition.train.sizes())?;
        rehearse_bound(plugins, config.seed, layout, &first)?;
        let misleads = |hostile: &&Hostile| hostile.attacks(AttackedPart::Training);
        let misled = hostile.as_ref().filter(misleads).and_then(|hostile| Some((hostile, hostile.clients().next()?)));
        if let Some((hostile, client)) = misled {
            let num_examples = partition.train.client(client.index()).len();
            let trainee = Trainee { round: 1, client, num_examples, num_classes: data.num_classes };
            rehearse_attack(plugins, config.seed, layout, &first, hostile, trainee)?;
        }
        Ok(Run {
            engine,
            kernel,
            accelerator,
            selector: Selector::new(&mut roster, &config.federation, partition.train.sizes())?,
            downlink,
            aggregator,
            notes,
            accounting: Accounting::of(plugins, config, num_clients),
            posts: Posts::new(&roster, config.seed, layout, &initial)?,
            root_rows: root_rows(config, data.train.len())?,
            vectors: VectorRule::new(&roster),
            server_step: ServerStep::new(
                &roster,
                config.seed,
                config.federation.server_learning_rate,
                layout,
                &initial,
            )?,
            weights: initial.to_vec(),
            experiment,
            config,
            partition,
            executor,
            roster,
            hostile,
            client_accuracy: Vec::new(),
            personal_accuracy: Vec::new(),
            has_personal,
            clients_trained: 0,
            train_seconds: 0.0,
        })
    }

    /// Round 0: the evaluation before training.
    fn before_training(&mut self) -> Result<RoundRecord> {
        let start = Instant::now();
        let mut record = RoundRecord { unix_time: unix_time(), ..RoundRecord::default() };
        self.account(0, &mut record)?;
        self.evaluate(0, &mut record)?;
        record.seconds = start.elapsed().as_secs_f64();
        Ok(record)
    }

    /// FedAvg's Algorithm 1 with every step a plugin's: sample, train, aggregate, step, evaluate.
    fn round(&mut self, round: u64, observer: &mut dyn Observer) -> Result<RoundRecord> {
        let start = Instant::now();
        let asked = self.cohort(round)?;
        let facts = self.facts(round, asked.len());
        self.roster.begin(&facts)?;
        let late = Late::draw(self.config.stragglers.as_ref(), self.config.seed, round, &asked);
        let cohort = late.arriving(&asked);
        let circumstances = Circumstances {
            config: self.config,
            partition: &self.partition,
            num_classes: self.experiment.data.num_classes,
            hostile: self.hostile.as_ref(),
            round,
        };
        let tasks = plan(&circumstances, &mut self.roster, &cohort, &late)?;
        let clients: Vec<ClientRow> = tasks.iter().map(|task| planned(task, self.config.train.learning_rate)).collect();
        let tried = !facts.poisson && asked.len() == client::largest_cohort(&self.config.federation, facts.num_clients);
        let named = |error| if tried { error } else { refused_number(error, &facts, cohort.len()) };
        let weights = self.aggregator.weigh(&mut self.roster, round, &clients).map_err(named)?;
        let bound = self.config.federation.update_bound;
        let vector_weights = match &mut self.vectors {
            Some(rule) => rule.weigh(&mut self.roster, round, &clients, bound)?,
            None => Vec::new(),
        };
        let mut tasks = weighted(tasks, &weights, &vector_weights);
        if self.aggregator.wants_root() {
            tasks.push(root_task(self.config, &self.root_rows, cohort.len()));
        }
        let vector_grids: Vec<Grid> = vector_weights.iter().map(|vector| vector.grid).collect();
        let broadcasts: Vec<Map> = self.roster.members.iter().map(|m| m.broadcast.clone()).collect();
        let sent = match &mut self.downlink {
            Some(downlink) => downlink.send(round, &self.weights, &broadcasts)?,
            None => &self.weights,
        };
        let job = RoundJob {
            round,
            weights: sent,
            tasks: &tasks,
            collect: self.aggregator.collect(&self.roster, round, &weights, bound)?,
            broadcasts: &broadcasts,
            broadcast_slots: &self.server_step.broadcast(),
            vector_grids: &vector_grids,
        };
        let mut received = self.engine.round(&job, &mut |done| observer.clients(round, done, tasks.len()))?;
        received.warnings.iter().for_each(|line| observer.warning(line));
        let train_seconds = start.elapsed().as_secs_f64();
        // The server's own client is no member of the cohort.
        received.reports.truncate(cohort.len());
        let clients = trained(clients, &received.reports);
        let arrived = Arrived { facts: &facts, cohort: &cohort, clients, weights, sum: received.sum };
        let (roster, len) = (&mut self.roster, self.weights.len());
        let mut aggregated = self.aggregator.finish(roster, &self.executor, arrived).map_err(named)?;
        self.posts.apply(roster, &mut aggregated, &facts)?;
        let vectors = match &self.vectors {
            Some(rule) => rule.sums(&vector_weights, &received.vector_sums, len)?,
            None => Vec::new(),
        };
        self.weights = self.server_step.apply(roster, &self.weights, &aggregated, &vectors, &facts, cohort.len())?;
        self.aggregator.remember(aggregated.update);

        let mut record = self.record(round, train_seconds, &received.reports, &asked);
        record.stragglers = self.config.stragglers.map(|_| late.count() as u64);
        record.attackers = self.hostile.as_ref().map(|hostile| hostile.count(&cohort) as u64);
        if let Some(selector) = &mut self.selector {
            selector.remember(round, received.reports.iter().map(|report| (report.client, report.local.loss)));
        }
        record.plugin = self.roster.end(round, &round_summary(&record, asked.len(), &received.reports))?;
        self.account(round, &mut record)?;
        self.evaluate(round, &mut record)?;
        record.seconds = start.elapsed().as_secs_f64();
        self.clients_trained += record.clients;
        self.train_seconds += train_seconds;
        Ok(record)
    }

    fn facts(&self, round: u64, cohort: usize) -> RoundFacts {
        let (federation, num_clients) = (&self.config.federation, self.partition.train.num_clients());
        let poisson = federation.sampling == config::Sampling::Poisson;
        let expected_cohort = if poisson { federation.fraction_train * num_clients as f64 } else { cohort as f64 };
        RoundFacts { round, cohort, num_clients, expected_cohort, poisson }
    }

    /// The clients that train: those that a plugin selects, or the sampled ones that hold rows to train on.
    fn cohort(&mut self, round: u64) -> Result<Vec<ClientId>> {
        if let Some(selector) = &mut self.selector {
            return selector.choose(&mut self.roster, round);
        }
        Ok(sampled(self.config, &self.partition, round))
    }

    /// Records what the rounds so far have cost, `round` being the last of them, and foresees the next one.
    fn account(&mut self, round: u64, record: &mut RoundRecord) -> Result<()> {
        let Some(Accounting::Tracked(ledger)) = &mut self.accounting else { return Ok(()) };
        if round > 0 {
            ledger.spend();
        }
        record.epsilon = Some(ledger.epsilon());
        if round < self.config.federation.num_server_rounds as u64 {
            ledger.foresee(&sampled(self.config, &self.partition, round + 1))?;
        }
        Ok(())
    }

    /// Errors: `Kind::Budget` where the next round would exceed the privacy budget.
    fn check_budget(&self) -> Result<()> {
        match &self.accounting {
            Some(Accounting::Tracked(ledger)) => ledger.check(),
            _ => Ok(()),
        }
    }

    /// Bytes that the clients received that were asked to train: the weights, and what plugins broadcast.
    fn download_bytes(&mut self, asked: &[ClientId]) -> u64 {
        let (clients, plain) = (asked.len() as u64, wire::plain_bytes(self.weights.len()));
        let weights: u64 = match &mut self.downlink {
            Some(downlink) => asked.iter().map(|&client| downlink.charge(client)).sum(),
            None => plain * clients,
        };
        let slots = self.server_step.broadcast().len() as u64;
        weights + (slots * plain + self.roster.broadcast_bytes()) * clients
    }

    fn record(&mut self, round: u64, train_seconds: f64, reports: &[ClientReport], asked: &[ClientId]) -> RoundRecord {
        let examples: u64 = reports.iter().map(|r| r.local.examples).sum();
        let loss: f64 = reports.iter().map(|r| r.local.loss * r.local.examples as f64).sum();
        RoundRecord {
            round,
            unix_time: unix_time(),
            train_seconds,
            train_loss: (examples > 0).then(|| loss / examples as f64),
            clients: reports.len() as u64,
            upload_bytes: reports.iter().map(|r| r.upload_bytes).sum(),
            download_bytes: self.download_bytes(asked),
            ..RoundRecord::default()
        }
    }

    fn evaluate(&mut self, round: u64, record: &mut RoundRecord) -> Result<()> {
        let start = Instant::now();
        let config = &self.config.evaluate;
        let last = round == self.config.federation.num_server_rounds as u64 || self.check_budget().is_err();
        let engine = self.engine.as_mut();
        if last || round.is_multiple_of(config.every as u64) {
            let test_rows = self.experiment.data.test.len();
            if let Some((loss, accuracy)) = evaluate::central(engine, &self.weights, test_rows)? {
                (record.test_loss, record.test_accuracy) = (Some(loss), Some(accuracy));
            }
        }
        let on_clients = match config.clients {
            ClientEvaluation::Never => false,
            ClientEvaluation::Last => last,
            ClientEvaluation::Always => true,
        };
        if on_clients {
            let num_clients = self.partition.train.num_clients();
            let share = config.fraction_evaluate.unwrap_or(1.0);
            let ids = client::sample_for_evaluation(share, self.config.seed, round, num_clients);
            let mut measure = |whose| evaluate::on_clients(engine, &self.weights, whose, &self.partition, &ids);
            self.client_accuracy = measure(Whose::Common)?;
            record.client_accuracy = spread(&self.client_accuracy);
            if self.has_personal {
                self.personal_accuracy = measure(Whose::Personal)?;
                record.personal_accuracy = spread(&self.personal_accuracy);
            }
        }
        record.evaluate_seconds = start.elapsed().as_secs_f64();
        Ok(())
    }

    fn info(&self) -> RunInfo {
        let num_clients = self.partition.train.num_clients();
        RunInfo {
            config: self.config.clone(),
            data: self.experiment.data.name.clone(),
            model: self.experiment.model.name(),
            num_weights: self.weights.len(),
            num_clients,
            rounds: self.config.federation.num_server_rounds as u64,
            threads: self.executor.threads(),
            device: self.accelerator.as_ref().map(|accelerator| accelerator.name().to_owned()),
            plugins: self.roster.members.iter().map(|m| plugin_record(&m.plugin)).collect(),
            privacy: self.accounting.as_ref().map(|accounting| accounting.terms().clone()),
            notes: self.notes.clone(),
            class_counts: match num_clients {
                0..=MAX_CLIENTS_SHOWN => self.partition.class_counts(&self.experiment.data),
                _ => Vec::new(),
            },
        }
    }

    fn into_outcome(self, complete: bool) -> Outcome {
        Outcome {
            complete,
            layout: self.experiment.model.layout().clone(),
            weights: self.weights,
            client_accuracy: by_number(&self.client_accuracy),
            personal_accuracy: by_number(&self.personal_accuracy),
            client_rows: evaluate::own_rows(&self.partition),
            clients_trained: self.clients_trained,
            train_seconds: self.train_seconds,
            kernel: self.kernel,
        }
    }
}

/// The cohort that no plugin selects: those of the drawn clients that hold rows to train on.
fn sampled(config: &Config, partition: &Partition, round: u64) -> Vec<ClientId> {
    let rows = &partition.train;
    let mut cohort = client::sample(&config.federation, config.seed, round, rows.num_clients());
    cohort.retain(|client| !rows.client(client.index()).is_empty());
    cohort
}

fn spread(accuracy: &[(ClientId, f64)]) -> Option<Spread> {
    evaluate::spread(&accuracy.iter().map(|(_, accuracy)| *accuracy).collect::<Vec<f64>>())
}

fn by_number(accuracy: &[(ClientId, f64)]) -> Vec<(u64, f64)> {
    accuracy.iter().map(|&(id, accuracy)| (id.0.into(), accuracy)).collect()
}

/// What ROUND_END tells every plugin. `asked`: how many clients were asked to train.
fn round_summary(record: &RoundRecord, asked: usize, reports: &[ClientReport]) -> Map {
    Map::new()
        .with("round", record.round as i64)
        .with("cohort", asked as i64)
        .with("num_examples", reports.iter().map(|r| r.num_examples as i64).sum::<i64>())
        .with("train_loss", record.train_loss.unwrap_or(0.0))
}

fn plugin_record(plugin: &Plugin) -> PluginRecord {
    let manifest = plugin.manifest();
    let source = match plugin.origin() {
        Origin::Shipped { asked_for_file: false } => "shipped".into(),
        Origin::Shipped { asked_for_file: true } => "shipped, for want of a file of that name".into(),
        Origin::File(path) => path.display().to_string(),
    };
    PluginRecord {
        source,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        form: plugin.form().to_string(),
        blake3: plugin.blake3().to_string(),
        kinds: manifest.kinds.clone(),
        parameters: plugin.parameters_json().clone(),
    }
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
