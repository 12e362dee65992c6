//! Inner-product manipulation of Xie, Koyejo and Gupta (UAI 2019, arXiv:1903.03936), section 4: every hostile client sends
//! −ε·μ with μ the mean of the honest updates, so that the aggregate's inner product with μ becomes negative. Where a mean is
//! taken of n clients, m of them hostile, that happens for ε > (n − m)/m; robust rules may be turned round by a small ε,
//! since what is sent lies near zero, between the honest updates.
//!
//! Without an honest client in the cohort there is no such mean, and μ is the attacker's own update. It is `sign-flip` with
//! `of = honest-mean` and its scale: the same bits.
//!
//! In `f32`: the mean is summed in the order of the clients, then multiplied. What leaves the range of `f32` is sent as its
//! largest number.

use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin, math};

struct Ipm {
    epsilon: f32,
}

impl Plugin for Ipm {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Ipm { epsilon: parameters.f32("epsilon")? })
    }
}

impl Attack for Ipm {
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        let sent = attacked.sent;
        match attacked.honest {
            [] => sent.copy_from_slice(attacked.own),
            honest => math::mean(honest, sent),
        }
        sent.iter_mut().for_each(|value| *value = (*value * -self.epsilon).clamp(f32::MIN, f32::MAX));
        Ok(())
    }
}

colla_plugin!(Ipm: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn the_mean_of_the_honest_is_turned_round_and_scaled() {
        let mut plugin = Testbed::<Ipm>::new(&[("epsilon", 2.0.into())]);
        assert_eq!(plugin.attack(&[vec![1.0, 0.0], vec![2.0, 5.0]], &[9.0, 9.0], 1).unwrap(), [-3.0, -5.0]);
        assert_eq!(plugin.attack(&[], &[1.0, -2.0], 1).unwrap(), [-2.0, 4.0]);
    }

    #[test]
    fn a_large_epsilon_turns_the_mean_of_all_round_and_a_small_one_does_not() {
        // 3 honest, 1 hostile: the border is ε = 3.
        let honest = [vec![1.0], vec![2.0], vec![3.0]];
        let mean = |epsilon: f64| {
            let sent = Testbed::<Ipm>::new(&[("epsilon", epsilon.into())]).attack(&honest, &[0.0], 1).unwrap();
            (honest.iter().map(|row| row[0]).sum::<f32>() + sent[0]) / 4.0
        };
        assert!(mean(2.5) > 0.0 && mean(3.5) < 0.0);
        assert_eq!(mean(3.0), 0.0);
    }

    #[test]
    fn what_would_be_infinite_is_the_largest_number() {
        let mut plugin = Testbed::<Ipm>::new(&[("epsilon", 1e30.into())]);
        assert_eq!(plugin.attack(&[vec![1e20, -1e20]], &[0.0, 0.0], 1).unwrap(), [f32::MIN, f32::MAX]);
    }
}
