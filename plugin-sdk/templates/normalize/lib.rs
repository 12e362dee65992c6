//! Normalised updates: Δ ← S·Δ/‖Δ‖, over all parameters, so that only directions are averaged.
//! Clipping shortens long updates; this also lengthens short ones. A zero update stays zero.

use colla_plugin_sdk::{Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, colla_plugin};

struct UnitLength {
    norm: f64,
}

impl Plugin for UnitLength {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(UnitLength {
            norm: parameters.f64("norm")?,
        })
    }
}

impl Normalize for UnitLength {
    /// The host measures the whole update before the first piece of it comes.
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2())
    }

    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let norm = piece.measures.value(0)?;
        if norm > 0.0 {
            // In `f64`: the factor of a tiny update is more than an `f32` holds, the product is not.
            let factor = self.norm / norm;
            for value in piece.values {
                *value = (f64::from(*value) * factor) as f32;
            }
        }
        Ok(())
    }
}

colla_plugin!(UnitLength: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn long_and_short_updates_get_the_same_length() {
        let mut plugin = Testbed::<UnitLength>::new(&[("norm", 10.0.into())]);
        // ‖(3, 4)‖ = 5: doubled, whatever the pieces.
        assert_eq!(plugin.apply(&[3.0, 4.0], 1).unwrap(), [6.0, 8.0]);
        assert_eq!(plugin.apply(&[-30.0, 40.0], 2).unwrap(), [-6.0, 8.0]);
        assert_eq!(plugin.apply(&[0.0, 0.0], 2).unwrap(), [0.0, 0.0]);
    }
}
