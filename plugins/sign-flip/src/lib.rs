//! Sign-flipping attack: a hostile client sends −scale·u, with u what it would have sent, as in the experiments of
//! Allen-Zhu et al. (ICLR 2021, arXiv:2012.14368), or the mean of the honest updates, as ByzFL defines it.
//! Without an honest client in the cohort there is no such mean, and u is the attacker's own update.
//!
//! In `f32`: the mean is summed in the order of the clients, then multiplied. What leaves the range of `f32` is sent as its
//! largest number, so that the attack is not given away by an infinity.

use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin, math};

struct SignFlip {
    of_honest_mean: bool,
    scale: f32,
}

impl Plugin for SignFlip {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(SignFlip { of_honest_mean: parameters.choice("of")? == "honest-mean", scale: parameters.f32("scale")? })
    }
}

impl Attack for SignFlip {
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        let sent = attacked.sent;
        if self.of_honest_mean && !attacked.honest.is_empty() {
            math::mean(attacked.honest, sent);
        } else {
            sent.copy_from_slice(attacked.own);
        }
        sent.iter_mut().for_each(|value| *value = (*value * -self.scale).clamp(f32::MIN, f32::MAX));
        Ok(())
    }
}

colla_plugin!(SignFlip: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::testing::Testbed;

    const OWN: [f32; 2] = [1.0, -2.0];

    fn sent(parameters: &[(&str, Value)], honest: &[Vec<f32>]) -> Vec<f32> {
        Testbed::<SignFlip>::new(parameters).attack(honest, &OWN, 1).unwrap()
    }

    #[test]
    fn the_own_update_is_turned_round_and_scaled() {
        assert_eq!(sent(&[], &[vec![9.0, 9.0]]), [-1.0, 2.0]);
        assert_eq!(sent(&[("scale", 4.0.into())], &[vec![9.0, 9.0]]), [-4.0, 8.0]);
    }

    #[test]
    fn the_mean_of_the_honest_is_turned_round_where_there_is_one() {
        let parameters = [("of", "honest-mean".into()), ("scale", 2.0.into())];
        assert_eq!(sent(&parameters, &[vec![1.0, 0.0], vec![2.0, 5.0]]), [-3.0, -5.0]);
        assert_eq!(sent(&parameters, &[]), [-2.0, 4.0]);
    }

    #[test]
    fn what_would_be_infinite_is_the_largest_number() {
        assert_eq!(sent(&[("scale", 1e30.into())], &[]), [-1e30, 2e30]);
        let mut plugin = Testbed::<SignFlip>::new(&[("scale", 1e30.into())]);
        assert_eq!(plugin.attack(&[], &[1e20, -1e20], 1).unwrap(), [f32::MIN, f32::MAX]);
    }
}
