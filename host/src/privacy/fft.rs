//! The fast Fourier transform, in `f64`, for lengths that are powers of two.
//!
//! Why not a library's: theirs pick kernels by the processor and twiddle factors from the platform's mathematics, so
//! the last bits, and with them the round in which a budget ends, would depend on the machine.
//! Source: Cooley and Tukey (1965), the iterative form.

use libm::{cos, sin};
use std::f64::consts::PI;
use std::ops::{Add, Mul, Sub};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub fn conjugate(self) -> Self {
        Complex { re: self.re, im: -self.im }
    }

    pub fn scale(self, factor: f64) -> Self {
        Complex { re: self.re * factor, im: self.im * factor }
    }

    /// i·z.
    pub fn turned(self) -> Self {
        Complex { re: -self.im, im: self.re }
    }

    /// zⁿ by repeated squaring: a relative error of some n·2⁻⁵³.
    pub fn power(self, mut n: u64) -> Self {
        let (mut result, mut square) = (Complex { re: 1.0, im: 0.0 }, self);
        while n > 0 {
            if n & 1 == 1 {
                result = result * square;
            }
            square = square * square;
            n >>= 1;
        }
        result
    }
}

impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Complex { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// The transform of one length.
pub struct Fft {
    /// e^(−2πik/n) for k < n/2.
    twiddles: Vec<Complex>,
    len: usize,
}

impl Fft {
    /// `len`: a power of two.
    pub fn new(len: usize) -> Self {
        assert!(len.is_power_of_two(), "a length of {len} is no power of two");
        let twiddle = |k: usize| {
            let angle = -2.0 * PI * k as f64 / len as f64;
            Complex { re: cos(angle), im: sin(angle) }
        };
        Fft { twiddles: (0..len / 2).map(twiddle).collect(), len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// X_k = Σⱼ x_j·e^(−2πijk/n), in place; `values` are as many as the length.
    pub fn forward(&self, values: &mut [Complex]) {
        assert_eq!(values.len(), self.len, "the transform's length");
        permute(values);
        let mut half = 1;
        while half < self.len {
            let stride = self.len / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), k) in low.iter_mut().zip(high).zip(0..) {
                    let turned = *b * self.twiddles[k * stride];
                    (*a, *b) = (*a + turned, *a - turned);
                }
            }
            half *= 2;
        }
    }

    /// The inverse of [`Fft::forward`].
    pub fn inverse(&self, values: &mut [Complex]) {
        values.iter_mut().for_each(|value| *value = value.conjugate());
        self.forward(values);
        let share = 1.0 / self.len as f64;
        values.iter_mut().for_each(|value| *value = value.conjugate().scale(share));
    }
}

/// Swaps each place with that of its bits in reverse.
fn permute(values: &mut [Complex]) {
    let bits = values.len().trailing_zeros();
    for place in 0..values.len() {
        let other = if bits == 0 { 0 } else { place.reverse_bits() >> (usize::BITS - bits) };
        if place < other {
            values.swap(place, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(n: usize) -> Vec<Complex> {
        (0..n).map(|i| Complex { re: ((i * 7 + 3) % 11) as f64 - 5.0, im: ((i * 5) % 7) as f64 * 0.25 }).collect()
    }

    #[test]
    fn it_is_the_sum_of_the_definition() {
        for n in [1, 2, 8, 64] {
            let given = signal(n);
            let mut fast = given.clone();
            Fft::new(n).forward(&mut fast);
            for (k, fast) in fast.iter().enumerate() {
                let slow = given.iter().enumerate().fold(Complex::default(), |sum, (j, &x)| {
                    let angle = -2.0 * PI * (j * k % n) as f64 / n as f64;
                    sum + x * Complex { re: cos(angle), im: sin(angle) }
                });
                assert!((fast.re - slow.re).abs() < 1e-12 && (fast.im - slow.im).abs() < 1e-12, "{n}, {k}");
            }
        }
    }

    #[test]
    fn the_inverse_gives_back_what_was_transformed() {
        let (fft, given) = (Fft::new(1024), signal(1024));
        let mut values = given.clone();
        fft.forward(&mut values);
        fft.inverse(&mut values);
        let near = |(a, b): (&Complex, &Complex)| (a.re - b.re).abs() < 1e-13 && (a.im - b.im).abs() < 1e-13;
        assert!(values.iter().zip(&given).all(near));
    }

    #[test]
    fn a_power_is_repeated_multiplication() {
        let z = Complex { re: 0.6, im: -0.7 };
        let slow = (0..13).fold(Complex { re: 1.0, im: 0.0 }, |product, _| product * z);
        assert!((z.power(13).re - slow.re).abs() < 1e-15 && (z.power(13).im - slow.im).abs() < 1e-15);
        assert_eq!(z.power(0), Complex { re: 1.0, im: 0.0 });
    }
}
