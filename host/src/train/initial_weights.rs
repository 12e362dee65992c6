//! Initial weights of the shipped models: PyTorch's defaults, from our own random streams.
//!
//! Where in the flow: once, before round 1. What it never does: depend on the tensor library's generator.

use super::{Layout, TensorRole};
use crate::random::{Purpose, Stream};

/// U(−1/√fan_in, 1/√fan_in) for weights and biases alike, as PyTorch initialises linear and convolution layers.
///
/// fan_in: rows of a matrix `[inputs, outputs]`, inputs × height × width of a kernel `[outputs, inputs, h, w]`; a bias
/// takes that of the tensor before it. Scales of a normalisation layer are 1, its shifts and means 0, variances 1.
/// Order: tensor i is drawn from `Stream(seed, InitialWeights, i, 0)`, element by element, each the `f32` nearest to
/// `(2u − 1)/√fan_in` in `f64`.
pub fn torch_like(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut flat = Vec::with_capacity(layout.len());
    let mut fan_in = 1;
    for (index, tensor) in layout.tensors.iter().enumerate() {
        match tensor.role {
            TensorRole::Weight | TensorRole::Bias => {
                if tensor.role == TensorRole::Weight {
                    fan_in = weight_fan_in(&tensor.shape);
                }
                let bound = 1.0 / (fan_in as f64).sqrt();
                let mut stream = Stream::new(seed, Purpose::InitialWeights, index as u64, 0);
                flat.extend((0..tensor.len()).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32));
            }
            TensorRole::Norm | TensorRole::NormStat => {
                let shifts = tensor.name.ends_with("beta") || tensor.name.ends_with("mean");
                flat.extend(std::iter::repeat_n(if shifts { 0.0 } else { 1.0 }, tensor.len()));
            }
        }
    }
    flat
}

fn weight_fan_in(shape: &[usize]) -> usize {
    match shape {
        [inputs, _outputs] => *inputs,
        [_outputs, kernel @ ..] => kernel.iter().product(),
        [] => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TensorInfo;

    fn layout() -> Layout {
        let tensor = |name: &str, shape: &[usize], role, offset| TensorInfo {
            name: name.into(),
            shape: shape.to_vec(),
            role,
            offset,
        };
        Layout {
            tensors: vec![
                tensor("conv.weight", &[8, 4, 5, 5], TensorRole::Weight, 0),
                tensor("conv.bias", &[8], TensorRole::Bias, 800),
                tensor("norm.gamma", &[2], TensorRole::Norm, 808),
                tensor("norm.beta", &[2], TensorRole::Norm, 810),
                tensor("fc.weight", &[16, 50], TensorRole::Weight, 812),
                tensor("fc.bias", &[50], TensorRole::Bias, 1612),
            ],
        }
    }

    #[test]
    fn weights_are_uniform_within_the_fan_in_bound() {
        let weights = torch_like(&layout(), 42);
        assert_eq!(weights.len(), 1662);
        for (range, bound) in [(0..808, 0.1), (812..1662, 0.25)] {
            let part = &weights[range];
            let largest = part.iter().fold(0f32, |m, w| m.max(w.abs()));
            assert!(largest <= bound && largest > 0.98 * bound, "largest {largest} of bound {bound}");
            // Standard deviation of the mean: bound/√(3·n), about 0.02·bound.
            let mean = part.iter().sum::<f32>() / part.len() as f32;
            assert!(mean.abs() < 0.1 * bound, "mean {mean}");
        }
        assert_eq!(weights[808..812], [1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
        assert_eq!(torch_like(&layout(), 1), torch_like(&layout(), 1));
        assert_ne!(torch_like(&layout(), 1), torch_like(&layout(), 2));
    }
}
