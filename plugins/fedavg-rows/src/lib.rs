//! FedAvg, Algorithm 1 of McMahan et al. (arXiv:1602.05629), over rows: Δ = Σ nₖ·Δₖ / Σ nₖ, in `f32`, in the order of the
//! clients. `fedavg` lets the host form the same sum exactly and keeps no rows; this is the plain form to start a rule over
//! rows from, and what a plugin's throughput is measured with.

use colla_plugin_sdk::{Aggregate, Parameters, Plugin, Result, colla_plugin, math};

struct FedAvgRows;

impl Plugin for FedAvgRows {
    fn create(_parameters: &Parameters) -> Result<Self> {
        Ok(FedAvgRows)
    }
}

impl Aggregate for FedAvgRows {
    fn reduce(&mut self, rows: &[&[f32]], weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        match weights {
            Some(weights) => math::weighted_mean(rows, weights, out),
            None => {
                math::mean(rows, out);
                Ok(())
            }
        }
    }
}

colla_plugin!(FedAvgRows: aggregate);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::op;
    use colla_plugin_sdk::testing::{Fields, Testbed};

    #[test]
    fn clients_count_by_their_examples() {
        let rows = vec![vec![1.0, 8.0], vec![5.0, -4.0]];
        let fields =
            Fields { n: 2, rows: rows.clone(), weights: vec![3.0, 1.0], out: vec![0.0; 2], ..Fields::default() };
        let mut plugin = Testbed::<FedAvgRows>::new(&[]);
        // (3·1 + 1·5)/4 and (3·8 − 1·4)/4; without weights the plain means.
        assert_eq!(plugin.block(op::REDUCE, fields).unwrap().out, [2.0, 5.0]);
        assert_eq!(plugin.reduce(&rows).unwrap(), [3.0, 2.0]);
    }
}
