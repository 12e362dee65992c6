//! FedYogi, Algorithm 2 of Reddi et al. (arXiv:2003.00295), with Δ the aggregate update:
//! m ← β₁m + (1 − β₁)Δ, v ← v − (1 − β₂)Δ²·sign(v − Δ²), w ← w + η·m / (√v + τ).
//!
//! So v falls no faster than it rises, where Adam's forgets at once what was large. Without bias correction, as in Flower,
//! which starts v at 0; the paper asks for τ² or more. In the first round from v = 0 it is FedAdam.
//! In `f32`, in the order written; 1 − β₁ and 1 − β₂ are rounded from `f64`, and the sign of 0 is 0.

use colla_plugin_sdk::{Parameters, Plugin, Result, ServerStep, Step, colla_plugin};

struct FedYogi {
    eta: f32,
    beta1: f64,
    beta2: f64,
    tau: f32,
}

impl Plugin for FedYogi {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedYogi {
            eta: parameters.f32("server-learning-rate")?,
            beta1: parameters.f64("beta1")?,
            beta2: parameters.f64("beta2")?,
            tau: parameters.f32("tau")?,
        })
    }
}

impl ServerStep for FedYogi {
    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let (beta1, rest1) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let rest2 = (1.0 - self.beta2) as f32;
        step.map(|w, delta, [m, v]| {
            let m = beta1 * m + rest1 * delta;
            let square = delta * delta;
            let change = rest2 * square;
            let v = if v > square {
                v - change
            } else if v < square {
                v + change
            } else {
                v
            };
            (w + self.eta * m / (v.sqrt() + self.tau), [m, v])
        })
    }
}

colla_plugin!(FedYogi: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::testing::Testbed;

    fn quarter() -> [(&'static str, Value); 4] {
        [("server-learning-rate", 0.5.into()), ("beta1", 0.5.into()), ("beta2", 0.75.into()), ("tau", 1.0.into())]
    }

    #[test]
    fn v_falls_rises_or_rests_by_a_share_of_the_squared_update() {
        let mut plugin = Testbed::<FedYogi>::new(&quarter());
        // Δ² = 16: v = 20 - 4 = 16, v = 5 + 4 = 9, v = 16. m = 0.5·2 + 0.5·4 = 3; w = 1 + 0.5·3/(√v + 1)
        let mut state = vec![vec![2.0; 3], vec![20.0, 5.0, 16.0]];
        let moved = plugin.step(&[1.0; 3], &[4.0; 3], &mut state).unwrap();
        assert_eq!(moved, [1.3, 1.375, 1.3]);
        assert_eq!(state, [[3.0; 3], [16.0, 9.0, 16.0]]);
    }

    #[test]
    fn v_is_never_negative() {
        let mut plugin = Testbed::<FedYogi>::new(&[("beta2", 0.0.into())]);
        let mut state = vec![vec![0.0; 64], vec![1e-6; 64]];
        for round in 0..50 {
            let update: Vec<f32> = (0..64).map(|i| ((i * 37 + round * 101) % 97) as f32 * 0.01 - 0.4).collect();
            plugin.step(&[0.0; 64], &update, &mut state).unwrap();
            assert!(state[1].iter().all(|&v| v >= 0.0), "{:?}", state[1]);
        }
    }

    #[test]
    fn the_first_step_from_zero_is_adams() {
        let mut state = vec![vec![0.0; 2], vec![0.0; 2]];
        Testbed::<FedYogi>::new(&quarter()).step(&[0.0; 2], &[3.0, -2.0], &mut state).unwrap();
        assert_eq!(state[1], [0.25 * 9.0, 0.25 * 4.0]);
    }
}
