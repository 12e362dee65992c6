//! McMahan et al.'s convolutional network for small images (AISTATS 2017, section 3; arXiv:1602.05629).

use super::linear;
use crate::data::Dataset;
use crate::error::{Fault, Kind};
use crate::train::LocalModel;
use crate::train::plan::{Layer, Layers};
use anyhow::Result;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Initializer, Linear, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Twice (5 × 5 convolution with zero padding 2, ReLU, 2 × 2 max pool) with 32 and 64 channels, a layer of 512 units
/// with ReLU, the classes: 1,663,370 parameters on 1 × 28 × 28 images with 10 classes.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    pool: MaxPool2d,
    #[module(skip)]
    image: [usize; 3],
}

impl Cnn {
    /// `image`: channels, height and width, the last two at least 4.
    pub fn new(image: [usize; 3], outputs: usize, device: &Device) -> Self {
        let [channels, height, width] = image;
        Cnn {
            conv1: conv(channels, 32, device),
            conv2: conv(32, 64, device),
            fc1: linear(64 * (height / 2 / 2) * (width / 2 / 2), 512, device),
            fc2: linear(512, outputs, device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            image,
        }
    }

    pub(super) fn layers(image: [usize; 3], outputs: usize) -> Layers {
        let convolve =
            |layers: Layers, outputs| layers.then(Layer::Conv { outputs, kernel: 5, padding: 2 }).then(Layer::Relu);
        let layers = convolve(Layers::image(image), 32).then(Layer::MaxPool);
        let layers = convolve(layers, 64).then(Layer::MaxPool).then(Layer::Flatten);
        layers.then(Layer::Linear { outputs: 512 }).then(Layer::Relu).then(Layer::Linear { outputs })
    }
}

/// A 5 × 5 convolution without values of its own: initial weights always come as a flat vector.
pub(super) fn conv(inputs: usize, outputs: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [5, 5])
        .with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2))
        .with_initializer(Initializer::Zeros)
        .init(device)
}

impl LocalModel for Cnn {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [batch, _] = features.dims();
        let [channels, height, width] = self.image;
        let x = features.reshape([batch, channels, height, width]);
        // The largest of four rectified values is the rectified largest: pooling first gives the same numbers and
        // gradients and leaves ReLU a quarter of the work.
        let x = relu(self.pool.forward(self.conv1.forward(x)));
        let x = relu(self.pool.forward(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten(1, 3)));
        self.fc2.forward(x)
    }
}

/// Channels, height and width of the samples. `model`: the name in the configuration.
/// Errors: `Kind::Config` if they are no images or too small for two pools.
pub(super) fn image_shape(model: &str, data: &Dataset) -> Result<[usize; 3]> {
    let name = &data.name;
    let Ok([channels, height, width]) = <[usize; 3]>::try_from(data.sample_shape.as_slice()) else {
        let shape = &data.sample_shape;
        let message = format!(
            "config `model.name = {model}`: a sample of `{name}` has shape {shape:?}, a CNN needs images [channels, height, width]; use `mlp` or `logistic`"
        );
        return Err(Fault::new(Kind::Config, message));
    };
    if height < 4 || width < 4 {
        let message = format!(
            "config `model.name = {model}`: images of `{name}` are {height} × {width}, two pools need at least 4 × 4; use `mlp` or `logistic`"
        );
        return Err(Fault::new(Kind::Config, message));
    }
    Ok([channels, height, width])
}
