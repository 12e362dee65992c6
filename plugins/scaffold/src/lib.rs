//! SCAFFOLD, Algorithm 1 of Karimireddy et al. (arXiv:1910.06378), option II. Client i steps along gᵢ(y) − cᵢ + c (line
//! 10), then sets cᵢ⁺ = cᵢ − c + (x − yᵢ)/(K·η_l) (line 12) and uploads yᵢ − x and cᵢ⁺ − cᵢ. The server moves
//! x ← x + η_g·(1/|S|)·Σ(yᵢ − x) and c ← c + (1/N)·Σ(cᵢ⁺ − cᵢ) (lines 16 and 17), N all clients, so that c stays the mean
//! of the cᵢ. All start at zero, so the first round is FedAvg's with uniform weights.
//!
//! K·η_l is the sum of the learning rates of the client's steps: (x − yᵢ)/(K·η_l) is then the mean of its corrected
//! gradients, which needs SGD without momentum. Costs: the uplink and the downlink double.

use colla_plugin_sdk::{
    Client, ClientBegin, ClientEnd, Error, Parameters, Plan, Plugin, Result, ServerStep, Step, StepBegin, Term,
    colla_plugin,
};

struct Scaffold {
    /// η_g.
    server_rate: f32,
    /// 1/N, known from the round's STEP_BEGIN on.
    share: Option<f32>,
}

impl Plugin for Scaffold {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Scaffold { server_rate: parameters.f32("server-learning-rate")?, share: None })
    }
}

impl Client for Scaffold {
    fn plan(&mut self, _client: &ClientBegin) -> Result<Plan> {
        Ok(Plan::with_terms([Term::Linear { slot: "c", scale: 1.0 }, Term::Linear { slot: "c_i", scale: -1.0 }]))
    }

    fn end(&mut self, end: ClientEnd<'_>) -> Result<()> {
        let ([own, common], [delta]) = (slots(end.states)?, slots(end.vectors)?);
        let path = end.lr_sum as f32;
        if !(path > 0.0 && path.is_finite()) {
            // Not with the sum: formatting floats would add 20 KB to the plugin.
            return Err(Error::argument(format!(
                "the learning rates of the client's {} steps do not sum to a positive, finite number; a control variate \
                 needs a step",
                end.steps as u64
            )));
        }
        for (i, delta) in delta.iter_mut().enumerate() {
            let new = own[i] - common[i] + (end.received[i] - end.local[i]) / path;
            // What is uploaded is the change of the rounded variate, so that c follows the mean of what clients keep.
            *delta = new - own[i];
            own[i] = new;
        }
        Ok(())
    }
}

/// Exactly `N` slices. Errors: `E_ARG` if the host gave another number.
fn slots<const N: usize>(given: Vec<&mut [f32]>) -> Result<[&mut [f32]; N]> {
    let count = given.len();
    given.try_into().map_err(|_| Error::argument(format!("CLIENT_END needs {N} slices here, the host gave {count}")))
}

impl ServerStep for Scaffold {
    fn begin(&mut self, step: &StepBegin<'_>) -> Result<()> {
        if step.num_clients == 0 {
            return Err(Error::argument("a federation of 0 clients has no mean control variate"));
        }
        self.share = Some((1.0 / step.num_clients as f64) as f32);
        Ok(())
    }

    fn step(&mut self, step: Step<'_>) -> Result<()> {
        let share = self.share.ok_or_else(|| Error::state("the round has not begun: STEP came before STEP_BEGIN"))?;
        let [sum] = step.sums else {
            return Err(Error::argument(format!(
                "STEP needs the sum of delta_c, the host gave {} sums",
                step.sums.len()
            )));
        };
        let [common] = slots(step.states)?;
        for (i, new) in step.new_weights.iter_mut().enumerate() {
            *new = step.weights[i] + self.server_rate * step.update[i];
            common[i] += share * sum[i];
        }
        Ok(())
    }
}

colla_plugin!(Scaffold: client, server_step);

#[cfg(test)]
mod tests;
