//! FedAvgM, section 4.3 of Hsu, Qi and Brown (arXiv:1909.06335): v ← βv + Δ, w ← w + ηv, with Δ the aggregate update.
//! (The paper writes Δ = w − mean of the clients' weights and subtracts; updates here point from old to new weights.)

use colla_plugin_sdk::{Parameters, Plugin, Result, ServerStep, Step, colla_plugin};

struct FedAvgM {
    eta: f32,
    beta: f32,
}

impl Plugin for FedAvgM {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedAvgM { eta: parameters.f32("server-learning-rate")?, beta: parameters.f32("momentum")? })
    }
}

impl ServerStep for FedAvgM {
    fn step(&mut self, step: Step<'_>) -> Result<()> {
        step.map(|w, delta, [v]| {
            let v = self.beta * v + delta;
            (w + self.eta * v, [v])
        })
    }
}

colla_plugin!(FedAvgM: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn two_rounds_accumulate_momentum_as_computed_by_hand() {
        let mut plugin = Testbed::<FedAvgM>::new(&[("server-learning-rate", 0.5.into()), ("momentum", 0.5.into())]);
        let mut momentum = vec![vec![0.0, 0.0]];
        // v = (2, -4); w = (1, 1) + 0.5·(2, -4)
        assert_eq!(plugin.step(&[1.0, 1.0], &[2.0, -4.0], &mut momentum).unwrap(), [2.0, -1.0]);
        // v = 0.5·(2, -4) + (1, 1) = (2, -1); w = (2, -1) + 0.5·(2, -1)
        assert_eq!(plugin.step(&[2.0, -1.0], &[1.0, 1.0], &mut momentum).unwrap(), [3.0, -1.5]);
        assert_eq!(momentum, [[2.0, -1.0]]);
    }

    #[test]
    fn without_momentum_and_with_rate_one_it_is_fedavg() {
        let mut plugin = Testbed::<FedAvgM>::new(&[("momentum", 0.0.into())]);
        let (weights, update): (Vec<f32>, Vec<f32>) = (0..77).map(|i| (i as f32 * 0.3, 1.0 - i as f32 * 0.7)).unzip();
        let expected: Vec<f32> = weights.iter().zip(&update).map(|(w, delta)| w + delta).collect();
        assert_eq!(plugin.step(&weights, &update, &mut [vec![5.0; 77]]).unwrap(), expected);
    }
}
