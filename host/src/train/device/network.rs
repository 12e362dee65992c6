//! A list of layers as operations on stacks: forward, backward, and the way of weights to the device and back.
//!
//! Shapes: parameters [G, rows, columns], a weight before its bias; what lies between layers [G, B, width].
//! Where in the flow: compiled once from the model's list of layers, whose parameters lie in the flat vector. The
//! backward pass is written out rather than recorded: the layers are few, and so each operation is one that is needed.
//! What it never does: update weights.

use super::convolution::{self, Convolution, Place};
use crate::train::plan::{Layer, Layers, Order, Shape};
use anyhow::Result;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

/// Parameters of a stack in flat order.
pub type Parameters = Vec<Tensor<3>>;

pub struct Network {
    stages: Vec<Stage>,
    /// How each parameter lies on the device, rows and columns.
    orders: Vec<(Order, [usize; 2])>,
    pub inputs: usize,
    pub outputs: usize,
    /// Elements of a row of the data on the device, at least `inputs`; what is beyond is zero.
    pub row: usize,
    device: Device,
}

#[expect(clippy::large_enum_variant, reason = "a network has a handful of stages")]
enum Stage {
    Linear { relu: bool },
    Convolution(Convolution),
}

/// What a stage leaves for the backward pass.
#[expect(clippy::large_enum_variant, reason = "a pass leaves a handful of traces")]
pub enum Trace {
    Linear { x: Tensor<3>, y: Tensor<3> },
    Convolution(convolution::Trace),
}

impl Network {
    /// Panics if the list is none that a plan takes: it is part of a model's code.
    pub fn new(layers: &Layers, device: &Device) -> Self {
        let mut network = Network {
            stages: Vec::new(),
            orders: Vec::new(),
            inputs: layers.input.len(),
            outputs: 0,
            row: row(layers),
            device: device.clone(),
        };
        let mut shape = layers.input;
        let mut before = shape;
        for (i, &layer) in layers.list.iter().enumerate() {
            let pooled = matches!(layers.list[i + 1..].iter().find(|next| **next != Layer::Relu), Some(Layer::MaxPool));
            network.add(layer, shape, before, pooled);
            if layer != Layer::Flatten {
                before = shape.after(layer);
            }
            shape = shape.after(layer);
        }
        network.outputs = shape.len();
        network
    }

    /// `before`: the shape before a flattening that came last.
    fn add(&mut self, layer: Layer, shape: Shape, before: Shape, pooled: bool) {
        match layer {
            Layer::Linear { outputs } => {
                let inputs = shape.len();
                let order = match (self.stages.last(), before) {
                    (Some(Stage::Convolution(_)), Shape::Image { channels, height, width }) => {
                        Order::rows_of_pixels(channels, height * width, outputs)
                    }
                    _ => Order::same(inputs * outputs),
                };
                self.parameters(order, [inputs, outputs]);
                self.stages.push(Stage::Linear { relu: false });
            }
            Layer::Conv { outputs, kernel, padding } => {
                let place = Place::of(shape, self.stages.is_empty()).expect("a list of layers fits together");
                let square = kernel * kernel;
                self.parameters(
                    Order::kernels_of_pixels(outputs, place.channels, square),
                    [place.channels * square, outputs],
                );
                let convolution = Convolution::new(&place, outputs, kernel, padding, pooled, &self.device);
                self.stages.push(Stage::Convolution(convolution));
            }
            Layer::Relu => match self.stages.last_mut() {
                Some(Stage::Linear { relu }) => *relu = true,
                Some(Stage::Convolution(convolution)) => convolution.relu = true,
                None => panic!("a stack begins with a linear layer or a convolution, not with ReLU"),
            },
            Layer::BatchNorm => panic!("a stack has no batch normalisation; ask `LayerStack::takes` first"),
            // Part of the convolution before it, or of the order of the weights behind it.
            Layer::MaxPool | Layer::Flatten => {}
        }
    }

    fn parameters(&mut self, order: Order, [rows, columns]: [usize; 2]) {
        self.orders.push((order.unpanelled(), [rows, columns]));
        self.orders.push((Order::same(columns), [1, columns]));
    }

    /// Uploads `flats`, P values each, to one tensor a parameter, [flats, rows, columns].
    pub fn upload(&self, flats: &[&[f32]]) -> Parameters {
        let mut offset = 0;
        let each = self.orders.iter().map(|(order, [rows, columns])| {
            let length = order.len();
            let mut values = vec![0.0; flats.len() * length];
            for (flat, values) in flats.iter().zip(values.chunks_exact_mut(length)) {
                order.take_in(&flat[offset..offset + length], values);
            }
            offset += length;
            Tensor::from_data(TensorData::new(values, [flats.len(), *rows, *columns]), &self.device)
        });
        each.collect()
    }

    /// Downloads parameters of a stack into flat vectors, one a client.
    pub fn download<'a>(
        &self,
        parameters: Parameters,
        flats: impl IntoIterator<Item = &'a mut Vec<f32>>,
    ) -> Result<()> {
        let mut flats: Vec<&mut Vec<f32>> = flats.into_iter().collect();
        let mut offset = 0;
        for ((order, _), parameter) in self.orders.iter().zip(parameters) {
            let (data, length) = (parameter.try_into_data()?, order.len());
            for (flat, values) in flats.iter_mut().zip(data.as_slice::<f32>()?.chunks_exact(length)) {
                order.give_back(values, &mut flat[offset..offset + length]);
            }
            offset += length;
        }
        Ok(())
    }

    /// Logits [G, B, outputs] of rows of the data [G, B, row]; `traces`, if asked for, what the backward pass needs.
    pub fn forward(&self, parameters: &[Tensor<3>], x: Tensor<3>, mut traces: Option<&mut Vec<Trace>>) -> Tensor<3> {
        let mut x = x;
        for (stage, pair) in self.stages.iter().zip(parameters.chunks_exact(2)) {
            let (y, trace) = match stage {
                Stage::Linear { relu: rectified } => {
                    let y = x.clone().matmul(pair[0].clone()) + pair[1].clone();
                    let y = if *rectified { relu(y) } else { y };
                    (y.clone(), Trace::Linear { x, y })
                }
                Stage::Convolution(convolution) => {
                    let (y, trace) = convolution.forward(x, &pair[0], &pair[1]);
                    (y, Trace::Convolution(trace))
                }
            };
            if let Some(traces) = &mut traces {
                traces.push(trace);
            }
            x = y;
        }
        x
    }

    /// Gradients of all parameters from the slopes of the logits.
    pub fn backward(&self, parameters: &[Tensor<3>], traces: Vec<Trace>, slope: Tensor<3>) -> Parameters {
        let mut gradients = Vec::with_capacity(parameters.len());
        let mut slope = Some(slope);
        let stages = self.stages.iter().zip(parameters.chunks_exact(2)).zip(traces).enumerate();
        for (i, ((stage, pair), trace)) in stages.rev() {
            let Some(above) = slope.take() else { break };
            let [weight, bias] = match (stage, trace) {
                (Stage::Linear { relu }, Trace::Linear { x, y }) => {
                    let above = if *relu { above.mask_fill(y.lower_equal_elem(0.0), 0.0) } else { above };
                    slope = (i > 0).then(|| above.clone().matmul(pair[0].clone().swap_dims(1, 2)));
                    [x.swap_dims(1, 2).matmul(above.clone()), above.sum_dim(1)]
                }
                (Stage::Convolution(convolution), Trace::Convolution(trace)) => {
                    let (gradients, below) = convolution.backward(trace, above, &pair[0]);
                    slope = below;
                    gradients
                }
                _ => unreachable!("each stage left its own kind of trace"),
            };
            gradients.push(bias);
            gradients.push(weight);
        }
        gradients.reverse();
        gradients
    }

    /// Elements of the largest parameter.
    pub fn largest_parameter(&self) -> usize {
        self.orders.iter().map(|(order, _)| order.len()).max().unwrap_or(0)
    }

    /// Elements that a forward and a backward pass keep of one sample, and those of the largest tensor among them.
    pub fn elements(&self) -> [usize; 2] {
        let (mut all, mut largest) = (2 * self.row, self.row);
        for (stage, bias) in self.stages.iter().zip(self.orders.iter().skip(1).step_by(2)) {
            let [here, one] = match stage {
                // Outputs before and behind ReLU, and their slopes.
                Stage::Linear { .. } => [4 * bias.0.len(), bias.0.len()],
                Stage::Convolution(convolution) => convolution.elements(),
            };
            (all, largest) = (all + here, largest.max(one));
        }
        [all, largest]
    }
}

/// Behind an image lies a cell of zeros; rows that begin at multiples of 256 bytes are cut without a copy.
fn row(layers: &Layers) -> usize {
    match layers.list.first() {
        Some(Layer::Conv { .. }) => (layers.input.len() + 1).next_multiple_of(64),
        _ => layers.input.len(),
    }
}
