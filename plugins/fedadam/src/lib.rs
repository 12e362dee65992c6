//! FedAdam, Algorithm 2 of Reddi et al. (arXiv:2003.00295), with Δ the aggregate update:
//! m ← β₁m + (1 − β₁)Δ, v ← β₂v + (1 − β₂)Δ², w ← w + η·m / (√v + τ).

use colla_plugin_sdk::math::libm;
use colla_plugin_sdk::{Error, Parameters, Plugin, Result, ServerStep, Step, StepBegin, colla_plugin};

struct FedAdam {
    eta: f64,
    beta1: f64,
    beta2: f64,
    tau: f32,
    bias_correction: bool,
    /// η of this round, known from its begin on.
    rate: Option<f32>,
}

impl Plugin for FedAdam {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedAdam {
            eta: parameters.f64("server-learning-rate")?,
            beta1: parameters.f64("beta1")?,
            beta2: parameters.f64("beta2")?,
            tau: parameters.f32("tau")?,
            bias_correction: parameters.bool("bias-correction")?,
            rate: None,
        })
    }
}

impl ServerStep for FedAdam {
    fn begin(&mut self, step: &StepBegin) -> Result<()> {
        let t = step.round as f64;
        // Flower's form (Kingma and Ba's α_t): its exponent is t + 1 with t from 1 on.
        let correction = |beta: f64| 1.0 - libm::pow(beta, t + 1.0);
        let factor = if self.bias_correction { correction(self.beta2).sqrt() / correction(self.beta1) } else { 1.0 };
        self.rate = Some((self.eta * factor) as f32);
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let eta = self.rate.ok_or_else(|| Error::state("the round has not begun: STEP came before STEP_BEGIN"))?;
        let (beta1, rest1) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let (beta2, rest2) = (self.beta2 as f32, (1.0 - self.beta2) as f32);
        step.map(|w, delta, [m, v]| {
            let m = beta1 * m + rest1 * delta;
            let v = beta2 * v + rest2 * delta * delta;
            (w + eta * m / (v.sqrt() + self.tau), [m, v])
        })
    }
}

colla_plugin!(FedAdam: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, Value, abi::op, abi::status};

    fn begun(parameters: &[(&str, Value)], round: u32) -> Testbed<FedAdam> {
        let mut plugin = Testbed::<FedAdam>::new(parameters);
        plugin.step_begin(round).unwrap();
        plugin
    }

    #[test]
    fn a_step_is_the_hand_computed_one() {
        let half =
            [("server-learning-rate", 0.5.into()), ("beta1", 0.5.into()), ("beta2", 0.75.into()), ("tau", 1.0.into())];
        let mut state = vec![vec![2.0], vec![16.0]];
        // m = 0.5·2 + 0.5·4 = 3; v = 0.75·16 + 0.25·16 = 16; w = 1 + 0.5·3/(4 + 1) = 1.3
        assert_eq!(begun(&half, 1).step(&[1.0], &[4.0], &mut state).unwrap(), [1.3]);
        assert_eq!(state, [[3.0], [16.0]]);
    }

    #[test]
    fn the_first_step_follows_the_sign_of_the_update() {
        let sign = [("beta1", 0.0.into()), ("beta2", 0.0.into()), ("tau", 1e-30.into())];
        let update = [3.0, -0.001, 1e-10, -7.5];
        let mut state = vec![vec![0.0; 4], vec![0.0; 4]];
        let moved = begun(&sign, 1).step(&[0.0; 4], &update, &mut state).unwrap();
        // sqrt(delta²) is |delta| up to a rounding, so each coordinate moves by the server learning rate.
        for (moved, update) in moved.iter().zip(update) {
            assert!((moved - 0.1 * update.signum()).abs() < 1e-7, "{moved} for {update}");
        }
    }

    #[test]
    fn bias_correction_is_flowers() {
        let corrected = [("bias-correction", true.into()), ("tau", 1.0.into()), ("server-learning-rate", 1.0.into())];
        let mut state = vec![vec![0.0], vec![0.0]];
        let moved = begun(&corrected, 1).step(&[0.0], &[1.0], &mut state).unwrap()[0];
        // Round 1: factor sqrt(1 - 0.99²)/(1 - 0.9²) = 0.141067/0.19 = 0.742460; m = 0.1, v = 0.01, m/(0.1 + 1) = 0.0909091
        assert!((moved - 0.742_460 * 0.090_909_1).abs() < 1e-6, "{moved}");
    }

    #[test]
    fn a_data_plane_instance_learns_the_round_through_sync() {
        let mut control = Testbed::<FedAdam>::new(&[("bias-correction", true.into())]);
        let mut data = Testbed::<FedAdam>::new(&[("bias-correction", true.into())]);
        let reply = control.step_begin(7).unwrap();
        assert_eq!(data.call(op::SYNC, &reply), Ok(Map::new()));
        let step = |plugin: &mut Testbed<FedAdam>| plugin.step(&[0.0], &[1.0], &mut [vec![0.0], vec![0.0]]);
        assert_eq!(step(&mut control), step(&mut data));
    }

    #[test]
    fn a_step_before_the_round_begins_is_refused() {
        let error = Testbed::<FedAdam>::new(&[]).step(&[0.0], &[1.0], &mut [vec![0.0], vec![0.0]]).unwrap_err();
        assert_eq!(error.code, status::E_STATE);
    }
}
