//! FedMom, Nesterov momentum on the server (Huo et al., arXiv:2002.02090). The paper keeps two points,
//! v ← w + ηΔ and w ← v + β(v − v_before), with Δ the aggregate update and v = w at the start.
//!
//! The host starts a state slot from a number, not from the weights, so the slot here is the velocity m = v − v_before.
//! With w − v_before = βm before the step, m ← βm + ηΔ and w ← w + ηΔ + βm: the same points, which the test below holds
//! it to. FedAvgM, which is shipped, steps to w + ηm instead and looks no step ahead.

use colla_plugin_sdk::{Parameters, Plugin, Result, ServerStep, Step, colla_plugin};

struct FedMom {
    eta: f32,
    beta: f32,
}

impl Plugin for FedMom {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedMom { eta: parameters.f32("server-learning-rate")?, beta: parameters.f32("momentum")? })
    }
}

impl ServerStep for FedMom {
    fn step(&mut self, step: Step<'_>) -> Result<()> {
        step.map(|w, delta, [m]| {
            let m = self.beta * m + self.eta * delta;
            (w + self.eta * delta + self.beta * m, [m])
        })
    }
}

colla_plugin!(FedMom: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn two_rounds_look_ahead_as_computed_by_hand() {
        let mut plugin = Testbed::<FedMom>::new(&[("server-learning-rate", 0.5.into()), ("momentum", 0.5.into())]);
        let mut velocity = vec![vec![0.0, 0.0]];
        // m = 0.5·(2, -4) = (1, -2); w = (1, 1) + (1, -2) + 0.5·(1, -2).
        assert_eq!(plugin.step(&[1.0, 1.0], &[2.0, -4.0], &mut velocity).unwrap(), [2.5, -2.0]);
        // m = 0.5·(1, -2) + 0.5·(1, 1) = (1, -0.5); w = (2.5, -2) + (0.5, 0.5) + 0.5·(1, -0.5).
        assert_eq!(plugin.step(&[2.5, -2.0], &[1.0, 1.0], &mut velocity).unwrap(), [3.5, -1.75]);
        assert_eq!(velocity, [[1.0, -0.5]]);
    }

    #[test]
    fn many_rounds_give_the_points_of_the_paper() {
        let (eta, beta) = (0.75f64, 0.875f64);
        let mut plugin = Testbed::<FedMom>::new(&[("server-learning-rate", eta.into()), ("momentum", beta.into())]);
        let (mut weights, mut velocity) = (vec![0.25f32], vec![vec![0.0f32]]);
        let (mut w, mut v) = (0.25f64, 0.25f64);
        for round in 0..50 {
            let delta = f64::from(round * 37 % 19 - 9) / 16.0;
            weights = plugin.step(&weights, &[delta as f32], &mut velocity).unwrap();
            let next = w + eta * delta;
            (w, v) = (next + beta * (next - v), next);
            assert!((f64::from(weights[0]) - w).abs() < 1e-5, "round {round}: {} instead of {w}", weights[0]);
        }
    }

    #[test]
    fn without_momentum_and_with_rate_one_it_is_fedavg() {
        let mut plugin = Testbed::<FedMom>::new(&[("momentum", 0.0.into())]);
        let (weights, update): (Vec<f32>, Vec<f32>) = (0..77).map(|i| (i as f32 * 0.3, 1.0 - i as f32 * 0.7)).unzip();
        let expected: Vec<f32> = weights.iter().zip(&update).map(|(w, delta)| w + delta).collect();
        assert_eq!(plugin.step(&weights, &update, &mut [vec![5.0; 77]]).unwrap(), expected);
    }
}
