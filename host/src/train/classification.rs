//! Classification losses with their slopes, on plain rows of logits.
//!
//! Where in the flow: between the forward and the backward pass of a step, and at the end of an evaluated batch.
//! The loss leaves the tensor library here: a few dozen numbers cost less in one loop than in five tensor operations,
//! and `f64` without the platform's mathematics gives the same bits everywhere. What it never does: average; that is
//! the caller's.

/// Loss of one row and, where `slope` is given, `scale · ∂loss/∂logits` in it.
///
/// One logit z: binary cross-entropy on logits, `max(z, 0) − z·y + ln(1 + e^−|z|)` with label y ∈ {0, 1}.
/// C logits: softmax cross-entropy, `ln Σ e^(z_c − z_max) + z_max − z_y` with label y ∈ 0..C.
/// Shapes: `slope` is as long as `logits`. Non-finite logits give a non-finite loss.
#[inline(always)]
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

/// What [`row_loss`] gives without slopes and [`is_hit`] says for rows that lie side by side: `each` gets both, row after row.
///
/// Shapes: `logits` [C, 16], with C logits of a row in its column; a label for each row, at most sixteen.
#[inline(always)]
pub fn losses_side_by_side(logits: &[[f32; AT_A_TIME]], labels: &[u32], mut each: impl FnMut(f64, bool)) {
    if let [logits] = logits {
        for (&logit, &label) in logits.iter().zip(labels) {
            each(row_loss(&[logit], label, None), is_hit(&[logit], label));
        }
        return;
    }
    // Loops over whole arrays, so that all rows go through each operation at once.
    let (mut best, mut largest) = ([0; AT_A_TIME], logits[0]);
    for (class, logits) in logits.iter().enumerate() {
        for row in 0..AT_A_TIME {
            let is_larger = logits[row] > largest[row];
            best[row] = if is_larger { class as u32 } else { best[row] };
            largest[row] = if is_larger { logits[row] } else { largest[row] };
        }
    }
    let mut sums = [0.0; AT_A_TIME];
    for logits in logits {
        for row in 0..AT_A_TIME {
            sums[row] += power_of_e(f64::from(logits[row]) - f64::from(largest[row]));
        }
    }
    for (row, &label) in labels.iter().enumerate() {
        let loss = libm::log(sums[row]) + f64::from(largest[row]) - f64::from(logits[label as usize][row]);
        each(loss, best[row] == label);
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

#[inline(always)]
fn softmax(logits: &[f32], label: usize, slope: Option<(&mut [f32], f64)>) -> f64 {
    let largest = f64::from(logits[first_largest(logits)]);
    let mut sum = 0.0;
    match slope {
        None => {
            for logits in logits.chunks(AT_A_TIME) {
                let powers = powers(logits, largest);
                powers[..logits.len()].iter().for_each(|power| sum += power);
            }
        }
        Some((slope, scale)) => {
            for (logits, slope) in logits.chunks(AT_A_TIME).zip(slope.chunks_mut(AT_A_TIME)) {
                let powers = powers(logits, largest);
                for (slope, power) in slope.iter_mut().zip(powers) {
                    sum += power;
                    *slope = power as f32;
                }
            }
            let share = scale / sum;
            for s in slope.iter_mut() {
                *s = (f64::from(*s) * share) as f32;
            }
            slope[label] -= scale as f32;
        }
    }
    libm::log(sum) + largest - f64::from(logits[label])
}

/// Powers, or rows, that are computed side by side.
pub(super) const AT_A_TIME: usize = 16;

/// `e^(z − largest)` for up to sixteen logits, which are at most `largest` or not a number.
#[inline(always)]
fn powers(logits: &[f32], largest: f64) -> [f64; AT_A_TIME] {
    let mut powers = [0.0; AT_A_TIME];
    for (power, &z) in powers.iter_mut().zip(logits) {
        *power = f64::from(z) - largest;
    }
    // A loop, since what `map` calls is a function of its own and would not run in the caller's registers.
    for power in &mut powers {
        *power = power_of_e(*power);
    }
    powers
}

/// `e^x` for x ≤ 0 within two units in the last place, 0 below −708 (where `f64` runs out of normal numbers), NaN for NaN.
///
/// Without branches and tables, so that several run side by side; x = n·ln 2 + r with |r| ≤ ½·ln 2, and the series of
/// e^r up to r¹³, whose rest is below 2⁻⁵⁷.
#[inline(always)]
fn power_of_e(x: f64) -> f64 {
    const TERMS: [f64; 14] = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    // Added to a small number, it leaves the nearest integer in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    const LN_2: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76)];
    let kept = if x < -708.0 { -708.0 } else { x };
    let rounded = kept * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (kept - n * LN_2[0]) - n * LN_2[1];
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum * r + term);
    let two_to_the_n = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    if x < -708.0 { 0.0 } else { series * two_to_the_n }
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
    fn powers_of_e_are_those_of_the_library_within_two_units_in_the_last_place() {
        for i in 0..200_000 {
            let x = -f64::from(i) * f64::from(i) * 1.77e-8;
            let (ours, theirs) = (power_of_e(x), libm::exp(x));
            assert!((ours - theirs).abs() <= 2.0 * f64::EPSILON * theirs, "e^{x}: {ours} and {theirs}");
        }
        assert_eq!([0.0, -0.0, -708.1, f64::NEG_INFINITY].map(power_of_e), [1.0, 1.0, 0.0, 0.0]);
        assert!(power_of_e(f64::NAN).is_nan());
    }

    #[test]
    fn more_classes_than_are_computed_at_a_time_share_one_sum() {
        let logits: Vec<f32> = (0..37).map(|class| (class % 5) as f32).collect();
        let mut slope = vec![0.0; 37];
        let sum: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
        close(row_loss(&logits, 20, Some((&mut slope, 1.0))), sum.ln());
        close(row_loss(&logits, 20, None), sum.ln());
        for (class, slope) in slope.iter().enumerate() {
            let hit = if class == 20 { 1.0 } else { 0.0 };
            close(f64::from(*slope), f64::from(logits[class]).exp() / sum - hit);
        }
    }

    #[test]
    fn extreme_logits_stay_finite_and_nan_stays_nan() {
        close(row_loss(&[1e30, -1e30], 0, None), 0.0);
        close(row_loss(&[-500.0], 1, None), 500.0);
        assert!(row_loss(&[f32::NAN, 1.0], 0, None).is_nan());
        assert!(row_loss(&[f32::NAN], 0, None).is_nan());
    }

    /// Bit for bit, whatever the logits are and in which lane.
    #[test]
    fn rows_side_by_side_lose_what_each_loses_alone() {
        for (classes, rows) in [(1, 16), (2, 16), (10, 16), (10, 3), (40, 16)] {
            let logit = |class: usize, row: usize| match (row, class) {
                (4, 0) | (5, 1) | (6, 9) => f32::NAN,
                (7, 0) | (8, 1) => f32::INFINITY,
                (9, 0) | (10, 1) | (11, _) => f32::NEG_INFINITY,
                // Some are equal, some far apart.
                _ => ((class * 7 + row * 5) % 23 % 9) as f32 * if row == 12 { 200.0 } else { 0.7 } - 3.0,
            };
            let lane = |class: usize| std::array::from_fn(|row| logit(class, row));
            let logits: Vec<[f32; AT_A_TIME]> = (0..classes).map(lane).collect();
            let labels: Vec<u32> = (0..rows).map(|row| (row * 3 % classes.max(2)) as u32).collect();
            let mut found = Vec::new();
            losses_side_by_side(&logits, &labels, |loss, hit| found.push((loss, hit)));
            assert_eq!(found.len(), rows);
            for (row, (&label, (loss, hit))) in labels.iter().zip(found).enumerate() {
                let logits: Vec<f32> = logits.iter().map(|logits| logits[row]).collect();
                let alone = row_loss(&logits, label, None);
                // A NaN may have any sign.
                assert!(loss.to_bits() == alone.to_bits() || loss.is_nan() && alone.is_nan(), "{logits:?}");
                assert_eq!(hit, is_hit(&logits, label), "{logits:?}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_first_class_and_a_binary_logit_of_zero_to_class_zero() {
        assert!(is_hit(&[1.0, 1.0], 0) && !is_hit(&[1.0, 1.0], 1));
        assert!(is_hit(&[0.0], 0) && is_hit(&[0.1], 1));
    }
}
