//! A Burn module as a federated model: what a module must say, and how it becomes a [`Model`].
//!
//! Where in the flow: the round loop holds one [`Model`] and asks it for one trainer per agent. A shipped model
//! also lists its layers, and then a plan trains it; a user's own module trains through Burn. What it never does: train;
//! that is the trainer's.

use super::device::{LayerStack, ModuleStack};
use super::initial_weights::torch_like;
use super::layout::{each_slice, layout_of};
use super::plan::{Layers, PlanTrainer};
use super::{Accelerator, BurnTrainer, Layout, Model, StackTrainer, Trainer, kernel, weights_file};
use crate::data::Dataset;
use anyhow::Result;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Int, Tensor};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A Burn module that can be trained on a client.
///
/// All state must live in parameters (and running statistics of normalisation layers), which are loaded anew for each
/// client, and nothing may be drawn at random in `forward`; then results depend on the task alone.
pub trait LocalModel: Module + 'static {
    /// Logits of a batch.
    ///
    /// Shapes: `features` is `[B, width]`, each row one sample, flattened (reshape it where the layers need more);
    /// the result is `[B, C]`, or `[B, 1]` where the data has two classes. B differs from call to call.
    fn forward(&self, features: Tensor<2>) -> Tensor<2>;

    /// The loss of each row, `[B]`, where it is not the usual one; training minimises the mean over the batch.
    ///
    /// `None`, the default, means softmax cross-entropy, or binary cross-entropy on logits for one output.
    /// Shapes: `logits` as `forward` returned them, `labels` `[B]` in `0..C`.
    fn loss(&self, _logits: Tensor<2>, _labels: Tensor<1, Int>) -> Option<Tensor<1>> {
        None
    }
}

/// Builds a module on a device; called once per trainer, with autodiff on.
pub(super) type Build<M> = Arc<dyn Fn(&Device) -> M + Send + Sync>;

/// A [`Model`] defined by a Burn module, which its trainers run on the CPU, one thread each, or on an accelerator.
///
/// ```
/// use colla::train::{BurnModel, LocalModel, Model, burn};
/// use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::Tensor};
///
/// #[derive(Module, Debug)]
/// struct OneLayer { linear: Linear }
///
/// impl LocalModel for OneLayer {
///     fn forward(&self, features: Tensor<2>) -> Tensor<2> {
///         self.linear.forward(features)
///     }
/// }
///
/// let model = BurnModel::new(|device| OneLayer { linear: LinearConfig::new(4, 3).init(device) }).unwrap();
/// assert_eq!(model.layout().len(), 15);
/// ```
pub struct BurnModel<M> {
    name: String,
    build: Build<M>,
    layout: Arc<Layout>,
    initial: InitialWeights,
    /// The module as a list of layers, where it is one: then a plan trains it.
    layers: Option<Layers>,
}

/// Where the weights before round 1 come from.
pub(super) enum InitialWeights {
    /// The module's own initialisers, with Burn's generator seeded by the run seed.
    Module,
    /// PyTorch's defaults, drawn from our own stream.
    TorchLike,
    /// A safetensors file.
    File(PathBuf),
}

impl<M: LocalModel> BurnModel<M> {
    /// A model from a function that builds the module. Its initial weights are the module's own.
    ///
    /// Errors: `Kind::Config` naming the parameter that flat `f32` weights cannot carry.
    pub fn new(build: impl Fn(&Device) -> M + Send + Sync + 'static) -> Result<Self> {
        let build: Build<M> = Arc::new(build);
        let layout = Arc::new(layout_of(&build_module(&build, &Device::flex().autodiff(), None))?);
        let path = std::any::type_name::<M>();
        let name = path.rsplit("::").next().unwrap_or(path).to_owned();
        Ok(BurnModel { name, build, layout, initial: InitialWeights::Module, layers: None })
    }

    /// The model under another name than its type's, for records and reports.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn with_initial_weights(mut self, initial: InitialWeights) -> Self {
        self.initial = initial;
        self
    }

    /// The model trained by a plan of `layers`, which compute what the module computes.
    pub(super) fn with_layers(mut self, layers: Layers) -> Self {
        let shapes = self.layout.tensors.iter().map(|tensor| &tensor.shape);
        assert!(shapes.eq(&layers.parameter_shapes()), "a list of layers has the parameters of its module");
        self.layers = Some(layers);
        self
    }

    fn module_weights(&self, seed: u64) -> Result<Vec<f32>> {
        let device = Device::flex();
        let mut flat = Vec::with_capacity(self.layout.len());
        let module = build_module(&self.build, &device, Some(seed));
        each_slice(module, &device, |slice| flat.extend_from_slice(slice.values))?;
        Ok(flat)
    }
}

impl<M: LocalModel> Model for BurnModel<M> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn kernel(&self) -> String {
        match self.layers {
            Some(_) => kernel::plan(),
            None => kernel::burn(),
        }
    }

    fn initial_weights(&self, seed: u64) -> Result<Vec<f32>> {
        match &self.initial {
            InitialWeights::Module => self.module_weights(seed),
            InitialWeights::TorchLike => Ok(torch_like(&self.layout, seed)),
            InitialWeights::File(path) => weights_file::load(path, &self.layout),
        }
    }

    fn trainer(&self, data: Arc<Dataset>) -> Result<Box<dyn Trainer>> {
        Ok(match &self.layers {
            Some(layers) => Box::new(PlanTrainer::new(layers, &self.layout, data)?),
            None => Box::new(BurnTrainer::new(self.build.clone(), self.layout.clone(), data)),
        })
    }

    fn stack_trainer(&self, data: Arc<Dataset>, accelerator: &Accelerator) -> Result<Box<dyn StackTrainer>> {
        Ok(match &self.layers {
            Some(layers) if LayerStack::takes(layers) => {
                Box::new(LayerStack::new(layers, self.layout.len(), data, accelerator)?)
            }
            _ => Box::new(ModuleStack::new(self.build.clone(), self.layout.clone(), data, accelerator)),
        })
    }
}

/// Builds a module with all its parameters drawn, from Burn's generator seeded with `seed` where one is given.
///
/// Burn has one generator for the whole process, and draws a parameter when it is first read. So building and reading
/// happen under one lock: an agent that builds its module meanwhile cannot mix its draws into a seeded one's.
pub(super) fn build_module<M: Module>(build: &Build<M>, device: &Device, seed: Option<u64>) -> M {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _nobody_else_draws = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seed) = seed {
        device.seed(seed);
    }
    let module = build(device);
    module.visit(&mut Read);
    module
}

/// Reads every parameter.
struct Read;

impl ModuleVisitor for Read {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let _drawn_now = param.base();
    }
}
