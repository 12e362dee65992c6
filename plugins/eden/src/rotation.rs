//! The randomised Hadamard transform: random signs, then pairs added and subtracted in log₂ d passes.
//!
//! Orthogonal up to the factor √d of each transform, which [`Rotation::forward`] and [`Rotation::backward`] leave in the
//! last one, where the caller wants it.

use colla_plugin_sdk::Result;
use colla_plugin_sdk::random::{self, Scope};

/// The rotation of one frame.
pub struct Rotation {
    dimension: usize,
    /// Where the frame's signs begin: words of 32.
    first_word: u64,
    transforms: u16,
}

/// As in the authors' code: below it coordinates are far from normal.
const SMALLEST: usize = 8;

impl Rotation {
    pub fn of_frame(n: usize, offset: u64, transforms: u16) -> Self {
        Rotation { dimension: n.next_power_of_two().max(SMALLEST), first_word: offset / 32, transforms }
    }

    /// d, a power of two.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// `vector` of d values becomes √d times its rotation.
    pub fn forward(&self, vector: &mut [f32]) -> Result<()> {
        for transform in 0..self.transforms {
            if transform > 0 {
                self.shrink(vector);
            }
            self.flip(transform, vector)?;
            hadamard(vector);
        }
        Ok(())
    }

    /// `vector` of d values becomes √d times what would be rotated to it.
    pub fn backward(&self, vector: &mut [f32]) -> Result<()> {
        for transform in (0..self.transforms).rev() {
            if transform + 1 < self.transforms {
                self.shrink(vector);
            }
            hadamard(vector);
            self.flip(transform, vector)?;
        }
        Ok(())
    }

    fn shrink(&self, vector: &mut [f32]) {
        let factor = (1.0 / (self.dimension as f64).sqrt()) as f32;
        vector.iter_mut().for_each(|value| *value *= factor);
    }

    fn flip(&self, stream: u16, vector: &mut [f32]) -> Result<()> {
        let mut words = vec![0; vector.len().div_ceil(32)];
        random::u32s(Scope::Client, stream, self.first_word, &mut words)?;
        for (values, word) in vector.chunks_mut(32).zip(words) {
            for (bit, value) in values.iter_mut().enumerate() {
                *value = f32::from_bits(value.to_bits() ^ (word >> bit & 1) << 31);
            }
        }
        Ok(())
    }
}

/// The Walsh–Hadamard transform in its natural order, without a factor: √d times an orthogonal one.
fn hadamard(vector: &mut [f32]) {
    let mut distance = 1;
    while distance < vector.len() {
        for pairs in vector.chunks_exact_mut(2 * distance) {
            let (left, right) = pairs.split_at_mut(distance);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_of_four_values_is_the_hand_computed_one() {
        let mut vector = [1.0, 2.0, 3.0, 5.0];
        hadamard(&mut vector);
        // Rows ++++, +−+−, ++−−, +−−+.
        assert_eq!(vector, [11.0, -3.0, -5.0, 1.0]);
        hadamard(&mut vector);
        assert_eq!(vector, [4.0, 8.0, 12.0, 20.0]);
    }
}
