//! Holds stages to the norm that they promise (`norm` in the manifest) where noise rests on it.
//!
//! Where in the flow: behind the stage that bounds the norm of updates, and behind each stage that follows it. A pass over
//! the update each, and only in runs with a plugin that relies on the bound.
//! What it never does: mend an update, or add to what a bound means. A stage's bound is the number that it names itself.

use super::{failure, measures::norm2, stage::Stage};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

/// By how much, relatively, a stage's roundings may lift a norm above what it promised.
///
/// Each `f32` operation that rounds to nearest lifts an element by at most 2⁻²⁴ of it, so the norm too, whatever the number
/// of elements. A stage that divides, multiplies and rounds a factor needs three or four; this leaves room for seven and for
/// the host's own sum in `f64`, whose error is below 2⁻³⁶ even for a granule of 65,536 elements.
const ALLOWANCE: f64 = 1.0 / (1 << 21) as f64;
/// Half the distance of the `f32` numbers next to zero, by which rounding may lift an element there.
const NEXT_TO_ZERO: f64 = f32::from_bits(1) as f64 / 2.0;

/// Whether a norm is above a bound by more than rounding explains. `len`: elements of the update.
pub fn exceeds(norm: f64, bound: f64, len: usize) -> bool {
    norm.is_nan() || norm > bound * (1.0 + ALLOWANCE) + (len as f64).sqrt() * NEXT_TO_ZERO
}

/// Which stage bounds the norm of the updates, and where its bound stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormPromise {
    /// Of the plugin in the run.
    pub position: u8,
    /// The bound that a parameter gives; otherwise the plugin broadcasts `norm_bound` each round.
    pub parameter: Option<f64>,
}

impl NormPromise {
    /// The name of the bound in broadcasts.
    pub const NAME: &'static str = "norm_bound";

    /// The round's bound, if it is one. `broadcast`: of the plugin that bounds.
    pub fn bound(&self, broadcast: Option<&Map>) -> Option<f64> {
        let bound = self.parameter.or_else(|| broadcast?.f64(Self::NAME))?;
        (bound >= 0.0 && bound.is_finite()).then_some(bound)
    }
}

/// A promise in a round.
pub struct NormGuard {
    promise: NormPromise,
    /// The plugin that bounds.
    name: String,
    /// The round's bound; no round has begun without one.
    bound: f64,
    /// Whether the current update has passed the stage that bounds.
    bounded: bool,
}

impl NormGuard {
    pub fn new(promise: NormPromise, name: &str) -> Self {
        NormGuard { promise, name: name.into(), bound: 0.0, bounded: false }
    }

    /// Takes the round's bound. Errors: a plugin failure where there is none.
    pub fn begin_round(&mut self, broadcasts: &[Map]) -> Result<()> {
        let broadcast = broadcasts.get(usize::from(self.promise.position));
        self.bound = self.promise.bound(broadcast).ok_or_else(|| no_bound(&self.name))?;
        Ok(())
    }

    /// Another update enters the stages.
    pub fn begin(&mut self) {
        self.bounded = false;
    }

    /// Looks at an update behind a stage; one in front of the stage that bounds may do as it likes. `op`: what gave the update.
    /// Errors: a plugin failure that names the stage.
    pub fn check(&mut self, stage: &Stage, op: u32, update: &[f32]) -> Result<()> {
        let bounds = stage.position() == self.promise.position;
        self.bounded |= bounds;
        if !self.bounded {
            return Ok(());
        }
        let (norm, bound) = (norm2(update), self.bound);
        if !exceeds(norm, bound, update.len()) {
            return Ok(());
        }
        let promise = match bounds {
            true => "its manifest promises that `norm` is \"bounds\", and its bound is ".to_owned(),
            false => format!("its manifest promises that `norm` is \"keeps\", and the bound of `{}` is ", self.name),
        };
        Err(failure(&stage.name, op, format!("left an update with the Euclidean norm {norm}; {promise}{bound}")).into())
    }
}

/// A stage that says that it bounds norms, and not to what.
pub fn no_bound(plugin: &str) -> crate::error::PluginFailure {
    let problem = "its manifest says that `norm` is \"bounds\" and names no parameter `norm_bound`, so its reply must hold \
                   `norm_bound`, a finite number of at least 0; it does not";
    failure(plugin, op::ROUND_BEGIN, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_may_lift_a_norm_by_two_to_the_minus_21_and_nothing_more() {
        let lifted = |part: f64| 3.0 * (1.0 + part / (1 << 21) as f64);
        assert!(!exceeds(lifted(0.0), 3.0, 10) && !exceeds(lifted(0.99), 3.0, 10));
        assert!(exceeds(lifted(1.01), 3.0, 10) && exceeds(f64::NAN, 3.0, 10) && exceeds(f64::INFINITY, 3.0, 10));
        // Four elements next to zero: 2 · 2⁻¹⁵⁰ = 2⁻¹⁴⁹, one such element.
        let smallest = f64::from(f32::from_bits(1));
        assert!(!exceeds(smallest, 0.0, 4) && exceeds(smallest, 0.0, 3));
    }

    #[test]
    fn a_bound_is_a_parameter_or_what_was_broadcast_and_a_finite_number() {
        let told = |bound: f64| Map::new().with("norm_bound", bound);
        let by_broadcast = NormPromise { position: 0, parameter: None };
        assert_eq!(by_broadcast.bound(Some(&told(2.0))), Some(2.0));
        for none in [Some(&told(-1.0)), Some(&told(f64::NAN)), Some(&Map::new()), None] {
            assert_eq!(by_broadcast.bound(none), None, "{none:?}");
        }
        assert_eq!(NormPromise { position: 0, parameter: Some(0.5) }.bound(Some(&told(2.0))), Some(0.5));
    }
}
