//! McMahan et al.'s convolutional network with batch normalisation behind each convolution.

use super::cnn::conv;
use super::linear;
use super::norm::BatchNorm;
use crate::train::LocalModel;
use crate::train::plan::{Layer, Layers};
use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Twice (5 × 5 convolution with zero padding 2, batch normalisation, ReLU, 2 × 2 max pool) with 32 and 64 channels, a
/// layer of 512 units with ReLU, the classes: [`Cnn`](super::Cnn) and four values a channel, two of which are running
/// statistics; 1,663,754 weights on 1 × 28 × 28 images with 10 classes.
///
/// The convolutions keep their biases, as in the authors' code of FedBN (arXiv:2102.07623), though the mean that is
/// subtracted behind them leaves these without effect. The layer of 512 units has no normalisation.
#[derive(Module, Debug)]
pub struct CnnBn {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    fc1: Linear,
    fc2: Linear,
    pool: MaxPool2d,
    #[module(skip)]
    image: [usize; 3],
}

impl CnnBn {
    /// `image`: channels, height and width, the last two at least 4.
    pub fn new(image: [usize; 3], outputs: usize, device: &Device) -> Self {
        let [channels, height, width] = image;
        CnnBn {
            conv1: conv(channels, 32, device),
            norm1: BatchNorm::new(32, device),
            conv2: conv(32, 64, device),
            norm2: BatchNorm::new(64, device),
            fc1: linear(64 * (height / 2 / 2) * (width / 2 / 2), 512, device),
            fc2: linear(512, outputs, device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            image,
        }
    }

    pub(super) fn layers(image: [usize; 3], outputs: usize) -> Layers {
        let convolve = |layers: Layers, outputs| {
            let layers = layers.then(Layer::Conv { outputs, kernel: 5, padding: 2 }).then(Layer::BatchNorm);
            layers.then(Layer::Relu).then(Layer::MaxPool)
        };
        let layers = convolve(convolve(Layers::image(image), 32), 64).then(Layer::Flatten);
        layers.then(Layer::Linear { outputs: 512 }).then(Layer::Relu).then(Layer::Linear { outputs })
    }
}

impl LocalModel for CnnBn {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [batch, _] = features.dims();
        let [channels, height, width] = self.image;
        let x = features.reshape([batch, channels, height, width]);
        // As in `Cnn`, pooling first gives the same numbers and leaves ReLU a quarter of the work.
        let x = relu(self.pool.forward(self.norm1.forward(self.conv1.forward(x))));
        let x = relu(self.pool.forward(self.norm2.forward(self.conv2.forward(x))));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        self.fc2.forward(x)
    }
}
