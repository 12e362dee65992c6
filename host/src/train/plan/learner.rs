//! Where the layers' gradients go: at once into the weights or, if the whole gradient's norm matters, into a store.
//!
//! Where in the flow: the backward pass hands over each piece of a gradient once nothing needs the old weights any
//! more. What it never does: know what layer a piece belongs to.

use crate::registers::Registers;
use crate::train::sgd::Update;
use std::ops::Range;

/// The weights during one step, in the plan's order.
pub struct Learner<'a> {
    pub registers: Registers,
    pub update: &'a Update<'a>,
    /// With room for a panel's width behind the last.
    pub weights: &'a mut [f32],
    /// As many as the weights if there is momentum, else not read.
    pub velocity: &'a mut [f32],
    /// As many as the weights where gradients are clipped, else not read.
    pub gradient: &'a mut [f32],
}

impl Learner<'_> {
    /// The learning rate, if that times the gradient is all that the weights move by: then whoever forms a gradient may
    /// take it from [`weights`](Self::weights) itself, with the same result.
    pub fn plain_rate(&self) -> Option<f32> {
        self.update.plain_rate()
    }

    /// Takes the gradient of the weights that begin at `offset`; it is used up.
    pub fn learn(&mut self, offset: usize, gradient: &mut [f32]) {
        if self.update.clips() {
            self.gradient[offset..offset + gradient.len()].copy_from_slice(gradient);
        } else {
            self.apply(offset, gradient, 1.0);
        }
    }

    /// Ends the step: where gradients are clipped, all weights move only now. `trained`: what has a gradient; elsewhere
    /// the store holds the zeros that it was made with, which add nothing to the norm.
    pub fn finish(mut self, trained: &[Range<usize>]) {
        if self.update.clips() {
            let factor = self.update.clip_factor(squared_norm(self.gradient));
            let gradient = std::mem::take(&mut self.gradient);
            for range in trained {
                self.apply(range.start, &mut gradient[range.clone()], factor);
            }
        }
    }

    fn apply(&mut self, offset: usize, gradient: &mut [f32], factor: f32) {
        let range = offset..offset + gradient.len();
        let velocity = if self.update.has_momentum() { &mut self.velocity[range.clone()] } else { &mut [] };
        let (update, weights) = (self.update, &mut self.weights[range]);
        // The same operations in wider registers.
        self.registers.run(
            #[inline(always)]
            || update.apply(offset, weights, gradient, velocity, factor),
        );
    }
}

/// Sum of squares in `f64`, in eight lanes, so that it takes no longer than reading the values.
fn squared_norm(values: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    for chunk in values.chunks(8) {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum()
}
