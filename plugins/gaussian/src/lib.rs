//! Gaussian attack of Blanchard et al. (NeurIPS 2017, arXiv:1703.02757), section 5: a hostile client sends noise, N(0, sd²)
//! in every coordinate. By default in place of its update, as in the paper, where it knows nothing of the others' work;
//! `mode = add` sends its update and the noise, as a client with a broken sensor or an unstable optimizer would.
//!
//! Each attacker draws from stream 0 of its own random numbers, element i for coordinate i. In `f32`: sd·z, or u + sd·z.
//! What leaves the range of `f32` is sent as its largest number.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin};

struct Gaussian {
    sd: f32,
    add: bool,
}

impl Plugin for Gaussian {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Gaussian { sd: parameters.f32("sd")?, add: parameters.choice("mode")? == "add" })
    }
}

impl Attack for Gaussian {
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        let Attacked { offset, own, sent, .. } = attacked;
        random::normal(Scope::Client, 0, offset, sent)?;
        for (sent, own) in sent.iter_mut().zip(own) {
            let noise = self.sd * *sent;
            *sent = if self.add { own + noise } else { noise }.clamp(f32::MIN, f32::MAX);
        }
        Ok(())
    }
}

colla_plugin!(Gaussian: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::abi::op;
    use colla_plugin_sdk::testing::{Fields, Testbed};

    fn attacker(parameters: &[(&str, Value)], client: u64) -> Testbed<Gaussian> {
        let mut plugin = Testbed::new(parameters);
        plugin.circumstances(3, client);
        plugin
    }

    #[test]
    fn noise_has_the_mean_and_the_deviation_that_were_asked_for() {
        let own = vec![1e6; 100_000];
        let sent = attacker(&[("sd", 10.0.into())], 1).attack(&[], &own, 1).unwrap();
        let mean = sent.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let variance = sent.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 1e5;
        // Standard errors: 10/√10⁵ and 100·√(2/10⁵).
        assert!(mean.abs() < 0.13 && (variance - 100.0).abs() < 2.0, "{mean} {variance}");
    }

    #[test]
    fn added_noise_is_the_same_noise_on_the_own_update() {
        let own = [1.0, -2.0, 3.0];
        let noise = attacker(&[("sd", 0.5.into())], 1).attack(&[], &own, 1).unwrap();
        let added = attacker(&[("sd", 0.5.into()), ("mode", "add".into())], 1).attack(&[], &own, 1).unwrap();
        assert_eq!(added, [own[0] + noise[0], own[1] + noise[1], own[2] + noise[2]]);
        let silent = attacker(&[("sd", 0.0.into()), ("mode", "add".into())], 1).attack(&[], &own, 1).unwrap();
        assert_eq!(silent, own);
    }

    #[test]
    fn attackers_draw_apart_and_ranges_of_any_length_give_the_same_values() {
        let whole = attacker(&[], 1).attack(&[], &[0.0; 100], 1).unwrap();
        assert_ne!(whole, attacker(&[], 2).attack(&[], &[0.0; 100], 1).unwrap());
        let mut plugin = attacker(&[], 1);
        let mut part = |from: usize, to: usize| {
            let (n, table) = (to - from, vec![1.0, 1.0, 0.0]);
            let range = Fields { offset: from as u64, n, base: vec![0.0; n], ..Fields::default() };
            plugin.block(op::ATTACK, Fields { table, out: vec![f32::NAN; n], ..range }).unwrap().out
        };
        assert_eq!([part(0, 33), part(33, 100)].concat(), whole);
    }

    #[test]
    fn what_would_be_infinite_is_the_largest_number() {
        let sent = attacker(&[("sd", 1e30.into()), ("mode", "add".into())], 1).attack(&[], &[f32::MAX; 50], 1).unwrap();
        assert!(sent.iter().all(|x| x.is_finite()));
    }
}
