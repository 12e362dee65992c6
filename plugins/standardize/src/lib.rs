//! Updates as z-scores: Δ ← (Δ − m)/s on the client and Δ ← s·Δ + m on the server, with m the mean and s the standard
//! deviation (that of the population) over the whole update. Both travel as the side header of each piece.
//!
//! Where updates are sent over a channel or through a quantiser that is designed for one scale, they are brought to zero
//! mean and unit variance first (for example Zhu et al., arXiv:1812.11494). Here it is for the compressors behind it: the
//! error of one that is relative to the norm, such as `qsgd`, shrinks, since ‖Δ − m‖² = ‖Δ‖² − n·m²; and what a sparsifier
//! such as `topk` does not send becomes m instead of 0. Alone it changes nothing but roundings. A bound on the norm does not
//! survive it: put `clip` in front, and do not ask for a guarantee that rests on the bound.
//!
//! An update that is constant up to rounding is only shifted: s = 1. Computed in f64, kept in f32.

use colla_plugin_sdk::{
    Error, Input, Map, Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, colla_plugin,
};

struct Standardize {
    /// Elements of a vector, known from LAYOUT on.
    len: Option<f64>,
}

/// A variance below this share of the mean square is the rounding of the sums it is the difference of.
const CONSTANT: f64 = 1e-12;

impl Plugin for Standardize {
    fn create(_: &Parameters) -> Result<Self> {
        Ok(Standardize { len: None })
    }

    fn layout(&mut self, layout: &Map) -> Result<Map> {
        self.len = layout.i64("len").filter(|&len| len > 0).map(|len| len as f64);
        Ok(Map::new())
    }
}

impl Normalize for Standardize {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().sum().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>, header: &mut Output<'_>) -> Result<()> {
        let len = self.len.ok_or_else(|| Error::state("LAYOUT has not told the length of an update"))?;
        let (sum, norm) = (piece.measures.value(0)?, piece.measures.value(1)?);
        let (mean, deviation) = moments(sum / len, norm * norm / len)?;
        for value in piece.values {
            *value = ((f64::from(*value) - f64::from(mean)) / f64::from(deviation)) as f32;
        }
        header.put_f32(mean)?;
        header.put_f32(deviation)
    }

    fn undo(&mut self, piece: Piece<'_>, mut header: Input<'_>) -> Result<()> {
        let (mean, deviation) = (header.take_f32()?, header.take_f32()?);
        header.finish()?;
        if !mean.is_finite() || !deviation.is_finite() || deviation <= 0.0 {
            return Err(Error::argument(
                "the header's mean is not finite, or its deviation is not positive and finite",
            ));
        }
        for value in &mut *piece.values {
            *value = (f64::from(*value) * f64::from(deviation) + f64::from(mean)) as f32;
        }
        match piece.values.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(Error::argument("the header's mean and deviation take the piece beyond f32")),
        }
    }
}

/// Mean and standard deviation as they travel.
fn moments(mean: f64, mean_square: f64) -> Result<(f32, f32)> {
    let variance = mean_square - mean * mean;
    let deviation = if variance > CONSTANT * mean_square { variance.sqrt() as f32 } else { 0.0 };
    if !deviation.is_finite() {
        return Err(Error::numeric("the deviation of the update is beyond f32"));
    }
    Ok((mean as f32, if deviation > 0.0 { deviation } else { 1.0 }))
}

colla_plugin!(Standardize: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;
    use colla_plugin_sdk::{abi::op, abi::status};

    fn plugin(len: usize) -> Testbed<Standardize> {
        let mut plugin = Testbed::new(&[]);
        plugin.call(op::LAYOUT, &Map::new().with("len", len as i64)).unwrap();
        plugin
    }

    fn header(mean: f32, deviation: f32) -> Vec<u8> {
        [mean.to_le_bytes(), deviation.to_le_bytes()].concat()
    }

    #[test]
    fn z_scores_are_the_hand_computed_ones() {
        // Mean 3, and both values 2 away from it.
        let (scores, headers) = plugin(2).apply_with_headers(&[1.0, 5.0], 1).unwrap();
        assert_eq!(scores, [-1.0, 1.0]);
        assert_eq!(headers, [header(3.0, 2.0), header(3.0, 2.0)]);
    }

    #[test]
    fn undoing_restores_the_update_up_to_rounding() {
        let update: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 1013) as f32 * 1e-5 + 2e-3).collect();
        for piece in [10_000, 777] {
            let mut plugin = plugin(update.len());
            let (scores, headers) = plugin.apply_with_headers(&update, piece).unwrap();
            let moments = |f: fn(f64) -> f64| scores.iter().map(|&x| f(f64::from(x))).sum::<f64>() / 1e4;
            assert!(moments(|x| x).abs() < 1e-5 && (moments(|x| x * x) - 1.0).abs() < 1e-5);
            for (restored, value) in plugin.undo(&scores, piece, &headers).unwrap().iter().zip(&update) {
                assert!((restored - value).abs() < 2e-9, "{restored} for {value}");
            }
        }
    }

    #[test]
    fn a_constant_update_and_a_zero_one_are_only_shifted() {
        for value in [0.1, -3.0, 0.0, 1e-30] {
            let (scores, headers) = plugin(1_000).apply_with_headers(&[value; 1_000], 300).unwrap();
            assert_eq!(scores, [0.0; 1_000]);
            assert_eq!(plugin(1_000).undo(&scores, 300, &headers).unwrap(), [value; 1_000]);
            assert_eq!(headers[0], header(value, 1.0));
        }
    }

    #[test]
    fn a_piece_before_the_layout_is_refused() {
        let error = Testbed::<Standardize>::new(&[]).apply(&[1.0], 1).unwrap_err();
        assert_eq!(error.code, status::E_STATE);
    }

    #[test]
    fn hostile_headers_are_refused_with_their_reason() {
        let check = |header: Vec<u8>, expected: &str| {
            let error = plugin(1).undo(&[1.0], 1, &[header]).unwrap_err();
            assert_eq!(error.message, expected);
        };
        let numbers = "the header's mean is not finite, or its deviation is not positive and finite";
        check(header(0.0, 0.0), numbers);
        check(header(0.0, -1.0), numbers);
        check(header(0.0, f32::NAN), numbers);
        check(header(f32::INFINITY, 1.0), numbers);
        check(header(f32::MAX, f32::MAX), "the header's mean and deviation take the piece beyond f32");
        check(vec![], "the encoded piece ends early: 4 bytes wanted, 0 left");
        check(vec![0; 7], "the encoded piece ends early: 4 bytes wanted, 3 left");
        check([header(0.0, 1.0), vec![0]].concat(), "the encoded piece has 1 bytes too many");
    }
}
