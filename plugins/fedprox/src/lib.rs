//! FedProx, Algorithm 2 of Li et al. (arXiv:1812.06127): client k minimises Fₖ(w) + (μ/2)·‖w − wᵗ‖², wᵗ as received.
//! What becomes of the updates is another plugin's business, so it stacks with any aggregation.

use colla_plugin_sdk::{Client, ClientBegin, Parameters, Plan, Plugin, Result, Term, colla_plugin};

struct FedProx {
    mu: f64,
}

impl Plugin for FedProx {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedProx { mu: parameters.f64("mu")? })
    }
}

impl Client for FedProx {
    fn plan(&mut self, _client: &ClientBegin) -> Result<Plan> {
        Ok(Plan::with_terms([Term::Prox { mu: self.mu }]))
    }
}

colla_plugin!(FedProx: client);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, abi::op, abi::status};

    #[test]
    fn the_plan_is_one_phase_with_the_proximal_term() {
        let mut plugin = Testbed::<FedProx>::new(&[("mu", 0.25.into())]);
        let client = Map::new().with("round", 3u32).with("client", 17u32).with("num_examples", 42u32);
        let plan = plugin.call(op::CLIENT_BEGIN, &client).unwrap();
        assert_eq!(plan, Plan::with_terms([Term::Prox { mu: 0.25 }]).encode());
    }

    #[test]
    fn an_operation_of_another_role_is_unsupported() {
        let error = Testbed::<FedProx>::new(&[]).call(op::DENOMINATOR, &Map::new()).unwrap_err();
        assert_eq!(error.code, status::E_UNSUPPORTED);
        assert_eq!(error.message, "control operation 9 belongs to none of this plugin's roles");
    }
}
