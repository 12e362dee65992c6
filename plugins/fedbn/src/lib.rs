//! FedBN, Algorithm 1 of Li et al. (arXiv:2102.07623): layers l of batch normalisation never leave their client,
//! wₖ,ₗ ← wₖ,ₗ after local training; all others are averaged, wₗ ← w̄ₗ. So what normalisation has learnt about one client's
//! features, its running statistics included, is not mixed with another's. What is evaluated on a client's own rows is the
//! common model with that client's own normalisation.
//!
//! As in the algorithm, all clients begin from the same weights, those before round 1, whenever they first take part. The
//! common model keeps its initial normalisation, so its own accuracy says little. Departures: the paper averages with equal
//! weights, here the aggregate decides (`fedavg:weights=uniform`); the update travels whole, with zeros in the place of
//! what stays. Costs: the model's normalisation layers in memory for each client that has taken part.

use colla_plugin_sdk::{Client, ClientBegin, Parameters, Plan, Plugin, Result, Term, colla_plugin};

struct FedBn;

impl Plugin for FedBn {
    fn create(_parameters: &Parameters) -> Result<Self> {
        Ok(FedBn)
    }
}

impl Client for FedBn {
    fn plan(&mut self, _client: &ClientBegin) -> Result<Plan> {
        Ok(Plan::with_terms([Term::Personal { slot: "norms" }]))
    }
}

colla_plugin!(FedBn: client);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, abi::op};

    #[test]
    fn every_client_keeps_its_normalisation_in_every_round_and_nothing_else() {
        let mut plugin = Testbed::<FedBn>::new(&[]);
        for (round, client) in [(1u32, 0u32), (2, 0), (50, 99)] {
            let begin = Map::new().with("round", round).with("client", client).with("num_examples", 42u32);
            let plan = plugin.call(op::CLIENT_BEGIN, &begin).unwrap();
            assert_eq!(plan, Plan::with_terms([Term::Personal { slot: "norms" }]).encode());
        }
    }
}
