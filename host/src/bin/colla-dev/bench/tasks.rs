//! The tasks, their files and the arithmetic that they ask for.
//!
//! What it never does: say how a task is trained; `examples/tasks/` does.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    T1,
    T1e5,
    T2,
    T2e5,
    T3,
    T4,
    T5,
}

/// Rows of the test set, all of which are evaluated after each round.
pub const EVALUATED: f64 = 10_000.0;

/// A layer as multiplications with additions: how often its weights are used for one sample, and how many they are.
struct Layer {
    positions: f64,
    weights: f64,
}

const fn layer(positions: usize, inputs: usize, outputs: usize) -> Layer {
    Layer { positions: positions as f64, weights: (inputs * outputs) as f64 }
}

const LOGISTIC: &[Layer] = &[layer(1, 784, 10)];
const TWO_NN: &[Layer] = &[layer(1, 784, 200), layer(1, 200, 200), layer(1, 200, 10)];
const CNN: &[Layer] =
    &[layer(28 * 28, 25, 32), layer(14 * 14, 25 * 32, 64), layer(1, 7 * 7 * 64, 512), layer(1, 512, 10)];

impl Task {
    /// Samples trained on in one round: clients of a round × samples of a client × local epochs.
    pub fn samples_per_round(self) -> f64 {
        match self {
            Task::T1 | Task::T2 | Task::T3 => 6_000.0,
            Task::T1e5 | Task::T2e5 => 30_000.0,
            Task::T4 => 10_000.0,
            Task::T5 => 600.0,
        }
    }

    fn layers(self) -> &'static [Layer] {
        match self {
            Task::T1 | Task::T1e5 => CNN,
            Task::T2 | Task::T2e5 => TWO_NN,
            Task::T3 | Task::T4 | Task::T5 => LOGISTIC,
        }
    }

    /// Floating-point operations of evaluating one sample: a multiplication and an addition for each use of a weight.
    /// Biases, activations, pooling and the loss are not counted.
    pub fn operations_of_evaluation(self) -> f64 {
        self.layers().iter().map(|layer| 2.0 * layer.positions * layer.weights).sum()
    }

    /// The same for a training step, per sample: forward, the gradient of the weights and, except in the first layer, the
    /// gradient of the input, each as much as the other; and what a direct algorithm takes, whatever is used.
    pub fn operations_of_training(self) -> f64 {
        let first = self.layers().first().map_or(0.0, |layer| 2.0 * layer.positions * layer.weights);
        3.0 * self.operations_of_evaluation() - first
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::T1 => "t1",
            Task::T1e5 => "t1e5",
            Task::T2 => "t2",
            Task::T2e5 => "t2e5",
            Task::T3 => "t3",
            Task::T4 => "t4",
            Task::T5 => "t5",
        })
    }
}
