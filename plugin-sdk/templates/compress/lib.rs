//! Scaled signs (Karimireddy et al., arXiv:1901.09847): Δᵢ becomes ±‖Δ‖₁/n, taken for each frame.
//! Run it with `error-feedback=true`, which the host offers for any compressor: what one upload
//! loses is added to the next.
//!
//! A frame: the scale as `f32`, then one bit for each value, low bits first, 1 for negative.

use colla_plugin_sdk::{
    Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin,
};

struct Signs;

impl Plugin for Signs {
    fn create(_: &Parameters) -> Result<Self> {
        Ok(Signs)
    }
}

impl Compress for Signs {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let sum: f64 = source
            .values
            .iter()
            .map(|value| f64::from(value.abs()))
            .sum();
        let scale = (sum / source.values.len().max(1) as f64) as f32;
        output.put_f32(scale)?;
        let bits = output.reserve(source.values.len().div_ceil(8))?;
        for (byte, values) in bits.iter_mut().zip(source.values.chunks(8)) {
            let negative = |(i, value): (usize, &f32)| u8::from(*value < 0.0) << i;
            *byte = values.iter().enumerate().map(negative).sum();
        }
        Ok(())
    }

    /// The bytes come from the network, so nothing about them is certain.
    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let scale = input.take_f32()?;
        if !scale.is_finite() || scale < 0.0 {
            return Err(Error::argument(format!("the scale of a frame is {scale}")));
        }
        let bits = input.take(target.values.len().div_ceil(8))?;
        input.finish()?;
        for (values, byte) in target.values.chunks_mut(8).zip(bits) {
            for (i, value) in values.iter_mut().enumerate() {
                *value = if byte >> i & 1 == 1 { -scale } else { scale };
            }
        }
        Ok(())
    }
}

colla_plugin!(Signs: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn signs_are_kept_and_magnitudes_become_their_mean() {
        let mut plugin = Testbed::<Signs>::new(&[]);
        let encoded = plugin.encode(&[1.0, -2.0, 3.0], 3).unwrap();
        // Mean magnitude 2, and the second bit set.
        assert_eq!(encoded, [[&2f32.to_le_bytes()[..], &[0b010]].concat()]);
        assert_eq!(plugin.decode(&encoded, &[3]).unwrap(), [2.0, -2.0, 2.0]);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut plugin = Testbed::<Signs>::new(&[]);
        for bytes in [vec![], vec![0; 4], vec![0; 6], vec![0, 0, 0xc0, 0x7f, 0]] {
            assert!(plugin.decode(&[bytes], &[3]).is_err());
        }
    }
}
