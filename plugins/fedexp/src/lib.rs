//! FedExP, Algorithm 1 of Jhunjhunwala, Wang and Joshi (ICLR 2023, arXiv:2301.09604): w ← w + η·Δ̄, Δ̄ the mean of the M
//! updates Δₖ of the round, with the step
//!
//! η = max(1, Σₖ ‖Δₖ‖² / (2M·(‖Δ̄‖² + ε))).
//!
//! The more the updates differ, the shorter is their mean beside them and the longer the step. The paper's mean is uniform
//! and so required. The authors' code weighs norms and mean by examples, multiplies ε by the size of the cohort, and lets ε
//! and the learning rate decay together; here ε stays. For their curves they evaluate the mean of the last two models, which
//! the paper advises since the last one may oscillate; here, as ever, it is the last one that is evaluated.
//!
//! In `f64`: squared norms are added to 0 in the order of the clients, η is rounded to `f32`; then w + η·Δ̄ in `f32`.
//! ‖Δₖ‖² is that of the client's own update as received, also behind a mix.

use colla_plugin_sdk::{Error, Parameters, Plugin, Result, ServerStep, Step, StepBegin, colla_plugin};

struct FedExp {
    epsilon: f64,
    /// η of this round, known from its begin on.
    rate: Option<f32>,
}

impl Plugin for FedExp {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedExp { epsilon: parameters.f64("epsilon")?, rate: None })
    }
}

impl ServerStep for FedExp {
    fn begin(&mut self, step: &StepBegin<'_>) -> Result<()> {
        let mut sum = 0.0;
        for member in step.clients.members() {
            let trained = member.trained;
            sum += trained.ok_or_else(|| Error::argument("STEP_BEGIN has no norms of the updates"))?.update_norm2;
        }
        // Nobody took part: the update is zero, and any step will do.
        let twice = 2.0 * step.clients.len().max(1) as f64;
        let mean2 = step.aggregate_norm2 * step.aggregate_norm2;
        self.rate = Some((sum / (twice * (mean2 + self.epsilon))).clamp(1.0, f64::from(f32::MAX)) as f32);
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let rate = self.rate.ok_or_else(|| Error::state("the round has not begun: STEP came before STEP_BEGIN"))?;
        step.map(|w, delta, []| (w + rate * delta, []))
    }
}

colla_plugin!(FedExp: server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::{op, status, table};
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, Value};

    /// STEP_BEGIN for updates of these squared norms whose mean has this norm.
    fn message(norms2: &[f64], mean_norm: f64) -> Map {
        let table: Vec<f64> = norms2.iter().flat_map(|&norm2| [10.0, 5.0, 0.5, 0.0, 0.7, 0.0, norm2]).collect();
        let clients = norms2.len() as i64;
        Map::new()
            .with("round", 1i64)
            .with("accepted", clients)
            .with("cohort", clients)
            .with("num_clients", 100i64)
            .with("expected_cohort", clients as f64)
            .with("weight_sum", clients as f64)
            .with("denominator", clients as f64)
            .with("aggregate_norm2", mean_norm)
            .with("columns", table::COLUMNS_AFTER as i64)
            .with("table", table)
            .with("weights", vec![1.0; norms2.len()])
    }

    /// What a weight of 1 becomes with an update of 2.
    fn moved(epsilon: f64, norms2: &[f64], mean_norm: f64) -> f32 {
        let mut plugin = Testbed::<FedExp>::new(&[("epsilon", Value::F64(epsilon))]);
        plugin.call(op::STEP_BEGIN, &message(norms2, mean_norm)).unwrap();
        plugin.step(&[1.0], &[2.0], &mut []).unwrap()[0]
    }

    #[test]
    fn the_step_grows_with_the_spread_of_the_updates() {
        // (16 + 9 + 35)/(2·3·(2² + 1)) = 2
        assert_eq!(moved(1.0, &[16.0, 9.0, 35.0], 2.0), 5.0);
        // (16 + 9 + 35)/(2·3·(0 + 0.5)) = 20
        assert_eq!(moved(0.5, &[16.0, 9.0, 35.0], 0.0), 41.0);
    }

    #[test]
    fn it_is_never_shorter_than_fedavgs() {
        // Equal updates: M·d²/(2M·d²) = 1/2.
        assert_eq!(moved(1e-9, &[4.0; 5], 2.0), 3.0);
        assert_eq!(moved(1e-9, &[0.0], 0.0), 3.0);
        assert_eq!(moved(1e-9, &[], 0.0), 3.0);
    }

    #[test]
    fn a_round_that_has_not_begun_or_has_no_norms_is_refused() {
        let mut plugin = Testbed::<FedExp>::new(&[]);
        assert_eq!(plugin.step(&[0.0], &[1.0], &mut []).unwrap_err().code, status::E_STATE);
        let before = Map::new().with("columns", 4i64).with("table", vec![10.0, 5.0, 0.5, 0.0]);
        let before = message(&[1.0], 1.0)
            .0
            .into_iter()
            .filter(|(name, _)| name != "table" && name != "columns")
            .fold(before, |message, (name, value)| message.with(&name, value));
        assert_eq!(plugin.call(op::STEP_BEGIN, &before).unwrap_err().code, status::E_ARG);
    }
}
