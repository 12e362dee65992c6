//! What a model says about itself so that a plan can be made: its list of layers.
//!
//! Where in the flow: a shipped model states it beside its Burn module; the plan is compiled from it, once per agent.
//! What it never does: hold values. Parameters lie in the flat vector in the order of the layers, a layer's weight
//! before its bias, in the shapes of the Burn module.

/// A list of layers from one sample's features to its logits. Begin with [`Layers::features`] or [`Layers::image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    pub input: Shape,
    pub list: Vec<Layer>,
}

/// What lies between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Features(usize),
    /// In the flat order of the data: channel by channel, each row by row.
    Image {
        channels: usize,
        height: usize,
        width: usize,
    },
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// `y = x·W + b`; parameters: weight [inputs, outputs], bias [outputs].
    Linear { outputs: usize },
    /// `y = max(x, 0)`.
    Relu,
    /// Square kernel, zero padding on all sides, stride 1; parameters: weight [outputs, inputs, kernel, kernel], bias
    /// [outputs].
    Conv { outputs: usize, kernel: usize, padding: usize },
    /// The largest of each 2 × 2 square; an odd last row or column is left out.
    MaxPool,
    /// From an image to features, channel by channel.
    Flatten,
    /// `y = γ·(x − μ)/√(σ² + ε) + β` for each channel of an image, or for each feature, as [`norm`](super::norm) says;
    /// parameters: γ and β, then the running mean and variance, which no gradient changes, each [channels].
    BatchNorm,
}

impl Layers {
    pub fn features(width: usize) -> Self {
        Layers { input: Shape::Features(width), list: Vec::new() }
    }

    pub fn image([channels, height, width]: [usize; 3]) -> Self {
        Layers { input: Shape::Image { channels, height, width }, list: Vec::new() }
    }

    /// The list with one more layer at its end.
    pub fn then(mut self, layer: Layer) -> Self {
        self.list.push(layer);
        self
    }

    /// Shapes of the parameters in flat order.
    pub fn parameter_shapes(&self) -> Vec<Vec<usize>> {
        let (mut shape, mut found) = (self.input, Vec::new());
        for &layer in &self.list {
            match (layer, shape) {
                (Layer::Linear { outputs }, Shape::Features(inputs)) => {
                    found.extend([vec![inputs, outputs], vec![outputs]]);
                }
                (Layer::Conv { outputs, kernel, .. }, Shape::Image { channels, .. }) => {
                    found.extend([vec![outputs, channels, kernel, kernel], vec![outputs]]);
                }
                (Layer::BatchNorm, shape) => found.extend(vec![vec![shape.channels()]; 4]),
                _ => {}
            }
            shape = shape.after(layer);
        }
        found
    }
}

impl Shape {
    /// The shape that `layer` makes of this one. Panics if the layer does not take it: a list is part of a model's code.
    pub fn after(self, layer: Layer) -> Shape {
        match (layer, self) {
            (Layer::Linear { outputs }, Shape::Features(_)) => Shape::Features(outputs),
            (Layer::Relu | Layer::BatchNorm, shape) => shape,
            (Layer::Flatten, Shape::Image { .. }) => Shape::Features(self.len()),
            (Layer::Conv { outputs, kernel, padding }, Shape::Image { height, width, .. }) => {
                let side = |side: usize| {
                    let padded = side + 2 * padding + 1;
                    assert!(padded > kernel, "a kernel of {kernel} fits a side of {side} with padding {padding}");
                    padded - kernel
                };
                Shape::Image { channels: outputs, height: side(height), width: side(width) }
            }
            (Layer::MaxPool, Shape::Image { channels, height, width }) => {
                Shape::Image { channels, height: height / 2, width: width / 2 }
            }
            (layer, shape) => panic!("a list of layers fits together: {layer:?} does not take {shape:?}"),
        }
    }

    /// Channels of an image, or features.
    pub fn channels(self) -> usize {
        match self {
            Shape::Features(width) => width,
            Shape::Image { channels, .. } => channels,
        }
    }

    pub fn len(self) -> usize {
        match self {
            Shape::Features(width) => width,
            Shape::Image { channels, height, width } => channels * height * width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_the_layers() {
        let conv = Layer::Conv { outputs: 7, kernel: 3, padding: 0 };
        let list = Layers::image([2, 9, 6]).then(conv).then(Layer::Relu).then(Layer::MaxPool).then(Layer::Flatten);
        let list = list.then(Layer::Linear { outputs: 4 });
        // 9 × 6 → 7 × 4 → 3 × 2.
        assert_eq!(list.parameter_shapes(), [vec![7, 2, 3, 3], vec![7], vec![42, 4], vec![4]]);
        let normed = Layers::image([2, 9, 6]).then(conv).then(Layer::BatchNorm);
        assert_eq!(normed.parameter_shapes()[2..], [[7], [7], [7], [7]]);
        let normed = Layers::features(3).then(Layer::Linear { outputs: 5 }).then(Layer::BatchNorm);
        assert_eq!(normed.parameter_shapes()[2..], [[5], [5], [5], [5]]);
    }

    #[test]
    #[should_panic(expected = "MaxPool does not take Features(4)")]
    fn a_list_that_does_not_fit_together_is_refused() {
        Layers::features(4).then(Layer::MaxPool).parameter_shapes();
    }
}
