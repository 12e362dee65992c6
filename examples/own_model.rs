//! Your own Burn module on your own data, with any plugin: cargo run --release --example own_model
//!
//! The data: points in the plane, class 1 inside a ring, class 0 elsewhere. The model: two layers with a tanh.
//! Nothing here is known to the host: it trains what implements `LocalModel` on what `Dataset::from_arrays` takes.

use anyhow::Result;
use colla::config::{self, Config, PartitionKind};
use colla::data::Dataset;
use colla::random::{Purpose, Stream};
use colla::record::{Observer, RoundRecord};
use colla::run::Experiment;
use colla::train::{BurnModel, LocalModel, burn};
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
struct RingNet {
    hidden: Linear,
    output: Linear,
}

impl RingNet {
    fn new(device: &Device) -> Self {
        RingNet { hidden: LinearConfig::new(2, 32).init(device), output: LinearConfig::new(32, 1).init(device) }
    }
}

impl LocalModel for RingNet {
    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        self.output.forward(self.hidden.forward(points).tanh())
    }
}

/// `n` points uniform in the square of side 2, with their classes.
fn ring(n: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut stream = Stream::new(seed, Purpose::TestSplit, 0, 0);
    let points: Vec<f32> = (0..2 * n).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect();
    let inside = |p: &[f32]| u32::from((0.16..0.64).contains(&(p[0] * p[0] + p[1] * p[1])));
    let classes = points.chunks_exact(2).map(inside).collect();
    (points, classes)
}

/// Prints every tenth round.
struct Console;

impl Observer for Console {
    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        if let (0, Some(accuracy)) = (record.round % 10, record.test_accuracy) {
            println!("round {:>2}: accuracy {accuracy:.3}", record.round);
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let data = Dataset::from_arrays("ring", vec![2], 2, ring(4_000, 1), ring(1_000, 2))?;
    let mut config = Config::default();
    config.partition.kind = PartitionKind::Dirichlet;
    config.partition.alpha = Some(1.0);
    config.partition.num_clients = 40;
    config.train.learning_rate = 0.5;
    config.plugins = vec![config::Plugin::shipped("fedprox"), config::Plugin::shipped("trimmed-mean")];
    Experiment::new(config, Arc::new(data), Arc::new(BurnModel::new(RingNet::new)?))?.run(&mut Console)
}
