//! A Little Is Enough, Algorithm 3 of Baruch et al. (NeurIPS 2019, arXiv:1902.06156): every hostile client sends μ + z·σ, with
//! μ and σ the mean and the standard deviation of each coordinate. In the paper they are those of the hostile clients' own
//! honest work; here, as in ByzFL, those of the honest updates of the round, σ² being the sample variance: the squared
//! differences from the mean divided by one less than their number, 0 for a single one. The authors' code divides by the
//! number, and moves gradients by −z·σ, which is +z·σ on updates.
//!
//! z, unless given: with n clients of which m are hostile, s = ⌊n/2 + 1⌋ − m honest supporters make a majority, and z is
//! where Φ(z) = (n − m − s)/(n − m), with Φ the standard normal distribution. Hostile majorities need no supporters; s is
//! 1 at least, so that z stays finite. With few attackers z is small or even negative: then a little is not enough.
//! Without an honest client in the cohort, what it would have sent is sent.
//!
//! Per coordinate in `f64`: sums in the order of the clients, the mean first, then the squared differences from it.

use colla_plugin_sdk::math::libm::erfc;
use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin};

struct Alie {
    /// 0: the paper's.
    z: f64,
}

/// Coordinates at once, so that each row is read in whole cache lines.
const BLOCK: usize = 64;

impl Plugin for Alie {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Alie { z: parameters.f64("z")? })
    }
}

impl Attack for Alie {
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        let Attacked { honest, own, cohort, attackers, sent, .. } = attacked;
        if honest.is_empty() {
            sent.copy_from_slice(own);
            return Ok(());
        }
        let z = if self.z == 0.0 { supported_z(cohort, attackers) } else { self.z };
        for (block, sent) in sent.chunks_mut(BLOCK).enumerate() {
            let rows = honest.iter().map(|row| &row[block * BLOCK..][..sent.len()]);
            let (count, freedom) = (honest.len() as f64, honest.len().max(2) as f64 - 1.0);
            let mut mean = [0.0; BLOCK];
            for row in rows.clone() {
                mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            mean.iter_mut().for_each(|sum| *sum /= count);
            let mut squares = [0.0; BLOCK];
            for row in rows {
                squares.iter_mut().zip(mean).zip(row).for_each(|((sum, mean), &x)| {
                    let difference = f64::from(x) - mean;
                    *sum += difference * difference;
                });
            }
            for ((sent, mean), squares) in sent.iter_mut().zip(mean).zip(squares) {
                *sent = (mean + z * (squares / freedom).sqrt()).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
            }
        }
        Ok(())
    }
}

/// The paper's z for `n` clients of which `m` are hostile; 0 where there is at most one honest client, who has no spread.
fn supported_z(n: usize, m: usize) -> f64 {
    let honest = n.saturating_sub(m);
    let supporters = (n / 2 + 1).saturating_sub(m).max(1);
    let others = honest.saturating_sub(supporters);
    if others == 0 {
        return 0.0;
    }
    normal_quantile(others as f64 / honest as f64)
}

/// Φ⁻¹(p) of 0 < p < 1 by bisection, to the last bit that `erfc` can tell: Φ(z) = ½·erfc(−z/√2).
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if 0.5 * erfc(-middle * std::f64::consts::FRAC_1_SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
}

colla_plugin!(Alie: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn every_coordinate_is_moved_by_z_standard_deviations() {
        // Means 2 and 0; variances (1 + 0 + 1)/2 = 1 and (4 + 4 + 0)/2 = 4.
        let honest = [vec![1.0, -2.0], vec![2.0, 2.0], vec![3.0, 0.0]];
        let sent = Testbed::<Alie>::new(&[("z", 1.5.into())]).attack(&honest, &[9.0, 9.0], 1).unwrap();
        assert_eq!(sent, [2.0 + 1.5, 1.5 * 2.0]);
    }

    #[test]
    fn the_normal_quantile_has_the_tabulated_values() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.841_344_746_068_542_9, 1.0),
            (0.001, -3.090_232_306_167_813),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-12, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn z_is_the_papers_for_its_example_and_finite_for_every_cohort() {
        // The paper's: n = 50, m = 24: s = 26 − 24 = 2, Φ(z) = 24/26.
        assert!((supported_z(50, 24) - 1.426_076_872_272_850_4).abs() < 1e-9, "{}", supported_z(50, 24));
        // n = 10, m = 2: s = 4, Φ(z) = 4/8.
        assert!(supported_z(10, 2).abs() < 1e-12);
        for n in 1..60 {
            for m in 1..=n {
                assert!(supported_z(n, m).is_finite(), "{n} {m}");
            }
        }
        assert!(supported_z(4, 1) < 0.0);
        assert_eq!(supported_z(2, 1), 0.0);
    }

    #[test]
    fn ranges_of_any_length_give_the_same_values() {
        let honest: Vec<Vec<f32>> =
            (0..5).map(|k| (0..203).map(|i| ((i * 31 + k * 17) % 23) as f32 - 11.0).collect()).collect();
        let mut plugin = Testbed::<Alie>::new(&[]);
        let whole = plugin.attack(&honest, &[0.0; 203], 3).unwrap();
        let mut part = |from: usize, to: usize| {
            let rows: Vec<Vec<f32>> = honest.iter().map(|row| row[from..to].to_vec()).collect();
            plugin.attack(&rows, &vec![0.0; to - from], 3).unwrap()
        };
        assert_eq!([part(0, 45), part(45, 203)].concat(), whole);
    }

    #[test]
    fn one_honest_client_is_copied_and_none_leaves_the_own_update() {
        assert_eq!(Testbed::<Alie>::new(&[]).attack(&[vec![1.0, 2.0]], &[5.0, 6.0], 1).unwrap(), [1.0, 2.0]);
        assert_eq!(Testbed::<Alie>::new(&[]).attack(&[], &[5.0, 6.0], 3).unwrap(), [5.0, 6.0]);
    }
}
