//! What stays a client's own: an agent keeps it apart from the common model and from other clients.

use super::agent::Agent;
use super::{AgentSpec, ClientTask, DeviceEngine, Engine, RoundJob, SequentialEngine};
use crate::{
    client::{ClientId, ClientStates, SlotId},
    config::{self, ModelName},
    executor::Executor,
    plugin,
    stages::StageSpecs,
    strategy::{Roster, aggregate::Collect, client_slots::ClientPlugins, grid::Grid},
    train::{Accelerator, BatchOrder, LocalTask, TensorSet, Term, model_from_config},
};
use std::sync::Arc;

const NORMS: SlotId = SlotId { plugin: 0, slot: 0 };

/// Agents of a run with `fedbn`, and the weights before round 1, which no client's update changes here.
struct Setting {
    spec: AgentSpec,
    common: Vec<f32>,
    norms: TensorSet,
}

impl Setting {
    fn new() -> Self {
        let data = Arc::new(crate::data::load(&config::Data::default()).unwrap());
        let model = config::Model { name: ModelName::CnnBn, hidden: None, init: None };
        let model = model_from_config(&model, &data).unwrap();
        let common = model.initial_weights(1).unwrap();
        let plugins = ["fedbn", "fedavg"].map(|name| plugin::load(&config::Plugin::shipped(name), &[]).unwrap());
        let roster = Roster::new(plugins.to_vec(), 1, model.layout()).unwrap();
        let client_plugins = ClientPlugins::new(&roster, model.layout(), &common.clone().into()).unwrap();
        let norms = TensorSet::of_norms(model.layout());
        let spec = AgentSpec {
            model,
            data,
            stages: StageSpecs::default(),
            train: config::Train::default(),
            run_seed: 1,
            update_bound: 64.0,
            clients: Arc::new(ClientStates::default()),
            client_plugins,
            loss_before: true,
            update_norm2: false,
        };
        Setting { spec, common, norms }
    }

    fn job<'a>(&'a self, round: u64, tasks: &'a [ClientTask<'a>]) -> RoundJob<'a> {
        RoundJob {
            round,
            weights: &self.common,
            tasks,
            collect: Collect::Sum(Grid::new(2.0, 64.0).unwrap()),
            broadcasts: &[],
            broadcast_slots: &[],
            vector_grids: &[],
        }
    }

    /// Trains the client from the common weights; its update.
    fn train(&self, agent: &mut Agent, round: u64, client: u32) -> Vec<f32> {
        let rows = rows(client);
        let task = task(0, client, &rows);
        let job = self.job(round, std::slice::from_ref(&task));
        agent.begin_round(&job).unwrap();
        agent.client(&job, &task).unwrap();
        agent.take_sum().map(|sum| sum.mean(1.0)).unwrap()
    }

    /// What is kept of the client.
    fn kept(&self, client: u32) -> Vec<f32> {
        self.spec.clients.slot(NORMS, ClientId(client)).unwrap().unwrap()
    }
}

fn rows(client: u32) -> Vec<u32> {
    (0..30).map(|i| (client * 500 + i * 7) % 1000).collect()
}

/// Three steps.
fn task(slot: usize, client: u32, rows: &[u32]) -> ClientTask<'_> {
    ClientTask {
        slot,
        client: ClientId(client),
        rows,
        steps: 3,
        batch_size: 10,
        terms: Vec::new(),
        relabel: None,
        own_tensors: Some(NORMS),
        personal: Vec::new(),
        weight: 1.0,
        vector_weights: Vec::new(),
    }
}

#[test]
fn a_clients_normalisation_is_what_its_own_training_made_of_it_whoever_trains_in_between() {
    let (mixed, alone) = (Setting::new(), Setting::new());
    let mut agent = Agent::new(&mixed.spec).unwrap();
    for (round, client) in [(1, 0), (1, 1), (2, 1), (2, 0), (3, 1)] {
        mixed.train(&mut agent, round, client);
    }
    let mut agent = Agent::new(&alone.spec).unwrap();
    let first = alone.train(&mut agent, 1, 0);
    let after_first = alone.kept(0);
    let second = alone.train(&mut agent, 2, 0);
    assert_eq!(mixed.kept(0), alone.kept(0));
    assert_ne!(mixed.kept(0), mixed.kept(1));
    assert!(after_first != alone.kept(0) && first != second, "the second round goes on where the first ended");
    assert_eq!(alone.kept(0).len(), alone.norms.len());
}

#[test]
fn training_starts_from_the_clients_own_tensors_and_uploads_zeros_there() {
    let setting = Setting::new();
    let mut agent = Agent::new(&setting.spec).unwrap();
    let mut trainer = setting.spec.model.trainer(setting.spec.data.clone()).unwrap();
    let (mut start, rows) = (setting.common.clone(), rows(0));
    for round in 1..=2 {
        let update = setting.train(&mut agent, round, 0);
        let terms: &[Term<&[f32]>] = &[];
        let task = LocalTask {
            start: &start,
            rows: &rows,
            steps: 3,
            batch_size: 10,
            learning_rate: setting.spec.train.learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
            terms,
            relabel: None,
            order: BatchOrder { seed: 1, round, client: 0, phase: 0, steps_before: None, shuffle: true },
        };
        let mut local = vec![0.0; start.len()];
        trainer.train(&task, &mut local).unwrap();
        assert_eq!(setting.kept(0), setting.norms.take(&local), "round {round}");
        assert!(setting.norms.take(&update).iter().all(|x| *x == 0.0), "round {round}");
        // Everywhere else it is the local weights less the received ones, which the grid rounds.
        setting.norms.copy(&setting.common, &mut local);
        let apart =
            local.iter().zip(&setting.common).zip(&update).map(|((local, w), update)| (local - w - update).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "round {round}");
        assert!(update.iter().filter(|x| **x != 0.0).count() > start.len() / 2, "round {round}");
        setting.norms.put(&setting.kept(0), &mut start);
    }
}

#[test]
fn on_a_device_too_each_client_trains_from_its_own_tensors() {
    let (ours, theirs) = (Setting::new(), Setting::new());
    let trainer = ours.spec.model.stack_trainer(ours.spec.data.clone(), &Accelerator::processor(64)).unwrap();
    let mut device = DeviceEngine::new(&ours.spec, Arc::new(Executor::new(1).unwrap()), trainer).unwrap();
    let mut sequential = SequentialEngine::new(&theirs.spec).unwrap();
    let rows = [rows(0), rows(1)];
    let tasks = [task(0, 0, &rows[0]), task(1, 1, &rows[1])];
    for round in 1..=2 {
        device.round(&ours.job(round, &tasks), &mut |_| {}).unwrap();
        sequential.round(&theirs.job(round, &tasks), &mut |_| {}).unwrap();
        for client in [0, 1] {
            let apart =
                ours.kept(client).iter().zip(theirs.kept(client)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4, "round {round}, client {client}: {apart}");
        }
        let apart = ours.kept(0).iter().zip(ours.kept(1)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 1e-2, "round {round}: {apart}");
    }
}
