//! The optimizer step: gradient, declared terms, momentum and weight update fused over slices of the flat weights.
//!
//! ```text
//! g ← g · min(1, max_norm / ‖g‖)                    clip-grad, over the whole gradient
//! g ← g + weight_decay · w                          weight decay
//! g ← g + mu · (w − w_received),  g + mu · (w − s)
//!     g + lambda · w,  g + scale · s                prox, L2 and linear terms, in the order given
//! v ← momentum · v + g                              v = 0 before the first step (PyTorch's form, no dampening)
//! w ← w − lr · v
//! ```
//! Where in the flow: the trainer calls it once per tensor and step. What it never does: allocate, or look at more
//! than one element at a time, so the result does not depend on how the weights are cut into tensors.

use super::{LocalTask, Term};

/// Elements that go through all parts of the update while they are in the first-level cache.
const BLOCK: usize = 2048;

/// A local task's optimizer with all coefficients resolved. Terms with coefficient 0 vanish here, so that `mu = 0`
/// is the same arithmetic, bit for bit, as no term.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// Learning rate of each step with all scale terms, before it is rounded to `f32`.
    pub learning_rate: f64,
    momentum: f32,
    weight_decay: f32,
    max_norm: Option<f32>,
    pulls: Vec<Pull<'a>>,
}

/// A term that changes the gradient element by element. Vectors are P long.
#[derive(Clone, Copy, Debug)]
enum Pull<'a> {
    To(f32, &'a [f32]),
    ToZero(f32),
    Along(f32, &'a [f32]),
}

impl<'a> Update<'a> {
    pub fn new(task: &LocalTask<'a>) -> Self {
        let mut update = Update {
            learning_rate: task.learning_rate,
            momentum: task.momentum as f32,
            weight_decay: task.weight_decay as f32,
            max_norm: None,
            pulls: Vec::new(),
        };
        for term in task.terms {
            match *term {
                Term::Prox { mu: 0.0 } | Term::ProxToward { mu: 0.0, .. } => {}
                Term::L2 { lambda: 0.0 } | Term::Linear { scale: 0.0, .. } => {}
                Term::Prox { mu } => update.pulls.push(Pull::To(mu, task.start)),
                Term::ProxToward { mu, toward } => update.pulls.push(Pull::To(mu, toward)),
                Term::L2 { lambda } => update.pulls.push(Pull::ToZero(lambda)),
                Term::Linear { scale, slot } => update.pulls.push(Pull::Along(scale, slot)),
                Term::ClipGrad { max_norm } => {
                    update.max_norm = Some(update.max_norm.map_or(max_norm, |smaller| smaller.min(max_norm)));
                }
                Term::LearningRateScale { factor } => update.learning_rate *= f64::from(factor),
            }
        }
        update
    }

    pub fn has_momentum(&self) -> bool {
        self.momentum != 0.0
    }

    /// The learning rate, where a step is `w ← w − lr · g` and nothing else.
    pub fn plain_rate(&self) -> Option<f32> {
        let plain = !self.has_momentum() && !self.clips() && self.weight_decay == 0.0 && self.pulls.is_empty();
        plain.then_some(self.learning_rate as f32)
    }

    pub fn clips(&self) -> bool {
        self.max_norm.is_some()
    }

    /// Factor for a gradient of the given squared norm: `min(1, max_norm / ‖g‖)`; 1 without a clip-grad term.
    pub fn clip_factor(&self, squared_norm: f64) -> f32 {
        let norm = squared_norm.sqrt();
        match self.max_norm {
            Some(max_norm) if norm > f64::from(max_norm) => (f64::from(max_norm) / norm) as f32,
            _ => 1.0,
        }
    }

    /// One step on the tensor that starts at `offset` in the flat vector. The gradient is used up.
    ///
    /// Inlined, so that a caller who knows the processor gets it in that processor's registers.
    /// Shapes: `gradient` is as long as `weights`; so is `velocity` if there is momentum, else it may be empty.
    #[inline(always)]
    pub fn apply(
        &self,
        offset: usize,
        weights: &mut [f32],
        gradient: &mut [f32],
        velocity: &mut [f32],
        clip_factor: f32,
    ) {
        for first in (0..weights.len()).step_by(BLOCK) {
            let range = first..weights.len().min(first + BLOCK);
            let (w, g) = (&mut weights[range.clone()], &mut gradient[range.clone()]);
            self.correct(offset + first, w, g, clip_factor);
            if self.has_momentum() {
                let v = &mut velocity[range];
                accumulate(v, self.momentum, g);
                descend(w, self.learning_rate as f32, v);
            } else {
                descend(w, self.learning_rate as f32, g);
            }
        }
    }

    /// Clip factor, weight decay and terms on the elements from `offset` of the flat vector on.
    #[inline(always)]
    fn correct(&self, offset: usize, w: &[f32], g: &mut [f32], clip_factor: f32) {
        if clip_factor != 1.0 {
            g.iter_mut().for_each(|g| *g *= clip_factor);
        }
        if self.weight_decay != 0.0 {
            add_scaled(g, self.weight_decay, w);
        }
        for pull in &self.pulls {
            match *pull {
                Pull::ToZero(lambda) => add_scaled(g, lambda, w),
                Pull::Along(scale, vector) => add_scaled(g, scale, &vector[offset..]),
                Pull::To(mu, point) => {
                    for ((g, w), point) in g.iter_mut().zip(w).zip(&point[offset..]) {
                        *g += mu * (w - point);
                    }
                }
            }
        }
    }
}

/// `vector` may be longer than `g`.
#[inline(always)]
fn add_scaled(g: &mut [f32], factor: f32, vector: &[f32]) {
    for (g, x) in g.iter_mut().zip(vector) {
        *g += factor * x;
    }
}

#[inline(always)]
fn accumulate(v: &mut [f32], momentum: f32, g: &[f32]) {
    for (v, g) in v.iter_mut().zip(g) {
        *v = momentum * *v + g;
    }
}

#[inline(always)]
fn descend(w: &mut [f32], learning_rate: f32, direction: &[f32]) {
    for (w, d) in w.iter_mut().zip(direction) {
        *w -= learning_rate * d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::BatchOrder;

    /// Steps with a constant gradient; every number below is exact in `f32`.
    fn steps(count: usize, momentum: f64, weight_decay: f64, terms: &[Term<&[f32]>]) -> Vec<Vec<f32>> {
        let start = [1.0, -2.0, 0.5];
        let task = LocalTask {
            start: &start,
            rows: &[0],
            steps: count as u64,
            batch_size: 1,
            learning_rate: 0.5,
            momentum,
            weight_decay,
            terms,
            relabel: None,
            order: BatchOrder { seed: 0, round: 0, client: 0, phase: 0, steps_before: None, shuffle: false },
        };
        let update = Update::new(&task);
        let (mut w, mut v) = (start.to_vec(), vec![0.0; 3]);
        let mut trace = Vec::new();
        for _ in 0..count {
            let mut g = vec![4.0, 0.0, -3.0];
            let squared = if update.clips() { 25.0 } else { 0.0 };
            update.apply(0, &mut w, &mut g, &mut v, update.clip_factor(squared));
            trace.push(w.clone());
        }
        trace
    }

    #[test]
    fn plain_steps_subtract_the_scaled_gradient() {
        assert_eq!(steps(2, 0.0, 0.0, &[]), [[-1.0, -2.0, 2.0], [-3.0, -2.0, 3.5]]);
    }

    #[test]
    fn prox_changes_nothing_in_the_first_step_and_pulls_back_from_the_second_on() {
        // mu = 1/4. Step 2: g = (4, 0, −3) + ((−1 − 1), (−2 + 2), (2 − 1/2))/4 = (3.5, 0, −2.625);
        // w = (−1 − 1.75, −2, 2 + 1.3125).
        let prox = steps(2, 0.0, 0.0, &[Term::Prox { mu: 0.25 }]);
        assert_eq!(prox, [[-1.0, -2.0, 2.0], [-2.75, -2.0, 3.3125]]);
    }

    #[test]
    fn prox_toward_a_slot_pulls_to_it_from_the_first_step_on() {
        // mu = 1/4, s = (0, 2, 1/2). g = (4, 0, −3) + ((1 − 0), (−2 − 2), (1/2 − 1/2))/4 = (4.25, −1, −3); w −= g/2.
        let terms = [Term::ProxToward { mu: 0.25, toward: &[0.0, 2.0, 0.5][..] }];
        assert_eq!(steps(1, 0.0, 0.0, &terms), [[-1.125, -1.5, 2.0]]);
    }

    #[test]
    fn a_linear_term_shifts_every_gradient_by_the_scaled_slot() {
        // −1/2·(2, −4, 1): g = (3, 2, −3.5) in both steps, w −= g/2.
        let terms = [Term::Linear { scale: -0.5, slot: &[2.0, -4.0, 1.0][..] }];
        assert_eq!(steps(2, 0.0, 0.0, &terms), [[-0.5, -3.0, 2.25], [-2.0, -4.0, 4.0]]);
        // With momentum 1/2 the shift is part of what accumulates: v = (3, 2, −3.5), then (4.5, 3, −5.25).
        assert_eq!(steps(2, 0.5, 0.0, &terms), [[-0.5, -3.0, 2.25], [-2.75, -4.5, 4.875]]);
    }

    #[test]
    fn prox_toward_the_received_weights_is_prox_bit_for_bit() {
        let toward = [Term::ProxToward { mu: 0.3, toward: &[1.0, -2.0, 0.5][..] }];
        assert_eq!(steps(5, 0.9, 0.1, &toward), steps(5, 0.9, 0.1, &[Term::Prox { mu: 0.3 }]));
    }

    #[test]
    fn momentum_and_weight_decay_follow_pytorch() {
        // Decay 1/2: g = (4.5, −1, −2.75), v = g, w = (−1.25, −1.5, 1.875).
        // Then g = (4 − 0.625, −0.75, −3 + 0.9375); v = v/2 + g = (5.625, −1.25, −3.4375); w −= v/2.
        let decayed = steps(2, 0.5, 0.5, &[]);
        assert_eq!(decayed, [[-1.25, -1.5, 1.875], [-4.0625, -0.875, 3.59375]]);
    }

    #[test]
    fn clipping_scales_the_whole_gradient_before_the_other_terms() {
        // ‖(4, 0, −3)‖ = 5, max_norm 2.5: g = (2, 0, −1.5), then L2 with lambda 1: g = (3, −2, −1).
        let clipped = steps(1, 0.0, 0.0, &[Term::L2 { lambda: 1.0 }, Term::ClipGrad { max_norm: 2.5 }]);
        assert_eq!(clipped, [[-0.5, -1.0, 1.0]]);
        assert_eq!(steps(2, 0.0, 0.0, &[Term::ClipGrad { max_norm: 5.0 }]), steps(2, 0.0, 0.0, &[]));
    }

    #[test]
    fn zero_coefficients_and_a_scale_of_one_are_no_terms_bit_for_bit() {
        let none = [
            Term::Prox { mu: 0.0 },
            Term::ProxToward { mu: 0.0, toward: &[f32::NAN; 3][..] },
            Term::Linear { scale: 0.0, slot: &[f32::NAN; 3] },
            Term::L2 { lambda: 0.0 },
            Term::LearningRateScale { factor: 1.0 },
        ];
        assert_eq!(steps(3, 0.25, 0.125, &none), steps(3, 0.25, 0.125, &[]));
        assert_eq!(steps(1, 0.0, 0.0, &[Term::LearningRateScale { factor: 0.5 }]), [[0.0, -2.0, 1.25]]);
    }
}
