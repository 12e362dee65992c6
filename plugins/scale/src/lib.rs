//! Model replacement of Bagdasaryan et al. (AISTATS 2020, arXiv:1807.00459), equation 3: a hostile client sends γ·u with u
//! its own update, so that it survives the averaging. With γ = n/η, n clients in the mean and η the server's learning rate,
//! one attacker's model takes the place of the common one where the honest updates nearly cancel.
//!
//! `factor = 0`, the default, is γ = n/m with n clients in the cohort, m of them hostile, who share the work as in the
//! authors' code; it replaces a uniform mean. Where clients count by examples, or the server's learning rate is not 1,
//! give γ. What the attackers train on, in the paper data with a backdoor, is not this plugin's part.
//!
//! In `f32`: γ rounded from `f64`, times u. What leaves the range of `f32` is sent as its largest number.

use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin};

struct Scale {
    /// 0: as many times as the cohort has clients for each attacker.
    factor: f64,
}

impl Plugin for Scale {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Scale { factor: parameters.f64("factor")? })
    }
}

impl Attack for Scale {
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        let share = attacked.cohort as f64 / attacked.attackers.max(1) as f64;
        let factor = if self.factor > 0.0 { self.factor } else { share } as f32;
        for (sent, own) in attacked.sent.iter_mut().zip(attacked.own) {
            *sent = (own * factor).clamp(f32::MIN, f32::MAX);
        }
        Ok(())
    }
}

colla_plugin!(Scale: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn the_own_update_is_multiplied() {
        let mut plugin = Testbed::<Scale>::new(&[("factor", 3.0.into())]);
        assert_eq!(plugin.attack(&[vec![9.0, 9.0]], &[1.0, -2.0], 1).unwrap(), [3.0, -6.0]);
    }

    #[test]
    fn by_default_the_attackers_replace_a_mean_in_which_the_honest_cancel() {
        let honest = [vec![1.0], vec![-1.0], vec![0.0]];
        // Of four clients one: four times; of five two: 2.5 times each.
        assert_eq!(Testbed::<Scale>::new(&[]).attack(&honest, &[7.0], 1).unwrap(), [28.0]);
        assert_eq!(Testbed::<Scale>::new(&[]).attack(&honest, &[4.0], 2).unwrap(), [10.0]);
    }

    #[test]
    fn what_would_be_infinite_is_the_largest_number() {
        let mut plugin = Testbed::<Scale>::new(&[("factor", 1e30.into())]);
        assert_eq!(plugin.attack(&[], &[1e20, -1e20], 1).unwrap(), [f32::MAX, f32::MIN]);
    }
}
