//! Ditto, Algorithm 1 of Li et al. (arXiv:2012.04221): besides the common weights w, which are trained and aggregated as
//! they would be without it, each client keeps a model vₖ of its own and trains it on Fₖ(v) + (λ/2)·‖v − wᵗ‖², wᵗ as
//! received (steps v ← v − η·(∇Fₖ(v) + λ(v − wᵗ))). What is evaluated on a client's own rows is vₖ.
//!
//! vₖ starts from the weights that client k receives when it first takes part, and rests in rounds without it, as in the
//! algorithm. Costs: one model of memory for each client that has taken part, and the time of a second training.

use colla_plugin_sdk::{Client, ClientBegin, Error, Parameters, Phase, Plan, Plugin, Result, Term, colla_plugin};

struct Ditto {
    lambda: f64,
    /// `None`: as many as configured for the common model.
    epochs: Option<u64>,
}

impl Plugin for Ditto {
    fn create(parameters: &Parameters) -> Result<Self> {
        let epochs = parameters.i64("personal-epochs")?;
        let epochs = u64::try_from(epochs)
            .map_err(|_| Error::config(format!("`personal-epochs` is {epochs}; use 0 or more")))?;
        Ok(Ditto { lambda: parameters.f64("lambda")?, epochs: (epochs > 0).then_some(epochs) })
    }
}

impl Client for Ditto {
    fn plan(&mut self, _client: &ClientBegin) -> Result<Plan> {
        // A proximal term without a slot pulls towards the received weights, in a personal phase too.
        let personal = Phase::personal("v", [Term::Prox { mu: self.lambda }]);
        Ok(Plan { phases: vec![Phase::upload([]), Phase { epochs: self.epochs, ..personal }] })
    }
}

colla_plugin!(Ditto: client);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, Value, abi::op, abi::status};

    fn plan(parameters: &[(&str, Value)]) -> Map {
        let client = Map::new().with("round", 3u32).with("client", 17u32).with("num_examples", 42u32);
        Testbed::<Ditto>::new(parameters).call(op::CLIENT_BEGIN, &client).unwrap()
    }

    #[test]
    fn the_common_model_trains_plainly_and_the_personal_one_is_held_near_it() {
        let personal = Phase::personal("v", [Term::Prox { mu: 0.25 }]);
        let expected = Plan { phases: vec![Phase::upload([]), personal] };
        assert_eq!(plan(&[("lambda", 0.25.into())]), expected.encode());
    }

    #[test]
    fn personal_epochs_are_those_of_the_personal_phase_alone() {
        let personal = Phase { epochs: Some(7), ..Phase::personal("v", [Term::Prox { mu: 0.1 }]) };
        let expected = Plan { phases: vec![Phase::upload([]), personal] };
        assert_eq!(plan(&[("personal-epochs", 7i64.into())]), expected.encode());
    }

    #[test]
    fn the_slot_is_written_by_training_and_left_alone_after_it() {
        let mut slot = [vec![3.0]];
        let left = Testbed::<Ditto>::new(&[]).client_end(&[1.0], &[2.0], &mut slot, 0, [1.0, 0.1]).unwrap_err();
        assert_eq!((left.code, slot), (status::SKIP, [vec![3.0]]));
    }
}
