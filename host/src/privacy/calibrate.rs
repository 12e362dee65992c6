//! How much noise a wanted ε takes.

use super::{Accountant, Sampling, epsilon};
use crate::error::{Fault, Kind, short};
use anyhow::Result;

/// How near the answer is to the smallest multiplier, as a share of it.
const TOLERANCE: f64 = 1e-4;
/// Doublings of 1 among which the answer is looked for.
const MOST_DOUBLINGS: i32 = 24;
/// The smallest multiplier that is looked at: so little noise protects nobody.
pub const LEAST_MULTIPLIER: f64 = 1.0 / 256.0;

/// A noise multiplier, at most 0.01 % above the smallest, with which `rounds` rounds are (`target`,
/// `delta`)-differentially private: ε falls with the multiplier, so the answer is bracketed and bisected, and its own ε
/// is at most `target`. Where less noise than [`LEAST_MULTIPLIER`] would do, the answer is that.
///
/// `target`: above 0.
/// Errors: `Kind::Config` where no multiplier up to 2²⁴ is enough; those of [`epsilon`].
pub fn noise_multiplier(
    accountant: Accountant,
    sampling: Sampling,
    target: f64,
    rounds: u64,
    delta: f64,
) -> Result<f64> {
    let holds =
        |multiplier: f64| Ok::<_, anyhow::Error>(epsilon(accountant, sampling, multiplier, rounds, delta)? <= target);
    let (mut low, mut high) = if holds(1.0)? { halved(&holds)? } else { doubled(&holds, target, delta)? };
    while high > low * (1.0 + TOLERANCE) {
        let middle = (low * high).sqrt();
        if holds(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

/// 1 holds: the last power of ½ that holds, and the first that does not. Where none fails, the last one twice.
fn halved(holds: &impl Fn(f64) -> Result<bool>) -> Result<(f64, f64)> {
    let mut high = 1.0;
    while high > LEAST_MULTIPLIER {
        let low = high / 2.0;
        if !holds(low)? {
            return Ok((low, high));
        }
        high = low;
    }
    Ok((high, high))
}

/// 1 does not hold: the last power of 2 that does not, and the first that does.
fn doubled(holds: &impl Fn(f64) -> Result<bool>, target: f64, delta: f64) -> Result<(f64, f64)> {
    let mut low = 1.0;
    for _ in 0..MOST_DOUBLINGS {
        let high = low * 2.0;
        if holds(high)? {
            return Ok((low, high));
        }
        low = high;
    }
    Err(Fault::new(
        Kind::Config,
        format!(
            "no noise multiplier up to {low} gives an epsilon of {} with a delta of {}; ask for a larger one",
            short(target),
            short(delta)
        ),
    ))
}
