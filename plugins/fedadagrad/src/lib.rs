//! FedAdagrad, Algorithm 2 of Reddi et al. (arXiv:2003.00295), with Δ the aggregate update:
//! m ← β₁m + (1 − β₁)Δ, v ← v + Δ², w ← w + η·m / (√v + τ).
//!
//! As in the paper's experiments and in Flower, β₁ is 0 by default. Flower starts v at 0; the paper asks for τ² or more.
//! In `f32`, in the order written; 1 − β₁ is rounded from `f64`.

use colla_plugin_sdk::{Parameters, Plugin, Result, ServerStep, Step, colla_plugin};

struct FedAdagrad {
    eta: f32,
    beta1: f64,
    tau: f32,
}

impl Plugin for FedAdagrad {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedAdagrad {
            eta: parameters.f32("server-learning-rate")?,
            beta1: parameters.f64("beta1")?,
            tau: parameters.f32("tau")?,
        })
    }
}

impl ServerStep for FedAdagrad {
    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let (beta1, rest1) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        step.map(|w, delta, [m, v]| {
            let m = beta1 * m + rest1 * delta;
            let v = v + delta * delta;
            (w + self.eta * m / (v.sqrt() + self.tau), [m, v])
        })
    }
}

colla_plugin!(FedAdagrad: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn a_step_is_the_hand_computed_one() {
        let half = [("server-learning-rate", 0.5.into()), ("beta1", 0.5.into()), ("tau", 1.0.into())];
        let mut state = vec![vec![2.0], vec![9.0]];
        // m = 0.5·2 + 0.5·4 = 3; v = 9 + 16 = 25; w = 1 + 0.5·3/(5 + 1)
        assert_eq!(Testbed::<FedAdagrad>::new(&half).step(&[1.0], &[4.0], &mut state).unwrap(), [1.25]);
        assert_eq!(state, [[3.0], [25.0]]);
    }

    #[test]
    fn equal_updates_move_less_and_less() {
        let parameters = [("server-learning-rate", 1.0.into()), ("tau", 1e-30.into())];
        let mut plugin = Testbed::<FedAdagrad>::new(&parameters);
        let mut state = vec![vec![0.0], vec![0.0]];
        // After t updates of -2 the root of v is 2·√t.
        for t in 1..=5 {
            let moved = plugin.step(&[0.0], &[-2.0], &mut state).unwrap()[0];
            assert!((moved + 1.0 / (t as f32).sqrt()).abs() < 1e-6, "{moved} in round {t}");
        }
    }
}
