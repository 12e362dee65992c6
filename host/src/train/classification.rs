//! Classification losses with their slopes, on plain rows of logits.
//!
//! Where in the flow: between the forward and the backward pass of a step, and at the end of an evaluated batch.
//! The loss leaves the tensor library here: a few dozen numbers cost less in one loop than in five tensor operations,
//! and `libm` in `f64` gives the same bits on every platform. What it never does: average; that is the caller's.

/// Loss of one row and, where `slope` is given, `scale · ∂loss/∂logits` in it.
///
/// One logit z: binary cross-entropy on logits, `max(z, 0) − z·y + ln(1 + e^−|z|)` with label y ∈ {0, 1}.
/// C logits: softmax cross-entropy, `ln Σ e^(z_c − z_max) + z_max − z_y` with label y ∈ 0..C.
/// Shapes: `slope` is as long as `logits`. Non-finite logits give a non-finite loss.
pub fn row_loss(logits: &[f32], label: u32, slope: Option<(&mut [f32], f64)>) -> f64 {
    match logits {
        [logit] => binary(f64::from(*logit), f64::from(label), slope),
        _ => softmax(logits, label as usize, slope),
    }
}

/// Whether the row is classified correctly: logit above 0 for one output, else the first largest logit.
pub fn is_hit(logits: &[f32], label: u32) -> bool {
    match logits {
        [logit] => (*logit > 0.0) == (label == 1),
        _ => first_largest(logits) == label as usize,
    }
}

/// A loss rounded to a multiple of 2⁻³⁰, so that sums up to 2²³ are exact and do not depend on their order.
pub fn on_grid(loss: f64) -> f64 {
    const STEPS: f64 = (1u64 << 30) as f64;
    (loss * STEPS).round() / STEPS
}

fn first_largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}

fn binary(z: f64, y: f64, slope: Option<(&mut [f32], f64)>) -> f64 {
    let e = libm::exp(-z.abs());
    if let Some((slope, scale)) = slope {
        let probability = if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        slope[0] = ((probability - y) * scale) as f32;
    }
    z.max(0.0) - z * y + libm::log1p(e)
}

fn softmax(logits: &[f32], label: usize, slope: Option<(&mut [f32], f64)>) -> f64 {
    let largest = f64::from(logits[first_largest(logits)]);
    let power = |z: f32| libm::exp(f64::from(z) - largest);
    let sum: f64 = match slope {
        None => logits.iter().map(|&z| power(z)).sum(),
        Some((slope, scale)) => {
            let mut sum = 0.0;
            for (s, &z) in slope.iter_mut().zip(logits) {
                let p = power(z);
                sum += p;
                *s = p as f32;
            }
            let share = scale / sum;
            for s in slope.iter_mut() {
                *s = (f64::from(*s) * share) as f32;
            }
            slope[label] -= scale as f32;
            sum
        }
    };
    libm::log(sum) + largest - f64::from(logits[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }

    #[test]
    fn softmax_loss_and_slope_match_hand_computed_numbers() {
        // Logits ln 1, ln 2, ln 5: probabilities 1/8, 2/8, 5/8; label 1: loss ln 4.
        let logits = [0.0, 2f32.ln(), 5f32.ln()];
        let mut slope = [0.0; 3];
        close(row_loss(&logits, 1, Some((&mut slope, 0.5))), 4f64.ln());
        for (s, expected) in slope.iter().zip([0.0625, -0.375, 0.3125]) {
            close(f64::from(*s), expected);
        }
    }

    #[test]
    fn binary_loss_and_slope_match_hand_computed_numbers() {
        // Logit ln 3: probability 3/4. Label 1: loss −ln(3/4), slope −1/4; label 0: loss −ln(1/4), slope 3/4.
        for (label, loss, slope) in [(1, -(0.75f64.ln()), -0.25), (0, -(0.25f64.ln()), 0.75)] {
            let mut out = [0.0];
            close(row_loss(&[3f32.ln()], label, Some((&mut out, 1.0))), loss);
            close(f64::from(out[0]), slope);
        }
    }

    #[test]
    fn extreme_logits_stay_finite_and_nan_stays_nan() {
        close(row_loss(&[1e30, -1e30], 0, None), 0.0);
        close(row_loss(&[-500.0], 1, None), 500.0);
        assert!(row_loss(&[f32::NAN, 1.0], 0, None).is_nan());
        assert!(row_loss(&[f32::NAN], 0, None).is_nan());
    }

    #[test]
    fn ties_go_to_the_first_class_and_a_binary_logit_of_zero_to_class_zero() {
        assert!(is_hit(&[1.0, 1.0], 0) && !is_hit(&[1.0, 1.0], 1));
        assert!(is_hit(&[0.0], 0) && is_hit(&[0.1], 1));
    }
}
