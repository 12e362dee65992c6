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
