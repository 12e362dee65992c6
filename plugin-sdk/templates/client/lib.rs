//! FedProx (Li et al., arXiv:1812.06127) with a proximal term that decays: in round t a client
//! minimises F(w) + (μₜ/2)·‖w − wᵗ‖², wᵗ as received, with μₜ = μ·decayᵗ⁻¹.
//! Early rounds hold the clients together, late ones let them train freely.

use colla_plugin_sdk::math::libm;
use colla_plugin_sdk::{Client, ClientBegin, Parameters, Plan, Plugin, Result, Term, colla_plugin};

struct DecayingProx {
    mu: f64,
    decay: f64,
}

impl Plugin for DecayingProx {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(DecayingProx {
            mu: parameters.f64("mu")?,
            decay: parameters.f64("decay")?,
        })
    }
}

impl Client for DecayingProx {
    fn plan(&mut self, client: &ClientBegin) -> Result<Plan> {
        // `libm`, since the platforms' own `pow` differ in the last bit.
        let mu = self.mu * libm::pow(self.decay, client.round as f64 - 1.0);
        Ok(Plan::with_terms([Term::Prox { mu }]))
    }
}

colla_plugin!(DecayingProx: client);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, abi::op};

    #[test]
    fn the_strength_halves_each_round_with_a_decay_of_one_half() {
        let mut plugin = Testbed::<DecayingProx>::new(&[("mu", 0.8.into()), ("decay", 0.5.into())]);
        for (round, mu) in [(1u32, 0.8), (2, 0.4), (3, 0.2)] {
            let client = Map::new().with("round", round).with("client", 7u32);
            let plan = plugin
                .call(op::CLIENT_BEGIN, &client.with("num_examples", 20u32))
                .unwrap();
            assert_eq!(plan, Plan::with_terms([Term::Prox { mu }]).encode());
        }
    }
}
