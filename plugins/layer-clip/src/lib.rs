//! Per-layer clipping of updates, McMahan et al. (arXiv:1710.06963), section 2.1: Δ⁽ʲ⁾ ← Δ⁽ʲ⁾ · min(1, S_j/‖Δ⁽ʲ⁾‖) for each layer j
//! of m, with S = √(Σ S_j²) the bound of the whole update and S_j = S/√m, the paper's choice. A layer here is a tensor:
//! weights and biases are clipped each for themselves, as in the usual implementations. `bound=tensor` gives every
//! tensor S_j = `norm`; then S = `norm`·√m.
//!
//! S is broadcast each round as the bound that noise is scaled to. As in `clip`, factors are rounded down (in f32, the update is
//! multiplied in f32), so that no norm exceeds its bound.

use colla_plugin_sdk::{
    Error, Map, Normalize, Output, Parameters, Piece, Plugin, Result, ScanPlan, colla_plugin, layout::shapes, math,
};

struct LayerClip {
    norm: f64,
    of_tensor: bool,
    /// m, known from LAYOUT on.
    tensors: Option<usize>,
}

impl Plugin for LayerClip {
    fn create(parameters: &Parameters) -> Result<Self> {
        let of_tensor = parameters.choice("bound")? == "tensor";
        Ok(LayerClip { norm: parameters.f64("norm")?, of_tensor, tensors: None })
    }

    fn layout(&mut self, layout: &Map) -> Result<Map> {
        self.tensors = Some(shapes(layout)?.len());
        Ok(Map::new())
    }

    fn round_begin(&mut self, _message: &Map) -> Result<Map> {
        Ok(Map::new().with("norm_bound", self.bounds()?.update))
    }
}

/// S_j and S.
struct Bounds {
    tensor: f64,
    update: f64,
}

impl LayerClip {
    fn bounds(&self) -> Result<Bounds> {
        let tensors = self.tensors.ok_or_else(|| Error::state("LAYOUT has not told the tensors of an update"))?;
        let root = (tensors.max(1) as f64).sqrt();
        // The last bits are for the roundings of the quotient and of the sum of squares.
        Ok(match self.of_tensor {
            true => Bounds { tensor: self.norm, update: self.norm * root * (1.0 + 1e-15) },
            false => Bounds { tensor: self.norm / root * (1.0 - 1e-15), update: self.norm },
        })
    }
}

impl Normalize for LayerClip {
    fn scan(&mut self, _n: u64, _vector: u32) -> Result<ScanPlan> {
        Ok(ScanPlan::none().norm2().of_pieces())
    }

    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let (norm, bound) = (piece.measures.value(0)?, self.bounds()?.tensor);
        if norm > bound {
            math::scale(piece.values, math::clip_factor(norm, bound));
        }
        Ok(())
    }
}

colla_plugin!(LayerClip: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::{op, status};
    use colla_plugin_sdk::testing::Testbed;

    fn plugin(norm: f64, bound: &str, shapes: &[&[usize]]) -> Testbed<LayerClip> {
        let mut plugin = Testbed::new(&[("norm", norm.into()), ("bound", bound.into())]);
        plugin.layout(shapes).unwrap();
        plugin
    }

    fn told(plugin: &mut Testbed<LayerClip>) -> f64 {
        plugin.call(op::ROUND_BEGIN, &Map::new()).unwrap().f64("norm_bound").unwrap()
    }

    fn norm(values: &[f32]) -> f64 {
        values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn each_of_four_tensors_gets_half_of_the_bound() {
        let mut plugin = plugin(5.0, "update", &[&[2], &[2], &[1, 2], &[2, 1]]);
        // Norms 5, 2.5, 0, 10 with the bound 5/√4 = 2.5.
        let clipped = plugin.apply(&[3.0, 4.0, 1.5, 2.0, 0.0, 0.0, -8.0, 6.0], 2).unwrap();
        let expected = [1.5, 2.0, 1.5, 2.0, 0.0, 0.0, -2.0, 1.5];
        assert!(clipped.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{clipped:?}");
        assert_eq!(told(&mut plugin), 5.0);
    }

    #[test]
    fn a_bound_of_each_tensor_grows_with_their_number() {
        let mut plugin = plugin(2.5, "tensor", &[&[2], &[2], &[2], &[2]]);
        let clipped = plugin.apply(&[3.0, 4.0, 1.5, 2.0, 0.0, 0.0, -8.0, 6.0], 2).unwrap();
        assert!((norm(&clipped[..2]) - 2.5).abs() < 1e-5 && clipped[2..4] == [1.5, 2.0]);
        assert!((told(&mut plugin) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn the_whole_update_never_exceeds_what_is_broadcast() {
        for tensors in 1..60 {
            let shapes: Vec<&[usize]> = vec![&[37]; tensors];
            for bound in ["update", "tensor"] {
                let mut plugin = plugin(0.1, bound, &shapes);
                let update: Vec<f32> = (0..37 * tensors).map(|i| 0.37 + ((i * 7_919) % 101) as f32 * 0.11).collect();
                let clipped = plugin.apply(&update, 37).unwrap();
                let bound = told(&mut plugin);
                assert!(norm(&clipped) <= bound && norm(&clipped) > bound * (1.0 - 1e-6), "{tensors} tensors");
            }
        }
    }

    #[test]
    fn a_piece_or_a_round_before_the_layout_is_refused() {
        let mut plugin = Testbed::<LayerClip>::new(&[]);
        assert_eq!(plugin.apply(&[1.0], 1).unwrap_err().code, status::E_STATE);
        assert_eq!(plugin.call(op::ROUND_BEGIN, &Map::new()).unwrap_err().code, status::E_STATE);
    }
}
