//! The shipped models: Burn modules with their lists of layers, and the table from a name in the configuration to both.
//!
//! Where in the flow: between the configuration with the data at hand and the round loop. What it never does: train.
//! A new model is one file here and one entry in [`shipped`].

mod cnn;
mod cnn_bn;
mod logistic;
mod mlp;
mod norm;

pub use cnn::Cnn;
pub use cnn_bn::CnnBn;
pub use logistic::Logistic;
pub use mlp::Mlp;

use super::local_model::InitialWeights;
use super::plan::Layers;
use super::{BurnModel, LocalModel, Model};
use crate::config::{self, ModelName};
use crate::data::Dataset;
use anyhow::Result;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::Device;
use std::sync::Arc;

/// The model that `[model]` names, sized for the data: its outputs are one per class, one in all for two classes.
///
/// Errors: `Kind::Config` for settings that are impossible or do not suit the data. A file named by `model.init` is
/// read when the initial weights are asked for.
pub fn model_from_config(config: &config::Model, data: &Dataset) -> Result<Arc<dyn Model>> {
    shipped(config, data, Through::Plan)
}

/// The same model, trained through its Burn module instead of its plan: the reference in tests and benchmarks.
///
/// Results are those of [`model_from_config`] but for rounding.
pub fn model_through_burn(config: &config::Model, data: &Dataset) -> Result<Arc<dyn Model>> {
    shipped(config, data, Through::Burn)
}

/// What trains a shipped model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Plan,
    Burn,
}

fn shipped(config: &config::Model, data: &Dataset, through: Through) -> Result<Arc<dyn Model>> {
    let (inputs, outputs) = (data.width(), data.num_outputs());
    let mut config = config.clone();
    config.resolve();
    let config = &config;
    match config.name {
        ModelName::Logistic => {
            let layers = Logistic::layers(inputs, outputs);
            model(config, through, layers, move |device| Logistic::new(inputs, outputs, device))
        }
        ModelName::Mlp => {
            let widths = mlp::widths(inputs, config.hidden.as_deref().unwrap_or_default(), outputs)?;
            model(config, through, Mlp::layers(&widths), move |device| Mlp::new(&widths, device))
        }
        ModelName::Cnn => {
            let image = cnn::image_shape("cnn", data)?;
            let layers = Cnn::layers(image, outputs);
            model(config, through, layers, move |device| Cnn::new(image, outputs, device))
        }
        ModelName::CnnBn => {
            let image = cnn::image_shape("cnn-bn", data)?;
            let layers = CnnBn::layers(image, outputs);
            model(config, through, layers, move |device| CnnBn::new(image, outputs, device))
        }
    }
}

fn model<M: LocalModel>(
    config: &config::Model,
    through: Through,
    layers: Layers,
    build: impl Fn(&Device) -> M + Send + Sync + 'static,
) -> Result<Arc<dyn Model>> {
    let initial = match &config.init {
        None => InitialWeights::TorchLike,
        Some(path) => InitialWeights::File(path.clone()),
    };
    let name = match config.name {
        ModelName::Logistic => "logistic regression".to_owned(),
        ModelName::Mlp => format!("MLP {:?}", config.hidden.as_deref().unwrap_or_default()),
        ModelName::Cnn => "CNN".to_owned(),
        ModelName::CnnBn => "CNN with batch normalisation".to_owned(),
    };
    let model = BurnModel::new(build)?.named(name).with_initial_weights(initial);
    Ok(Arc::new(match through {
        Through::Plan => model.with_layers(layers),
        Through::Burn => model,
    }))
}

/// A linear layer without values of its own: initial weights always come as a flat vector.
fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_initializer(Initializer::Zeros).init(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Features};
    use crate::error::exit_code;
    use crate::train::TensorRole;

    fn data(sample_shape: &[usize], num_classes: usize) -> Dataset {
        let none = Examples { features: Features::F32(Vec::new()), labels: Vec::new(), clients: None };
        Dataset {
            name: "pixels".into(),
            train: none.clone(),
            test: none,
            sample_shape: sample_shape.to_vec(),
            num_classes,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        }
    }

    fn settings(name: ModelName, hidden: &[usize]) -> config::Model {
        config::Model { name, hidden: Some(hidden.to_vec()), init: None }
    }

    #[track_caller]
    fn size(name: ModelName, hidden: &[usize], data: &Dataset) -> usize {
        model_from_config(&settings(name, hidden), data).unwrap().layout().len()
    }

    #[test]
    fn models_have_the_published_numbers_of_parameters() {
        let mnist = data(&[1, 28, 28], 10);
        assert_eq!(size(ModelName::Cnn, &[], &mnist), 1_663_370);
        // Scale, shift, mean and variance of 32 and of 64 channels.
        assert_eq!(size(ModelName::CnnBn, &[], &mnist), 1_663_370 + 4 * (32 + 64));
        assert_eq!(size(ModelName::Mlp, &[200, 200], &mnist), 199_210);
        assert_eq!(size(ModelName::Logistic, &[], &mnist), 7_850);
        // Two classes: one output.
        assert_eq!(size(ModelName::Logistic, &[], &data(&[13], 2)), 14);
        // 3 × 32 × 32: (3·25·32 + 32) + 51,264 + (64·8·8·512 + 512) + 5,130.
        assert_eq!(size(ModelName::Cnn, &[], &data(&[3, 32, 32], 10)), 2_156_490);
        // Odd sizes lose the last row or column in each pool: 9 → 4 → 2.
        assert_eq!(size(ModelName::Cnn, &[], &data(&[1, 9, 9], 10)), 832 + 51_264 + 64 * 4 * 512 + 512 + 5_130);
    }

    #[test]
    fn the_kernel_says_what_trains() {
        let (settings, data) = (settings(ModelName::Mlp, &[5]), data(&[4], 3));
        let kernels = [model_from_config, model_through_burn].map(|make| make(&settings, &data).unwrap().kernel());
        assert!(kernels[0] == "plan, ordered fma 3" && kernels[1].starts_with("burn-flex "), "{kernels:?}");
    }

    #[test]
    fn tensors_are_named_after_their_layers() {
        let model = model_from_config(&settings(ModelName::Mlp, &[5]), &data(&[4], 3)).unwrap();
        let names: Vec<_> = model.layout().tensors.iter().map(|t| (t.name.as_str(), t.role)).collect();
        assert_eq!(
            names,
            [
                ("layers.0.weight", TensorRole::Weight),
                ("layers.0.bias", TensorRole::Bias),
                ("layers.1.weight", TensorRole::Weight),
                ("layers.1.bias", TensorRole::Bias),
            ]
        );
    }

    #[test]
    fn normalisation_stands_behind_each_convolution_with_its_running_statistics() {
        let model = model_from_config(&settings(ModelName::CnnBn, &[]), &data(&[1, 8, 8], 10)).unwrap();
        let tensors = &model.layout().tensors;
        let names: Vec<_> = tensors.iter().take(8).map(|t| (t.name.as_str(), t.shape.as_slice(), t.role)).collect();
        let norm = |field, role| (field, &[32][..], role);
        let expected = [
            ("conv1.weight", &[32, 1, 5, 5][..], TensorRole::Weight),
            norm("conv1.bias", TensorRole::Bias),
            norm("norm1.gamma", TensorRole::Norm),
            norm("norm1.beta", TensorRole::Norm),
            norm("norm1.running_mean", TensorRole::NormStat),
            norm("norm1.running_var", TensorRole::NormStat),
            ("conv2.weight", &[64, 32, 5, 5], TensorRole::Weight),
            ("conv2.bias", &[64], TensorRole::Bias),
        ];
        assert_eq!(names, expected);
        let weights = model.initial_weights(3).unwrap();
        for (name, value) in [("gamma", 1.0), ("beta", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            for tensor in tensors.iter().filter(|tensor| tensor.name.ends_with(name)) {
                let values = &weights[tensor.offset..tensor.offset + tensor.len()];
                assert!(values.iter().all(|v| *v == value), "{}", tensor.name);
            }
        }
    }

    #[track_caller]
    fn refused(name: ModelName, hidden: &[usize], data: &Dataset, words: &[&str]) {
        let error = model_from_config(&settings(name, hidden), data).err().expect("refused");
        assert_eq!(exit_code(&error), 3);
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }

    #[test]
    fn models_that_do_not_suit_the_data_are_refused_with_both_values() {
        refused(ModelName::Cnn, &[], &data(&[13], 2), &["`pixels`", "[13]", "[channels, height, width]"]);
        refused(ModelName::Cnn, &[], &data(&[1, 3, 28], 10), &["3 × 28", "4 × 4"]);
        refused(ModelName::CnnBn, &[], &data(&[13], 2), &["`model.name = cnn-bn`", "[13]"]);
        refused(ModelName::Mlp, &[], &data(&[13], 2), &["`model.hidden = []`", "`logistic`"]);
        refused(ModelName::Mlp, &[5, 0], &data(&[13], 2), &["`model.hidden = [5, 0]`"]);
    }
}
