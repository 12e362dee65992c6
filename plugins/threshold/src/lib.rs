//! Sparsification by a fixed threshold τ: values of magnitude above τ are sent, the rest is zero. So a client sends more
//! when it has more to say, where `topk` sends as much in any case.
//!
//! `send=signs` is the method of Strom (Interspeech 2015): only the sign of such a value travels and stands for ±τ; what is
//! left of it, and all that lies below, stays for the next time, which is error feedback (`error-feedback=true`; without it
//! large values are cut to τ). `send=values` sends the values themselves, as Aji and Heafield (arXiv:1704.05021) do;
//! their threshold is a quantile of the update, which is `topk`. Both are biased and never lengthen an update.
//!
//! A frame: `u32` count, count `u16` indices within the frame, ascending, then count `f32` values, or count bits packed from
//! the lowest bit of each byte up, 1 for negative, unused bits zero. A value that is sent with its position costs 6 bytes
//! instead of 4, so above a share of 2/3 nothing is saved. τ is the parameter rounded to f32.

use colla_plugin_sdk::bits::{Packer, Unpacker, packed_len};
use colla_plugin_sdk::sparse::{Indices, put_indices};
use colla_plugin_sdk::{Compress, Error, Input, Output, Parameters, Plugin, Result, Source, Target, colla_plugin};

struct Threshold {
    /// τ.
    threshold: f32,
    signs: bool,
}

impl Plugin for Threshold {
    fn create(parameters: &Parameters) -> Result<Self> {
        let threshold = parameters.f32("threshold")?;
        if !(threshold > 0.0 && threshold.is_finite()) {
            return Err(Error::config("`threshold` is zero or infinite as an f32; use one within its range"));
        }
        Ok(Threshold { threshold, signs: parameters.choice("send")? == "signs" })
    }
}

impl Compress for Threshold {
    fn encode(&mut self, source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        if !source.values.iter().all(|value| value.is_finite()) {
            return Err(Error::numeric("the update is not finite"));
        }
        let kept = source.values.iter().enumerate().filter(|(_, value)| value.abs() > self.threshold);
        let (indices, values): (Vec<u16>, Vec<f32>) = kept.map(|(index, value)| (index as u16, *value)).unzip();
        put_indices(&indices, source.values.len(), output)?;
        if !self.signs {
            return values.iter().try_for_each(|value| output.put_f32(*value));
        }
        let mut packer = Packer::new(1, output.reserve(packed_len(values.len(), 1))?);
        values.iter().for_each(|value| packer.put(u32::from(*value < 0.0)));
        packer.finish();
        Ok(())
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let indices = Indices::take(target.values.len(), &mut input)?;
        if !self.signs {
            let mut values = Input::new(input.take(4 * indices.count())?);
            input.finish()?;
            return indices.scatter(target.values, || match values.take_f32()? {
                value if value.is_finite() => Ok(value),
                _ => Err(Error::argument("a value of the frame is not finite")),
            });
        }
        let mut signs = Unpacker::new(1, input.take(packed_len(indices.count(), 1))?);
        input.finish()?;
        indices.scatter(target.values, || Ok(if signs.take() == 0 { self.threshold } else { -self.threshold }))?;
        signs.finish()
    }
}

colla_plugin!(Threshold: compress);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn plugin(send: &str) -> Testbed<Threshold> {
        Testbed::new(&[("threshold", 0.5.into()), ("send", send.into())])
    }

    const UPDATE: [f32; 6] = [0.5, -0.75, 0.1, 2.0, -0.5, 0.0];

    #[test]
    fn values_above_the_threshold_travel_with_their_positions() {
        let encoded = plugin("values").encode(&UPDATE, 3).unwrap();
        let frame = |index: u8, value: f32| [&[1, 0, 0, 0, index, 0], &value.to_le_bytes()[..]].concat();
        assert_eq!(encoded, [frame(1, -0.75), frame(0, 2.0)]);
        assert_eq!(plugin("values").decode(&encoded, &[3, 3]).unwrap(), [0.0, -0.75, 0.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn signs_stand_for_the_threshold() {
        let encoded = plugin("signs").encode(&UPDATE, 6).unwrap();
        assert_eq!(encoded, [[2, 0, 0, 0, 1, 0, 3, 0, 0b01]]);
        assert_eq!(plugin("signs").decode(&encoded, &[6]).unwrap(), [0.0, -0.5, 0.0, 0.5, 0.0, 0.0]);
    }

    /// Strom's residual: what a value has more than was sent is sent later, τ at a time.
    #[test]
    fn with_feedback_signs_add_up_to_the_value() {
        let mut residual = [2.25f32, -1.5, 0.25];
        let mut sent = [0.0f32; 3];
        for _ in 0..10 {
            let encoded = plugin("signs").encode(&residual, 3).unwrap();
            let decoded = plugin("signs").decode(&encoded, &[3]).unwrap();
            for i in 0..3 {
                sent[i] += decoded[i];
                residual[i] -= decoded[i];
            }
        }
        // −1.5 ends at −0.5, which is not above τ.
        assert_eq!((sent, residual), ([2.0, -1.0, 0.0], [0.25, -0.5, 0.25]));
    }

    #[test]
    fn a_low_threshold_is_lossless_and_a_high_one_sends_nothing() {
        let update: Vec<f32> = (0..1_000).map(|i| ((i * 7_919) % 13) as f32 - 6.0).collect();
        let encoded = plugin("values").encode(&update, 400).unwrap();
        assert_eq!(plugin("values").decode(&encoded, &[400, 400, 200]).unwrap(), update);
        assert_eq!(plugin("values").encode(&[0.4; 100], 100).unwrap(), [[0; 4]]);
    }

    #[test]
    fn hostile_frames_are_refused_with_their_reason() {
        let check = |send: &str, bytes: &[u8], expected: &str| {
            assert_eq!(plugin(send).decode(&[bytes.to_vec()], &[2]).unwrap_err().message, expected);
        };
        check("values", &[1], "the encoded piece ends early: 4 bytes wanted, 1 left");
        check("signs", &[3, 0, 0, 0], "a frame of 2 values claims to hold 3");
        check("values", &[1, 0, 0, 0, 0, 0, 0], "the encoded piece ends early: 4 bytes wanted, 1 left");
        check("signs", &[1, 0, 0, 0, 2, 0, 0], "index 2 is out of order or beyond the frame's 2 values");
        check("signs", &[1, 0, 0, 0, 0, 0, 0b10], "the frame's unused bits are not zero");
        check("signs", &[0, 0, 0, 0, 0], "the encoded piece has 1 bytes too many");
        let nan = [&[1, 0, 0, 0, 0, 0], &f32::NAN.to_le_bytes()[..]].concat();
        check("values", &nan, "a value of the frame is not finite");
        let error = Testbed::<Threshold>::try_new(&[("threshold", 1e-60.into())]).err().unwrap();
        assert_eq!(error.message, "`threshold` is zero or infinite as an f32; use one within its range");
    }
}
