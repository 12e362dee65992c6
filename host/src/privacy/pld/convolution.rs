//! The losses of many rounds from those of one.

use super::Losses;
use crate::privacy::fft::{Complex, Fft};
use libm::{exp, expm1, log, log1p};
use std::ops::Range;

/// The largest tilt, in standard deviations of one round's loss, and how many there are, each √½ of the one before: the
/// smallest suits 10⁹ rounds.
const LARGEST_TILT: f64 = 8.0;
const TILTS: i32 = 31;

/// What Chernoff's bound needs of one round: (λ, ln E[e^(λL)], ln E[e^(−λL)]) over the finite losses.
pub(super) struct Tilts {
    spacing: f64,
    moments: Vec<(f64, f64, f64)>,
}

impl Tilts {
    pub fn new(losses: &Losses, spacing: f64) -> Self {
        let at = |index: usize| (losses.first + index as i64) as f64 * spacing;
        let average = |value: &dyn Fn(f64) -> f64| -> f64 {
            losses.masses.iter().enumerate().map(|(index, mass)| mass * value(at(index))).sum()
        };
        let mean = average(&|loss| loss);
        let deviation = average(&|loss| (loss - mean) * (loss - mean)).sqrt().max(spacing);
        let moments = (0..TILTS).map(|k| {
            let tilt = LARGEST_TILT / deviation * 0.5f64.powi(k / 2) * if k % 2 == 1 { 0.5f64.sqrt() } else { 1.0 };
            let shrink = exp(-tilt * spacing);
            // Horner's scheme from the far end, so that nothing overflows.
            let horner = |sum: f64, mass: &f64| sum * shrink + mass;
            let up = tilt * at(losses.masses.len() - 1) + log(losses.masses.iter().fold(0.0, horner));
            let down = -tilt * at(0) + log(losses.masses.iter().rev().fold(0.0, horner));
            (tilt, up, down)
        });
        Tilts { spacing, moments: moments.collect() }
    }

    /// The grid's places below and above which a sum of `rounds` losses lies with a probability of at most `outside`
    /// each: P[S ≥ s] ≤ e^(−λs)·E[e^(λL)]ᵀ.
    pub fn window(&self, losses: &Losses, rounds: u64, outside: f64) -> Range<i64> {
        let (t, rest) = (rounds as f64, -log(outside));
        let reach = |pick: fn(&(f64, f64, f64)) -> f64| {
            let bounds = self.moments.iter().map(|moment| (t * pick(moment) + rest) / moment.0);
            bounds.fold(f64::INFINITY, f64::min) / self.spacing
        };
        let first = t * losses.first as f64;
        let last = first + t * (losses.masses.len() - 1) as f64;
        let low = (-reach(|moment| moment.2)).floor().max(first);
        let high = reach(|moment| moment.1).ceil().min(last).max(low);
        low as i64..high as i64 + 1
    }
}

/// Transforms, and the last one's tables.
#[derive(Default)]
pub(super) struct Convolution {
    fft: Option<Fft>,
}

impl Convolution {
    /// The distribution of the sum of `rounds` losses of each side, on `points` places from `starts` on. What lies
    /// elsewhere is found inside, a multiple of `points` away.
    ///
    /// Both sides are real, so they go through one transform as its real and its imaginary part.
    pub fn power(&mut self, sides: &[Losses; 2], rounds: u64, starts: [i64; 2], points: usize) -> [Losses; 2] {
        if self.fft.as_ref().is_none_or(|fft| fft.len() != points) {
            self.fft = None;
        }
        let fft = self.fft.get_or_insert_with(|| Fft::new(points));
        let mut values = vec![Complex::default(); points];
        sides[0].masses.iter().enumerate().for_each(|(index, mass)| values[index % points].re += mass);
        sides[1].masses.iter().enumerate().for_each(|(index, mass)| values[index % points].im += mass);
        fft.forward(&mut values);
        for k in 0..=points / 2 {
            let mirrored = (points - k) % points;
            let (here, there) = (values[k], values[mirrored].conjugate());
            let real = (here + there).scale(0.5).power(rounds);
            let imaginary = (there - here).scale(0.5).turned().power(rounds);
            values[k] = real + imaginary.turned();
            values[mirrored] = real.conjugate() + imaginary.conjugate().turned();
        }
        fft.inverse(&mut values);
        let side = |side: usize, part: fn(&Complex) -> f64| {
            let Losses { first, infinite, .. } = sides[side];
            let offset = (starts[side] - first * rounds as i64).rem_euclid(points as i64) as usize;
            let masses = values[offset..].iter().chain(&values[..offset]).map(part).collect();
            // That some round's loss is infinite: 1 − (1 − p)ᵀ.
            Losses { first: starts[side], masses, infinite: -expm1(rounds as f64 * log1p(-infinite)) }
        };
        [side(0, |value| value.re), side(1, |value| value.im)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses() -> [Losses; 2] {
        let going = Losses { first: -2, masses: vec![0.1, 0.2, 0.3, 0.25, 0.1], infinite: 0.05 };
        let coming = Losses { first: -1, masses: vec![0.4, 0.35, 0.25], infinite: 0.0 };
        [going, coming]
    }

    /// The definition.
    fn convolved(losses: &Losses, rounds: u64) -> (i64, Vec<f64>) {
        let mut sum = (0, vec![1.0]);
        for _ in 0..rounds {
            let mut next = vec![0.0; sum.1.len() + losses.masses.len() - 1];
            for (i, a) in sum.1.iter().enumerate() {
                losses.masses.iter().enumerate().for_each(|(j, b)| next[i + j] += a * b);
            }
            sum = (sum.0 + losses.first, next);
        }
        sum
    }

    #[test]
    fn the_power_of_the_transform_is_the_convolution() {
        let sides = losses();
        for rounds in [1u64, 2, 7] {
            let starts = [-2 * rounds as i64, -(rounds as i64)];
            let powers = Convolution::default().power(&sides, rounds, starts, 32);
            for (power, losses) in powers.iter().zip(&sides) {
                let (first, expected) = convolved(losses, rounds);
                assert_eq!(power.first, first);
                for (index, mass) in power.masses.iter().enumerate() {
                    let expected = expected.get(index).copied().unwrap_or(0.0);
                    assert!((mass - expected).abs() < 1e-15, "{rounds} rounds, place {index}: {mass} for {expected}");
                }
            }
            assert!((powers[0].infinite - (1.0 - 0.95f64.powi(rounds as i32))).abs() < 1e-15);
        }
    }

    #[test]
    fn no_more_than_what_was_allowed_lies_outside_the_window() {
        let sides = losses();
        for (losses, rounds) in [(&sides[0], 40u64), (&sides[1], 40)] {
            let window = Tilts::new(losses, 0.5).window(losses, rounds, 1e-6);
            let (first, masses) = convolved(losses, rounds);
            let place = |index: usize| first + index as i64;
            let sum = |outside: &dyn Fn(i64) -> bool| -> f64 {
                masses.iter().enumerate().filter(|(index, _)| outside(place(*index))).map(|(_, mass)| mass).sum()
            };
            assert!(sum(&|place| place < window.start) <= 1e-6 && sum(&|place| place >= window.end) <= 1e-6);
            let possible = masses.len() as i64;
            assert!(window.end - window.start < possible, "it cuts something off: {window:?} of {possible}");
        }
    }
}
