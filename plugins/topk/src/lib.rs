//! Top-k sparsification (Aji and Heafield, arXiv:1704.05021): the k values of largest magnitude of the whole update,
//! ties to the lower index; the rest is zero. The host finds the k-th magnitude and offers error feedback
//! (Stich et al., arXiv:1809.07599).
//!
//! A frame: `u32` count, then count `u16` indices within the frame, ascending, then count `f32` values.

use colla_plugin_sdk::sparse::{Indices, put_indices};
use colla_plugin_sdk::{
    Compress, Error, Input, Output, Parameters, Plugin, Result, ScanPlan, Source, Target, colla_plugin,
};

struct TopK {
    ratio: f64,
}

impl Plugin for TopK {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(TopK { ratio: parameters.f64("ratio")? })
    }
}

impl Compress for TopK {
    fn scan(&mut self, n: u64, _vector: u32) -> Result<ScanPlan> {
        // The small addend undoes the binary rounding of ratios like 0.29.
        let k = ((self.ratio * n as f64 + 1e-9) as u64).max(1);
        Ok(ScanPlan::none().kth_abs(k))
    }

    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let kth = source.measures.kth_abs(0)?;
        let mut ties_left = kth.ties_kept;
        let kept = source.values.iter().enumerate().filter(|(_, value)| {
            let is_tie = value.abs() == kth.threshold && ties_left > 0;
            ties_left -= usize::from(is_tie);
            is_tie || value.abs() > kth.threshold
        });
        let (indices, values): (Vec<u16>, Vec<f32>) = kept.map(|(index, value)| (index as u16, *value)).unzip();
        if indices.len() != kth.kept {
            let count = indices.len();
            return Err(Error::argument(format!("`kth_abs` says {} values are kept, {count} are", kth.kept)));
        }
        put_indices(&indices, source.values.len(), output)?;
        values.iter().try_for_each(|value| output.put_f32(*value))
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let indices = Indices::take(target.values.len(), &mut input)?;
        let mut values = Input::new(input.take(4 * indices.count())?);
        input.finish()?;
        indices.scatter(target.values, || values.take_f32())
    }
}

colla_plugin!(TopK: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::FRAME;
    use colla_plugin_sdk::testing::Testbed;

    fn plugin(ratio: f64) -> Testbed<TopK> {
        Testbed::new(&[("ratio", ratio.into())])
    }

    #[test]
    fn the_largest_magnitudes_are_sent_and_ties_go_to_the_lower_index() {
        // k = 3 of 6 in frames of 3: 5, then the first two of the three ties.
        let encoded = plugin(0.5).encode(&[2.0, -5.0, 1.0, -2.0, 0.0, 2.0], 3).unwrap();
        let frame = |indices: &[u16], values: &[f32]| -> Vec<u8> {
            let count = (indices.len() as u32).to_le_bytes();
            let indices = indices.iter().flat_map(|index| index.to_le_bytes());
            count.into_iter().chain(indices).chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
        };
        assert_eq!(encoded, [frame(&[0, 1], &[2.0, -5.0]), frame(&[0], &[-2.0])]);
        assert_eq!(plugin(0.5).decode(&encoded, &[3, 3]).unwrap(), [2.0, -5.0, 0.0, -2.0, 0.0, 0.0]);
    }

    #[test]
    fn everything_sent_is_lossless() {
        let update: Vec<f32> = (0..1_000).map(|i| ((i * 7919) % 13) as f32 - 6.0).collect();
        let encoded = plugin(1.0).encode(&update, 300).unwrap();
        assert_eq!(plugin(1.0).decode(&encoded, &[300, 300, 300, 100]).unwrap(), update);
    }

    #[test]
    fn a_hundredth_of_a_vector_costs_six_bytes_a_value() {
        let update: Vec<f32> = (0..200_000).map(|i| ((i * 7919) % 199_999) as f32).collect();
        let encoded = plugin(0.01).encode(&update, FRAME).unwrap();
        assert_eq!(encoded.iter().map(Vec::len).sum::<usize>(), 2_000 * 6 + 4 * 4);
    }

    #[test]
    fn hostile_frames_are_refused_with_their_reason() {
        let check = |bytes: &[u8], expected: &str| {
            let error = plugin(0.5).decode(&[bytes.to_vec()], &[2]).unwrap_err();
            assert_eq!(error.message, expected);
        };
        check(&[1], "the encoded piece ends early: 4 bytes wanted, 1 left");
        check(&[3, 0, 0, 0], "a frame of 2 values claims to hold 3");
        check(&[255, 255, 255, 255], "a frame of 2 values claims to hold 4294967295");
        check(&[1, 0, 0, 0, 0, 0, 0, 0, 0], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 0], "index 2 is out of order or beyond the frame's 2 values");
        let twice = [2, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        check(&twice, "index 1 is out of order or beyond the frame's 2 values");
        check(&[0, 0, 0, 0, 0], "the encoded piece has 1 bytes too many");
    }
}
