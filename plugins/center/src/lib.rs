//! Gradient centralisation, Yong et al. (arXiv:2004.01461, equation 1): from the weights that lead to one output their mean is
//! taken off, so that the update moves in the hyperplane of constant weight sums: Δ ← (I − 1·1ᵀ/M)·Δ for each output, M its
//! number of weights. It acts on matrices, whose columns are the outputs ([inputs, outputs]), and on kernels, whose filters
//! are ([outputs, inputs, ..]); biases and other tensors of one dimension or none are left alone, as in the paper.
//!
//! Departure: the paper centres the gradient of every step of the optimiser. Here it is the update of a client, the sum of
//! its steps, once a round; the two agree for one local step. Nothing is sent to restore the mean: it is dropped
//! (`standardize` restores it). A projection never lengthens an update.
//!
//! Order of operations: sums in f64 in index order, divided by M; then x − mean in f64, rounded to f32 towards zero, so that
//! rounding lengthens nothing either.

use colla_plugin_sdk::{
    Error, Map, Normalize, Output, Parameters, Piece, Plugin, Result, colla_plugin, layout::shapes, math::toward_zero,
};

struct Center {
    of_tensor: bool,
    /// The pieces, known from LAYOUT on.
    groups: Option<Vec<Groups>>,
}

/// Which values of a tensor share a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Groups {
    /// None do: the tensor stays as it is.
    None,
    /// So many neighbours.
    Runs(usize),
    /// Every so-maniest value.
    Columns(usize),
}

impl Groups {
    fn of(shape: &[usize], of_tensor: bool) -> Self {
        let len = shape.iter().product();
        match shape {
            [] | [_] => Groups::None,
            _ if len == 0 => Groups::None,
            _ if of_tensor => Groups::Runs(len),
            [_inputs, outputs] => Groups::Columns(*outputs),
            [outputs, ..] => Groups::Runs(len / outputs),
        }
    }
}

impl Plugin for Center {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(Center { of_tensor: parameters.choice("of")? == "tensor", groups: None })
    }

    fn layout(&mut self, layout: &Map) -> Result<Map> {
        self.groups = Some(shapes(layout)?.iter().map(|shape| Groups::of(shape, self.of_tensor)).collect());
        Ok(Map::new())
    }
}

impl Normalize for Center {
    fn apply(&mut self, piece: Piece<'_>, _header: &mut Output<'_>) -> Result<()> {
        let groups =
            self.groups.as_ref().ok_or_else(|| Error::state("LAYOUT has not told the tensors of an update"))?;
        match groups.get(piece.unit as usize) {
            None => {
                let (unit, known) = (piece.unit, groups.len());
                return Err(Error::argument(format!("piece {unit} is none of the {known} tensors that LAYOUT told")));
            }
            Some(Groups::None) => {}
            Some(Groups::Runs(len)) => piece.values.chunks_mut(*len).for_each(centre_run),
            Some(Groups::Columns(columns)) => centre_columns(piece.values, *columns),
        }
        Ok(())
    }
}

fn centre_run(values: &mut [f32]) {
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value = toward_zero(f64::from(*value) - mean));
}

fn centre_columns(values: &mut [f32], columns: usize) {
    let mut means = vec![0.0f64; columns];
    for row in values.chunks(columns) {
        means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
    }
    let rows = (values.len() / columns) as f64;
    means.iter_mut().for_each(|mean| *mean /= rows);
    for row in values.chunks_mut(columns) {
        row.iter_mut().zip(&means).for_each(|(value, mean)| *value = toward_zero(f64::from(*value) - mean));
    }
}

colla_plugin!(Center: normalize);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::abi::{op, status};
    use colla_plugin_sdk::testing::{Fields, Testbed, Vectors, close};

    /// APPLY of one tensor of this shape.
    fn centred(of: &str, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let mut plugin = Testbed::<Center>::new(&[("of", of.into())]);
        plugin.layout(&[shape]).unwrap();
        plugin.apply(values, values.len()).unwrap()
    }

    #[test]
    fn columns_of_a_matrix_and_filters_of_a_kernel_get_the_mean_zero() {
        // Three inputs, two outputs: columns (1, 3, 5) and (2, 2, 5), means 3 and 3.
        let matrix = [1.0, 2.0, 3.0, 2.0, 5.0, 5.0];
        assert_eq!(centred("output", &[3, 2], &matrix), [-2.0, -1.0, 0.0, -1.0, 2.0, 2.0]);
        // Two outputs of 1 × 3 × 1: rows (1, 2, 3) and (2, 5, 5), means 2 and 4.
        assert_eq!(centred("output", &[2, 1, 3, 1], &matrix), [-1.0, 0.0, 1.0, -2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_whole_tensor_gets_the_mean_zero() {
        assert_eq!(centred("tensor", &[3, 2], &[1.0, 2.0, 3.0, 2.0, 5.0, 5.0]), [-2.0, -1.0, 0.0, -1.0, 2.0, 2.0]);
    }

    #[test]
    fn tensors_of_one_dimension_or_none_keep_every_bit() {
        for of in ["output", "tensor"] {
            assert_eq!(centred(of, &[3], &[1.0, 2.0, 4.5]), [1.0, 2.0, 4.5]);
            assert_eq!(centred(of, &[], &[0.7]), [0.7]);
        }
    }

    #[test]
    fn a_centred_update_is_no_longer_and_stays_what_it_is() {
        let square = |values: &[f32]| values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        for scale in [1e-30, 1.0, 1e30] {
            let values: Vec<f32> = (0..6_000).map(|i| (((i * 7_919) % 1_013) as f32 - 400.0) * scale).collect();
            for (of, shape) in [("output", vec![60, 100]), ("output", vec![20, 3, 100]), ("tensor", vec![60, 100])] {
                let once = centred(of, &shape, &values);
                assert!(square(&once) <= square(&values));
                let twice = centred(of, &shape, &once);
                assert!(square(&twice) <= square(&once));
                assert!(once.iter().zip(&twice).all(|(a, b)| (a - b).abs() <= 1e-4 * scale), "{of}, {scale}");
            }
        }
    }

    #[test]
    fn a_piece_before_the_layout_or_beyond_it_is_refused() {
        let mut plugin = Testbed::<Center>::new(&[]);
        assert_eq!(plugin.apply(&[1.0], 1).unwrap_err().code, status::E_STATE);
        plugin.layout(&[&[1, 1]]).unwrap();
        let error = plugin.block(op::APPLY, Fields { unit: 1, n: 1, out: vec![1.0], ..Fields::default() }).unwrap_err();
        assert_eq!(error.message, "piece 1 is none of the 1 tensors that LAYOUT told");
    }

    /// `tests/vectors/methods/codecs.json`: what NumPy makes of the means along the axes.
    #[test]
    fn what_is_centred_is_that_of_an_independent_implementation() {
        let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
        for case in file.cases("center") {
            let shape: Vec<usize> = case.integers("shape").into_iter().map(|dimension| dimension as usize).collect();
            close(&centred(case.str("of"), &shape, &case.floats("given")), &case.floats("decoded"), 1e-6);
        }
    }
}
