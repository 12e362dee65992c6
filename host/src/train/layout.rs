//! From a Burn module to the flat vector and back: its layout, and its parameters lent out as slices.
//!
//! Where in the flow: once per model for the [`Layout`]; in training, once per step, so that the weights are updated
//! where they lie. What it never does: reorder. Flat order is the module's visiting order (fields as declared).

use super::{Layout, TensorInfo, TensorRole};
use crate::error::{Fault, Kind};
use anyhow::Result;
use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Device, Int, Tensor};

/// Layers of Burn that draw from its process-wide generator while training.
const RANDOM_LAYERS: [&str; 3] = ["Dropout", "GaussianNoise", "RRelu"];

/// The layout of a module: one entry per `f32` parameter or running statistic, named by its path.
///
/// Errors: `Kind::Config` naming the parameter if the module holds something that flat `f32` weights cannot carry
/// (integers, other float types, one tensor under two names) or a layer whose draws are not reproducible.
pub fn layout_of<M: Module>(module: &M) -> Result<Layout> {
    let mut visitor = LayoutVisitor::default();
    module.visit(&mut visitor);
    match visitor.refusal {
        Some(message) => Err(Fault::new(Kind::Config, message)),
        None if visitor.layout.is_empty() => {
            Err(Fault::new(Kind::Config, "model: the module has no parameters; give it at least one layer"))
        }
        None => Ok(visitor.layout),
    }
}

#[derive(Default)]
struct LayoutVisitor {
    layout: Layout,
    ids: Vec<ParamId>,
    /// Field name and the type that holds it, from the root inwards.
    path: Vec<(String, String)>,
    /// What is wrong with the first unusable parameter.
    refusal: Option<String>,
}

impl LayoutVisitor {
    fn name(&self) -> String {
        self.path.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The type that holds the current field, e.g. `Linear`.
    fn holder(&self) -> &str {
        self.path.last().map_or("", |(_, container)| container.strip_prefix("Struct:").unwrap_or(container))
    }

    fn role(&self, rank: usize) -> TensorRole {
        let field = self.path.last().map_or("", |(name, _)| name.as_str());
        match (self.holder(), field) {
            (_, "running_mean" | "running_var") => TensorRole::NormStat,
            (holder, _) if holder.ends_with("Norm") => TensorRole::Norm,
            (_, field) if field.contains("bias") || rank < 2 => TensorRole::Bias,
            _ => TensorRole::Weight,
        }
    }

    fn refuse(&mut self, problem: &str) {
        let name = self.name();
        self.refusal.get_or_insert_with(|| format!("model, parameter `{name}`: {problem}"));
    }
}

impl ModuleVisitor for LayoutVisitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_string(), container_type.to_string()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.base();
        if tensor.dtype() != DType::F32 {
            self.refuse(&format!("its values are {:?}, only F32 travels between server and clients", tensor.dtype()));
        }
        if let Some(first) = self.ids.iter().position(|id| *id == param.id) {
            let first = &self.layout.tensors[first].name;
            self.refuse(&format!("it is the same tensor as `{first}`; keep it in one field and use it twice"));
        }
        self.ids.push(param.id);
        let (offset, role) = (self.layout.len(), self.role(D));
        self.layout.tensors.push(TensorInfo { name: self.name(), shape: tensor.dims().to_vec(), role, offset });
    }

    fn visit_int<const D: usize>(&mut self, _param: &Param<Tensor<D, Int>>) {
        self.refuse("it holds integers, only F32 travels; mark the field `#[module(skip)]` if it is a constant");
    }

    fn visit_bool<const D: usize>(&mut self, _param: &Param<Tensor<D, Bool>>) {
        self.refuse("it holds booleans, only F32 travels; mark the field `#[module(skip)]` if it is a constant");
    }

    fn visit_flag(&mut self, _flag: &Param<Flag>) {
        if RANDOM_LAYERS.contains(&self.holder()) {
            let problem = format!(
                "`{}` draws from a generator that all threads share, so no run could be repeated; leave the layer out",
                self.holder()
            );
            self.refuse(&problem);
        }
    }
}

/// One parameter as the trainer sees it.
pub struct Slice<'a> {
    /// Index of the tensor in the layout.
    pub index: usize,
    /// Index of its first element in the flat vector.
    pub offset: usize,
    pub values: &'a mut [f32],
    /// False for frozen parameters and running statistics, which no gradient changes.
    pub trains: bool,
}

/// Lends every parameter in flat order to `visit` and puts the values back.
///
/// On the CPU nothing is copied as long as nobody else holds the tensor: the buffer leaves it, is changed in place and
/// becomes the new tensor. Errors: that the values cannot be read, which does not happen on the CPU.
pub fn each_slice<M: Module>(module: M, device: &Device, visit: impl FnMut(Slice<'_>)) -> Result<M> {
    let mut lender = Lender { device, visit, index: 0, offset: 0, failure: None };
    let module = module.map(&mut lender);
    match lender.failure {
        Some(failure) => Err(failure),
        None => Ok(module),
    }
}

struct Lender<'a, F> {
    device: &'a Device,
    visit: F,
    index: usize,
    offset: usize,
    failure: Option<anyhow::Error>,
}

impl<F: FnMut(Slice<'_>)> Lender<'_, F> {
    fn lend<const D: usize>(&mut self, tensor: Tensor<D>) -> Result<Tensor<D>> {
        let trains = tensor.is_require_grad();
        let mut data = tensor.without_autodiff().try_into_data()?;
        let values = data.as_mut_slice::<f32>()?;
        let length = values.len();
        (self.visit)(Slice { index: self.index, offset: self.offset, values, trains });
        self.index += 1;
        self.offset += length;
        let tensor = Tensor::from_data(data, self.device);
        Ok(if trains { tensor.require_grad() } else { tensor })
    }
}

impl<F: FnMut(Slice<'_>)> ModuleMapper for Lender<'_, F> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let device = self.device.clone();
        param.map(|tensor| {
            self.lend(tensor).unwrap_or_else(|error| {
                self.failure.get_or_insert(error);
                Tensor::empty([0; D], &device)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};

    #[derive(Module, Debug)]
    struct Normed {
        layers: Vec<Linear>,
        norm: BatchNorm,
    }

    #[derive(Module, Debug)]
    struct Tied {
        encoder: Linear,
        decoder: Linear,
    }

    #[derive(Module, Debug)]
    struct Dropping {
        linear: Linear,
        dropout: Dropout,
    }

    fn normed() -> Normed {
        let device = Device::flex().autodiff();
        let layers =
            vec![LinearConfig::new(3, 2).init(&device), LinearConfig::new(2, 2).with_bias(false).init(&device)];
        Normed { layers, norm: BatchNormConfig::new(2).init(&device) }
    }

    #[test]
    fn names_shapes_roles_and_offsets_follow_the_module() {
        let layout = layout_of(&normed()).unwrap();
        let seen: Vec<_> =
            layout.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), t.role, t.offset)).collect();
        let expected: [(&str, &[usize], TensorRole, usize); 7] = [
            ("layers.0.weight", &[3, 2], TensorRole::Weight, 0),
            ("layers.0.bias", &[2], TensorRole::Bias, 6),
            ("layers.1.weight", &[2, 2], TensorRole::Weight, 8),
            ("norm.gamma", &[2], TensorRole::Norm, 12),
            ("norm.beta", &[2], TensorRole::Norm, 14),
            ("norm.running_mean", &[2], TensorRole::NormStat, 16),
            ("norm.running_var", &[2], TensorRole::NormStat, 18),
        ];
        assert_eq!(seen, expected);
        assert_eq!(layout.len(), 20);
    }

    #[test]
    fn written_values_are_read_back_in_flat_order_and_only_trainable_tensors_train() {
        let device = Device::flex().autodiff();
        let module = each_slice(normed(), &device, |slice| {
            for (i, value) in slice.values.iter_mut().enumerate() {
                *value = (slice.offset + i) as f32;
            }
        })
        .unwrap();
        let (mut flat, mut trains) = (Vec::new(), Vec::new());
        each_slice(module, &device, |slice| {
            flat.extend_from_slice(slice.values);
            trains.push(slice.trains);
        })
        .unwrap();
        assert_eq!(flat, (0..20).map(|i| i as f32).collect::<Vec<_>>());
        assert_eq!(trains, [true, true, true, true, true, false, false]);
    }

    #[test]
    fn the_buffer_of_a_parameter_stays_where_it_is() {
        let device = Device::flex().autodiff();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let module = each_slice(LinearConfig::new(30, 20).init(&device), &device, |_| {}).unwrap();
        let module = each_slice(module, &device, |slice| before.push(slice.values.as_ptr())).unwrap();
        each_slice(module, &device, |slice| after.push(slice.values.as_ptr())).unwrap();
        assert_eq!(before, after);
    }

    #[track_caller]
    fn refused(layout: Result<Layout>, words: &[&str]) {
        let message = layout.unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }

    #[test]
    fn modules_that_flat_weights_cannot_carry_are_refused_by_name() {
        let device = Device::flex();
        let linear: Linear = LinearConfig::new(3, 3).init(&device);
        let tied = Tied { encoder: linear.clone(), decoder: linear.clone() };
        refused(layout_of(&tied), &["`decoder.weight`", "`encoder.weight`"]);
        let dropping = Dropping { linear, dropout: DropoutConfig::new(0.5).init() };
        refused(layout_of(&dropping), &["`dropout.training`", "`Dropout`"]);
        let empty: Vec<Linear> = Vec::new();
        refused(layout_of(&empty), &["no parameters"]);
    }
}
