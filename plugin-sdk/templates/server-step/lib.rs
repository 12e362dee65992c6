//! FedAdagrad, Algorithm 2 of Reddi et al. (arXiv:2003.00295) with β₁ = 0, and Δ the aggregate
//! update: v ← v + Δ², w ← w + η·Δ/(√v + τ). The host keeps v (`state` in the manifest).

use colla_plugin_sdk::{Parameters, Plugin, Result, ServerStep, Step, colla_plugin};

struct FedAdagrad {
    eta: f32,
    tau: f32,
}

impl Plugin for FedAdagrad {
    fn create(parameters: &Parameters) -> Result<Self> {
        let eta = parameters.f32("server-learning-rate")?;
        Ok(FedAdagrad {
            eta,
            tau: parameters.f32("tau")?,
        })
    }
}

impl ServerStep for FedAdagrad {
    fn step(&mut self, step: Step<'_>) -> Result<()> {
        step.map(|w, delta, [v]| {
            let v = v + delta * delta;
            (w + self.eta * delta / (v.sqrt() + self.tau), [v])
        })
    }
}

colla_plugin!(FedAdagrad: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn two_steps_are_the_hand_computed_ones() {
        let parameters = [("server-learning-rate", 2.0.into()), ("tau", 1.0.into())];
        let mut plugin = Testbed::<FedAdagrad>::new(&parameters);
        let mut v = vec![vec![0.0]];
        // v = 9, w = 1 + 2·3/(3 + 1) = 2.5; then v = 25, w = 2.5 - 2·4/(5 + 1).
        assert_eq!(plugin.step(&[1.0], &[3.0], &mut v).unwrap(), [2.5]);
        let second = plugin.step(&[2.5], &[-4.0], &mut v).unwrap();
        assert!(
            (second[0] - 7.0 / 6.0).abs() < 1e-6 && v == [[25.0]],
            "{second:?} {v:?}"
        );
    }
}
