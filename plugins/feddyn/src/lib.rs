//! FedDyn, Algorithm 1 of Acar et al. (ICLR 2021, arXiv:2111.04263). Client k minimises, from the received weights wᵗ,
//!
//! Lₖ(w) − ⟨gₖ, w⟩ + (α/2)·‖w − wᵗ‖²,
//!
//! and then sets gₖ ← gₖ − α·(wₖ − wᵗ): where the minimum is reached, gₖ is the gradient of Lₖ there. The server moves
//!
//! h ← h − (α/N)·Σₖ (wₖ − wᵗ),  wᵗ⁺¹ = mean of the cohort's wₖ − h/α,
//!
//! with N all clients. All gₖ and h start at zero. So in the first round, if everyone takes part, w moves by twice the mean
//! update, whatever α; it does not tend to FedAvg for small α. −h/α is the sum of all updates so far over N.
//!
//! The mean is uniform, as in the paper, and so required; the authors' code weighs losses by examples and gives each
//! client an α of its own. Its curves are those of the cohort's mean before −h/α is added; here, as ever, it is wᵗ⁺¹
//! that is evaluated. The sum over the cohort is the aggregate times the number of accepted clients, so nothing travels
//! besides the updates; with a robust rule in place of the mean, that rule's aggregate stands for it.
//!
//! In `f32`: gₖ − α·(wₖ − wᵗ); h − s·Δ with s = (α·accepted)/N rounded from `f64`; (w + Δ) − h/α.
//! Costs: one vector for each client that has taken part, one on the server.

use colla_plugin_sdk::{
    Client, ClientBegin, ClientEnd, Error, Parameters, Plan, Plugin, Result, ServerStep, Step, StepBegin, Term,
    colla_plugin,
};

struct FedDyn {
    alpha: f64,
    /// (α·accepted)/N, known from the round's STEP_BEGIN on.
    share: Option<f32>,
}

impl Plugin for FedDyn {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FedDyn { alpha: parameters.f64("alpha")?, share: None })
    }
}

impl Client for FedDyn {
    fn plan(&mut self, _client: &ClientBegin) -> Result<Plan> {
        Ok(Plan::with_terms([Term::Linear { slot: "g", scale: -1.0 }, Term::Prox { mu: self.alpha }]))
    }

    fn end(&mut self, end: ClientEnd<'_>) -> Result<()> {
        let alpha = self.alpha as f32;
        let count = end.states.len();
        let Ok([own]) = <[&mut [f32]; 1]>::try_from(end.states) else {
            return Err(Error::argument(format!("CLIENT_END needs 1 state slot, the host gave {count}")));
        };
        for ((own, local), received) in own.iter_mut().zip(end.local).zip(end.received) {
            *own -= alpha * (local - received);
        }
        Ok(())
    }
}

impl ServerStep for FedDyn {
    fn begin(&mut self, step: &StepBegin<'_>) -> Result<()> {
        if step.num_clients == 0 {
            return Err(Error::argument("a federation of 0 clients has no mean update"));
        }
        self.share = Some((self.alpha * step.accepted as f64 / step.num_clients as f64) as f32);
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let share = self.share.ok_or_else(|| Error::state("the round has not begun: STEP came before STEP_BEGIN"))?;
        let alpha = self.alpha as f32;
        step.map(|w, delta, [h]| {
            let h = h - share * delta;
            (w + delta - h / alpha, [h])
        })
    }
}

colla_plugin!(FedDyn: client, server_step);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{Map, abi::op, abi::status};

    fn plugin(alpha: f64) -> Testbed<FedDyn> {
        Testbed::new(&[("alpha", alpha.into())])
    }

    /// STEP_BEGIN of a round of `accepted` of `clients` clients.
    fn begin(plugin: &mut Testbed<FedDyn>, accepted: i64, clients: i64) -> Result<Map> {
        let message = Map::new()
            .with("round", 1i64)
            .with("accepted", accepted)
            .with("cohort", accepted)
            .with("num_clients", clients)
            .with("expected_cohort", accepted as f64)
            .with("weight_sum", accepted as f64)
            .with("denominator", accepted as f64)
            .with("aggregate_norm2", 1.0);
        plugin.call(op::STEP_BEGIN, &message)
    }

    #[test]
    fn a_clients_objective_has_its_own_gradient_taken_off_and_a_pull() {
        let client = Map::new().with("round", 3u32).with("client", 17u32).with("num_examples", 42u32);
        let plan = plugin(0.25).call(op::CLIENT_BEGIN, &client).unwrap();
        let terms = [Term::Linear { slot: "g", scale: -1.0 }, Term::Prox { mu: 0.25 }];
        assert_eq!(plan, Plan::with_terms(terms).encode());
    }

    #[test]
    fn the_gradient_correction_moves_against_the_update() {
        let mut states = [vec![1.0, -2.0]];
        plugin(0.5).client_end(&[3.0, 0.0], &[1.0, 4.0], &mut states, 0, [4.0, 1.0]).unwrap();
        // 1 - 0.5·2 and -2 + 0.5·4
        assert_eq!(states, [[0.0, 0.0]]);
    }

    /// L(w) = (b/2)·(w − c)²: at the minimum of L(w) − g·w + (α/2)(w − w₀)² the new g is b·(w − c).
    #[test]
    fn at_the_minimum_the_correction_is_the_gradient_there() {
        let (b, c, alpha, old, received) = (2.0f32, 3.0f32, 0.5f32, 0.75f32, -1.0f32);
        let minimum = (b * c + old + alpha * received) / (b + alpha);
        let mut states = [vec![old]];
        plugin(f64::from(alpha)).client_end(&[minimum], &[received], &mut states, 0, [4.0, 1.0]).unwrap();
        assert!((states[0][0] - b * (minimum - c)).abs() < 1e-5, "{states:?}");
    }

    #[test]
    fn in_the_first_round_of_everyone_the_weights_move_by_twice_the_mean_update_whatever_alpha() {
        for alpha in [0.001, 0.125, 10.0] {
            let mut plugin = plugin(alpha);
            begin(&mut plugin, 8, 8).unwrap();
            let mut states = [vec![0.0, 0.0]];
            let moved = plugin.step(&[1.0, -1.0], &[0.5, 2.0], &mut states).unwrap();
            assert!((moved[0] - 2.0).abs() < 1e-6 && (moved[1] - 3.0).abs() < 1e-6, "{moved:?} with {alpha}");
        }
    }

    #[test]
    fn the_servers_state_sums_all_updates_over_all_clients() {
        let mut plugin = plugin(0.5);
        begin(&mut plugin, 2, 8).unwrap();
        let mut states = [vec![0.25]];
        // h = 0.25 - 0.5·2/8·4 = -0.25; w = 1 + 4 + 0.25/0.5
        assert_eq!(plugin.step(&[1.0], &[4.0], &mut states).unwrap(), [5.5]);
        assert_eq!(states, [[-0.25]]);
    }

    /// Three clients with Lₖ(w) = (bₖ/2)·(w − cₖ)², each minimised exactly: w tends to the minimum of the sum, Σ bc / Σ b,
    /// which FedAvg's fixed point is not.
    #[test]
    fn on_unlike_quadratics_the_fixed_point_is_the_common_minimum() {
        let (b, c, alpha) = ([1.0f32, 2.0, 5.0], [-1.0f32, 4.0, 0.5], 0.5f32);
        let mut plugin = plugin(f64::from(alpha));
        begin(&mut plugin, 3, 3).unwrap();
        let (mut w, mut h, mut g) = (vec![0.0f32], [vec![0.0f32]], [0.0f32; 3]);
        for _ in 0..300 {
            let mut update = 0.0;
            for (k, g) in g.iter_mut().enumerate() {
                let local = (b[k] * c[k] + *g + alpha * w[0]) / (b[k] + alpha);
                let mut state = [vec![*g]];
                plugin.client_end(&[local], &w, &mut state, 0, [1.0, 0.1]).unwrap();
                *g = state[0][0];
                update += (local - w[0]) / 3.0;
            }
            w = plugin.step(&w, &[update], &mut h).unwrap();
        }
        assert!((w[0] - (-1.0 + 8.0 + 2.5) / 8.0).abs() < 1e-4, "{w:?}");
    }

    #[test]
    fn a_step_before_the_round_and_a_client_without_its_slot_are_refused() {
        assert_eq!(plugin(1.0).step(&[0.0], &[1.0], &mut [vec![0.0]]).unwrap_err().code, status::E_STATE);
        assert_eq!(begin(&mut plugin(1.0), 0, 0).unwrap_err().code, status::E_ARG);
        let refused = plugin(1.0).client_end(&[1.0], &[0.0], &mut [], 0, [1.0, 0.1]).unwrap_err();
        assert_eq!(refused.message, "CLIENT_END needs 1 state slot, the host gave 0");
    }
}
