//! EDEN, Vargaftik et al. (arXiv:2108.08842): a random rotation makes the coordinates of any vector nearly normal, so each is
//! replaced by the nearest of the 2^bits Lloyd–Max centroids of the normal distribution, and one scale makes the result
//! unbiased. With R the rotation, d the dimension and c the centroids nearest to √d·R(x)/‖x‖,
//!
//! x̂ = S·R⁻¹(c),  S = ‖x‖²/⟨R(x), c⟩  (`unbiased`)  or  S = ⟨R(x), c⟩/‖c‖²  (least error).
//!
//! Unbiased, E‖x̂ − x‖² → (1/(1 − D) − 1)·‖x‖² with D the distortion of the quantiser: π/2 − 1 = 0.571 for 1 bit, which is
//! DRIVE (arXiv:2105.08339), 0.133, 0.0358, 0.0096 for 2 to 4. With the other scale ‖x̂ − x‖² → D·‖x‖², a contraction for
//! error feedback. The proof of unbiasedness is for uniformly random rotations. R here is the randomised Hadamard
//! transform of the papers' implementation, twice, for which it holds as d grows: frames have d = 65,536, the last one less.
//!
//! A frame of n values is padded with zeros to the next power of two d ≥ 8: `f32` S, then d codes of `bits` bits, the index
//! of the centroid from the lowest up, packed from the lowest bit of each byte up, unused bits zero. A frame of zeros, or
//! one whose S is too small for f32, is S = 0 alone.
//!
//! Order of operations. Signs: bit i mod 32 of word ⌊offset/32⌋ + ⌊i/32⌋ of the client's u32 stream t, 1 for minus, t = 0 for
//! the first transform and 1 for the second. y = x/‖x‖ in f64, ‖x‖ in f64 in index order, rounded to f32; each transform flips
//! signs and then adds and subtracts pairs at the distances 1, 2, 4, .. d/2 in f32; between two transforms a factor 1/√d in
//! f32, behind the last none: it leaves coordinates of variance 1, as the centroids want. A code is the centroid nearest to
//! such a coordinate; halfway, that of the larger magnitude; of zero, the smallest positive one. ⟨y, c⟩ and ‖c‖² in f64 in
//! index order. Decoded: the transforms of c in f32 backwards (pairs, then signs), then (S/√d)·value in f64, rounded to f32.
//!
//! Departures: fractional bits (the paper's section 5) are not offered; frames are rotated one by one, which the authors
//! allow; their code goes to 8 bits.

mod rotation;

use colla_plugin_sdk::bits::{Packer, Unpacker, packed_len};
use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};
use rotation::Rotation;

struct Eden {
    bits: u32,
    unbiased: bool,
    rotations: u16,
}

/// The positive half of the centroids for 1 to 4 bits: Max (1960), here to the digits of f64. The other half is symmetric.
static CENTROIDS: [&[f64]; 4] = [
    &[0.797_884_560_802_865_4],
    &[0.452_780_034_636_492_1, 1.510_417_608_499_096],
    &[0.245_094_178_944_221_84, 0.756_005_281_205_878_1, 1.343_909_278_505_000_6, 2.151_945_704_536_987_4],
    &[
        0.128_395_029_851_147_3,
        0.388_048_299_490_291_5,
        0.656_759_118_532_465,
        0.942_340_456_486_962_9,
        1.256_231_197_347_177_8,
        1.618_046_386_021_882,
        2.069_017_226_531_385,
        2.732_589_570_995_161,
    ],
];

impl Plugin for Eden {
    fn create(parameters: &Parameters) -> Result<Self> {
        let (bits, rotations) = (parameters.i64("bits")?, parameters.i64("rotations")?);
        match (bits, rotations) {
            (1..=4, 1..=2) => {
                Ok(Eden { bits: bits as u32, unbiased: parameters.bool("unbiased")?, rotations: rotations as u16 })
            }
            _ => Err(Error::config(format!("`bits` is {bits}, `rotations` {rotations}; use 1 to 4 and 1 or 2"))),
        }
    }
}

impl Eden {
    fn half(&self) -> &'static [f64] {
        CENTROIDS[self.bits as usize - 1]
    }

    /// The centroid of a code.
    fn centroid(&self, code: u32) -> f64 {
        let (half, code) = (self.half(), code as usize);
        if code < half.len() { -half[half.len() - 1 - code] } else { half[code - half.len()] }
    }

    /// The code of the centroid that is nearest to `y`; halfway, the one further out; for either zero, the positive one.
    fn code(&self, y: f32) -> u32 {
        let (half, magnitude) = (self.half(), f64::from(y.abs()));
        let passed = half.windows(2).filter(|pair| magnitude >= (pair[0] + pair[1]) / 2.0).count();
        (if y < 0.0 { half.len() - 1 - passed } else { half.len() + passed }) as u32
    }

    /// S for coordinates y = √d·R(x)/‖x‖ of the centroids c.
    fn scale(&self, norm: f64, rotated: &[f32], centroids: impl Iterator<Item = f64>) -> f32 {
        let (mut product, mut square) = (0.0, 0.0);
        for (y, c) in rotated.iter().zip(centroids) {
            product += f64::from(*y) * c;
            square += c * c;
        }
        let root = (rotated.len() as f64).sqrt();
        (if self.unbiased { norm * root / product } else { norm / root * product / square }) as f32
    }
}

impl Compress for Eden {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let norm = source.values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::numeric("the update is not finite"));
        }
        if norm == 0.0 {
            return output.put_f32(0.0);
        }
        let rotation = Rotation::of_frame(source.values.len(), source.offset, self.rotations);
        let mut rotated = vec![0.0; rotation.dimension()];
        rotated.iter_mut().zip(source.values).for_each(|(y, &x)| *y = (f64::from(x) / norm) as f32);
        rotation.forward(&mut rotated)?;
        let codes: Vec<u32> = rotated.iter().map(|&y| self.code(y)).collect();
        let scale = self.scale(norm, &rotated, codes.iter().map(|&code| self.centroid(code)));
        if !scale.is_finite() {
            return Err(Error::numeric("the update's scale is beyond f32"));
        }
        output.put_f32(scale)?;
        if scale == 0.0 {
            return Ok(());
        }
        let mut packer = Packer::new(self.bits, output.reserve(packed_len(codes.len(), self.bits))?);
        codes.into_iter().for_each(|code| packer.put(code));
        packer.finish();
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let scale = input.take_f32()?;
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::argument("the frame's scale is negative or not finite"));
        }
        if scale == 0.0 {
            target.values.fill(0.0);
            return input.finish();
        }
        let rotation = Rotation::of_frame(target.values.len(), target.offset, self.rotations);
        let mut unpacker = Unpacker::new(self.bits, input.take(packed_len(rotation.dimension(), self.bits))?);
        input.finish()?;
        let mut vector: Vec<f32> = (0..rotation.dimension()).map(|_| self.centroid(unpacker.take()) as f32).collect();
        unpacker.finish()?;
        rotation.backward(&mut vector)?;
        let factor = f64::from(scale) / (rotation.dimension() as f64).sqrt();
        for (value, x) in target.values.iter_mut().zip(vector) {
            *value = (factor * f64::from(x)) as f32;
            if !value.is_finite() {
                return Err(Error::argument("the frame's scale takes its values beyond f32"));
            }
        }
        Ok(())
    }
}

colla_plugin!(Eden: compress);

#[cfg(test)]
mod tests;
