//! A list of layers compiled into stages, with the buffers between them.
//!
//! Where in the flow: the plan's trainer fills in features and slopes of the logits, the network does what lies
//! between. What it never does: allocate once it has seen its largest batch, or read a value of an earlier batch.

use super::active::{Active, ROOM};
use super::conv::Conv;
use super::layers::{Layer, Layers, Shape};
use super::learner::Learner;
use super::linear::{Backward, BackwardActive, Linear};
use super::norm::{Forward, Norm, Statistics, Trace};
use super::order::Order;
use super::patches::{Form, Input};
use super::pool::Pool;
use super::scratch::{Scratch, sized};
use super::side_by_side::SideBySide;
use super::tile::WIDTH;
use crate::data::Bytes;
use crate::registers::Registers;
use std::ops::Range;

/// A layer with what is fused into it.
#[derive(Clone, Debug)]
enum Stage {
    Linear(Linear),
    Conv(Conv),
    Norm(Norm),
}

/// How a batch's samples lie where the first stage reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Sample after sample, [rows, inputs].
    Plain,
    /// The same without their shift, which is added to their products; inputs that are blank in all samples are left
    /// out.
    WithoutBlanks,
    /// Side by side without their shift, as [`SideBySide`] has them; logits lie [outputs, 16].
    SideBySide,
}

#[derive(Debug)]
pub struct Network {
    /// Registers that products run in; results do not depend on them.
    pub(super) registers: Registers,
    stages: Vec<Stage>,
    /// One for each tensor, in flat order.
    orders: Vec<Order>,
    /// What has a gradient, in the plan's order: all but running statistics.
    trained: Vec<Range<usize>>,
    inputs: usize,
    outputs: usize,
    /// What goes into each stage, then the logits.
    values: Vec<Vec<f32>>,
    /// Slopes of `values`; those of the features stay empty.
    slopes: Vec<Vec<f32>>,
    /// For each stage what its pool chose; empty for linear ones.
    choices: Vec<Vec<u8>>,
    /// For each stage what its normalisation used; empty for the others.
    traces: Vec<Trace>,
    /// What the first stage reads while blank inputs are left out.
    active: Active,
    /// What it reads while samples lie side by side.
    side_by_side: SideBySide,
    reading: Reading,
    scratch: Scratch,
}

impl Network {
    /// Panics if the layers do not fit together, or come in an order that the plan does not know: ReLU, pool or
    /// normalisation first, two pools or two normalisations in a row. Lists are part of a model's code.
    pub fn new(layers: &Layers) -> Self {
        let mut compiler = Compiler::default();
        let last = layers.list.iter().fold(layers.input, |shape, &layer| compiler.add(shape, layer));
        let Compiler { stages, orders, trained, .. } = compiler;
        let buffers = stages.len() + 1;
        Network {
            registers: Registers::widest(),
            choices: vec![Vec::new(); stages.len()],
            traces: stages.iter().map(|_| Trace::default()).collect(),
            stages,
            orders,
            trained,
            inputs: layers.input.len(),
            outputs: last.len(),
            values: vec![Vec::new(); buffers],
            slopes: vec![Vec::new(); buffers],
            active: Active::default(),
            side_by_side: SideBySide::default(),
            reading: Reading::Plain,
            scratch: Scratch::default(),
        }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What has a gradient, ascending.
    pub fn trained(&self) -> &[Range<usize>] {
        &self.trained
    }

    /// Whether leaving out blank inputs can save more than finding them costs, which is about what a panel or two cost.
    pub fn gains_from_blanks(&self) -> bool {
        matches!(self.stages.first(), Some(Stage::Linear(linear)) if linear.outputs > 2 * WIDTH)
    }

    /// Whether samples side by side fill registers of which the outputs of the only layer leave lanes idle.
    pub fn gains_side_by_side(&self) -> bool {
        matches!(&self.stages[..], [Stage::Linear(linear)] if linear.outputs < WIDTH)
    }

    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Takes in what leaving out blank inputs needs to know of the weights. `shifted`: whether samples may have a
    /// shift.
    pub fn sum_weight(&mut self, shifted: bool, weights: &[f32]) {
        let [Stage::Linear(first), ..] = &self.stages[..] else {
            panic!("blank inputs are left out of a linear layer only");
        };
        let (narrow, weight, outputs) = (self.gains_side_by_side(), first.weight(weights), first.outputs);
        let (active, side_by_side) = (&mut self.active, &mut self.side_by_side);
        self.registers.run(
            #[inline(always)]
            || {
                if narrow {
                    side_by_side.sum_weight(shifted, weight, outputs);
                } else {
                    active.sum_weight(shifted, weight, outputs);
                }
            },
        );
    }

    /// From now on samples are read side by side, at most sixteen at a time, and only evaluated. They have no shift,
    /// `shift` is added to their products. `weights`: those that were taken in last.
    pub fn read_side_by_side(&mut self, shift: f32, weights: &[f32]) {
        let [Stage::Linear(only)] = &self.stages[..] else {
            panic!("samples lie side by side for a narrow linear layer only");
        };
        self.side_by_side.shift_by(shift, only.bias(weights));
        self.reading = Reading::SideBySide;
    }

    /// From now on features have no shift, `shift` is added to their products, and blank inputs are left out.
    pub fn leave_out_blanks(&mut self, shift: f32) {
        self.active.shift_by(shift);
        self.reading = Reading::WithoutBlanks;
    }

    /// From now on features are read as they are. `weights` may miss what a step with blank inputs left out kept apart,
    /// and get it.
    pub fn read_plainly(&mut self, weights: &mut [f32]) {
        if let ([Stage::Linear(first), ..], Reading::WithoutBlanks) = (&self.stages[..], self.reading) {
            let (active, weight) = (&mut self.active, first.weight_mut(weights));
            self.registers.run(
                #[inline(always)]
                || active.settle(weight),
            );
        }
        self.reading = Reading::Plain;
    }

    /// From flat weights to the plan's.
    pub fn take_in(&self, flat: &[f32], plan: &mut [f32]) {
        let mut offset = 0;
        for order in &self.orders {
            let range = offset..offset + order.len();
            order.take_in(&flat[range.clone()], &mut plan[range]);
            offset += order.len();
        }
    }

    /// From the plan's weights to flat ones.
    pub fn give_back(&self, plan: &[f32], flat: &mut [f32]) {
        let mut offset = 0;
        for order in &self.orders {
            let range = offset..offset + order.len();
            order.give_back(&plan[range.clone()], &mut flat[range]);
            offset += order.len();
        }
    }

    /// The place of a batch's features, in the shape in which they are read.
    pub fn features(&mut self, rows: usize) -> &mut [f32] {
        &mut sized(&mut self.values[0], rows * self.inputs + ROOM)[..rows * self.inputs]
    }

    /// Finds the active inputs of the features that were filled in.
    pub fn pick(&mut self, rows: usize) {
        let (active, features, inputs) = (&mut self.active, &self.values[0], self.inputs);
        self.registers.run(
            #[inline(always)]
            || active.pick(features, rows, inputs),
        );
    }

    /// The same of samples of bytes. `rows`: the batch, and some that will follow.
    pub fn pick_bytes(&mut self, bytes: Bytes<'_>, rows: [&[u32]; 2]) {
        let active = &mut self.active;
        self.registers.run(
            #[inline(always)]
            || active.pick_bytes(bytes, rows),
        );
    }

    /// From the features that were filled in, or the active ones that were found, to logits. Shapes: `weights` with a
    /// panel's width of room at their end.
    pub fn forward(&mut self, weights: &[f32], rows: usize, statistics: Statistics) {
        for (i, stage) in self.stages.iter().enumerate() {
            sized(&mut self.values[i + 1], rows * stage.output_len());
            sized(&mut self.choices[i], rows * stage.choices());
        }
        for (i, stage) in self.stages.iter().enumerate() {
            let (before, after) = self.values.split_at_mut(i + 1);
            let y = &mut after[0][..rows * stage.output_len()];
            if let (0, Reading::WithoutBlanks, Stage::Linear(linear)) = (i, self.reading, stage) {
                linear.forward_active(self.registers, weights, &self.active, y, rows);
                continue;
            }
            let x = &before[i][..rows * stage.input_len()];
            match stage {
                Stage::Linear(linear) => linear.forward(self.registers, weights, x, y, rows),
                Stage::Conv(conv) => {
                    let choices = &mut self.choices[i][..rows * stage.choices()];
                    conv.forward(self.registers, weights, x, y, choices, &mut self.scratch);
                }
                Stage::Norm(norm) => {
                    let choices = &mut self.choices[i][..rows * stage.choices()];
                    let pass = Forward { registers: self.registers, weights, x, y, choices };
                    norm.forward(pass, statistics, &mut self.scratch, &mut self.traces[i]);
                }
            }
        }
    }

    /// From samples that are read side by side to logits. `rows`: at most sixteen.
    pub fn forward_side_by_side(&mut self, weights: &[f32], bytes: Bytes<'_>, rows: &[u32]) {
        let [Stage::Linear(only)] = &self.stages[..] else {
            panic!("samples lie side by side for a narrow linear layer only");
        };
        self.side_by_side.pick(self.registers, bytes, rows);
        let logits = sized(&mut self.values[1], self.outputs * WIDTH);
        only.forward_side_by_side(self.registers, weights, &self.side_by_side, logits);
    }

    /// The logits of the last forward pass, [rows, outputs], or [outputs, 16] of samples side by side.
    pub fn logits(&self, rows: usize) -> &[f32] {
        let rows = if self.reading == Reading::SideBySide { WIDTH } else { rows };
        &self.values[self.stages.len()][..rows * self.outputs]
    }

    /// The logits of the last forward pass [rows, outputs], and the place of their slopes.
    pub fn logits_and_slopes(&mut self, rows: usize) -> (&[f32], &mut [f32]) {
        let last = self.stages.len();
        sized(&mut self.slopes[last], rows * self.outputs);
        (&self.values[last][..rows * self.outputs], &mut self.slopes[last][..rows * self.outputs])
    }

    /// Backward from the slopes that were filled in, each stage's weights learning on the way. Panics if blank inputs
    /// are left out and the weights move by more than the gradient, or if samples are read side by side.
    pub fn backward(&mut self, rows: usize, learner: &mut Learner<'_>) {
        assert!(self.reading != Reading::SideBySide, "samples side by side are only evaluated");
        for (i, stage) in self.stages.iter().enumerate().rev() {
            let (before, after) = self.slopes.split_at_mut(i + 1);
            if let (0, Reading::WithoutBlanks, Stage::Linear(linear)) = (i, self.reading, stage) {
                let pass = BackwardActive {
                    registers: self.registers,
                    x: &mut self.active,
                    y: &self.values[1][..rows * stage.output_len()],
                    slope_y: &mut after[0][..rows * stage.output_len()],
                    rate: learner.plain_rate().expect("steps by the gradient alone"),
                    rows,
                };
                linear.backward_active(pass, &mut self.scratch, learner);
                continue;
            }
            let slope_x = &mut before[i];
            let slope_x = if i == 0 { None } else { Some(sized(slope_x, rows * stage.input_len())) };
            let pass = Backward {
                registers: self.registers,
                x: &self.values[i][..rows * stage.input_len()],
                y: &self.values[i + 1][..rows * stage.output_len()],
                slope_y: &mut after[0][..rows * stage.output_len()],
                slope_x,
                rows,
            };
            match stage {
                Stage::Linear(linear) => linear.backward(pass, &mut self.scratch, learner),
                Stage::Conv(conv) => conv.backward(pass, &self.choices[i], &mut self.scratch, learner),
                Stage::Norm(norm) => {
                    norm.backward(pass, &self.choices[i], &self.traces[i], &mut self.scratch, learner);
                }
            }
        }
    }
}

impl Stage {
    fn input_len(&self) -> usize {
        match self {
            Stage::Linear(linear) => linear.inputs,
            Stage::Conv(conv) => conv.input.len(),
            Stage::Norm(norm) => norm.input_len(),
        }
    }

    fn output_len(&self) -> usize {
        match self {
            Stage::Linear(linear) => linear.outputs,
            Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. }) => pool.output_len(),
        }
    }

    fn choices(&self) -> usize {
        match self {
            Stage::Linear(_) => 0,
            Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. }) => pool.choices(),
        }
    }
}

struct Compiler {
    /// How the image between the last layer and the next lies, or lay before it was flattened.
    form: Form,
    /// Where the next parameter begins.
    offset: usize,
    stages: Vec<Stage>,
    orders: Vec<Order>,
    trained: Vec<Range<usize>>,
}

impl Default for Compiler {
    fn default() -> Self {
        Compiler { form: Form::Planes, offset: 0, stages: Vec::new(), orders: Vec::new(), trained: Vec::new() }
    }
}

impl Compiler {
    fn add(&mut self, shape: Shape, layer: Layer) -> Shape {
        let after = shape.after(layer);
        match (layer, shape) {
            (Layer::Linear { outputs }, _) => self.linear(shape.len(), outputs),
            (Layer::Conv { outputs, kernel, padding }, Shape::Image { channels, height, width }) => {
                self.conv(Input { channels, height, width, kernel, padding, form: self.form }, outputs);
            }
            (Layer::BatchNorm, _) => self.norm(shape),
            (Layer::Relu, _) => match self.stages.last_mut() {
                Some(Stage::Linear(linear)) => linear.relu = true,
                Some(Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. })) => pool.relu = true,
                None => panic!("a plan begins with a linear layer or a convolution, not with ReLU"),
            },
            (Layer::MaxPool, _) => match self.stages.last_mut() {
                Some(Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. })) if pool.window == 1 => {
                    pool.window = 2;
                }
                _ => panic!("in a plan each pool follows a convolution or a normalisation of its own"),
            },
            (Layer::Flatten | Layer::Conv { .. }, _) => {}
        }
        after
    }

    fn linear(&mut self, inputs: usize, outputs: usize) {
        self.orders.push(match self.stages.last() {
            Some(Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. })) => {
                let pixels = pool.output_sides().iter().product();
                Order::rows_of_pixels(pool.channels, pixels, outputs)
            }
            _ => Order::matrix(inputs, outputs),
        });
        self.stages.push(Stage::Linear(Linear { inputs, outputs, relu: false, offset: self.offset }));
        self.bias(inputs * outputs, outputs);
    }

    fn conv(&mut self, input: Input, outputs: usize) {
        if let Some(Stage::Conv(Conv { pool, .. }) | Stage::Norm(Norm { pool, .. })) = self.stages.last_mut() {
            pool.ring = input.padding;
        }
        let taps = input.kernel * input.kernel;
        self.orders.push(match input.form {
            Form::Planes => Order::kernels_of_planes(outputs, input.channels, taps),
            Form::Pixels => Order::kernels_of_pixels(outputs, input.channels, taps),
        });
        let [height, width] = input.output_sides();
        let pool = Pool { channels: outputs, height, width, window: 1, relu: false, ring: 0, slope_ring: 0 };
        self.stages.push(Stage::Conv(Conv::new(input, outputs, pool, self.offset)));
        self.bias(input.taps() * outputs, outputs);
        self.form = Form::Pixels;
    }

    fn norm(&mut self, shape: Shape) {
        let channels = shape.channels();
        let [height, width] = match (self.stages.last(), shape) {
            (Some(Stage::Conv(_)), Shape::Image { height, width, .. }) => [height, width],
            (Some(Stage::Linear(_)), Shape::Features(_)) => [1, 1],
            _ => panic!("in a plan each normalisation follows a convolution or a linear layer"),
        };
        let pool = Pool { channels, height, width, window: 1, relu: false, ring: 0, slope_ring: 0 };
        self.stages.push(Stage::Norm(Norm { pool, offset: self.offset }));
        self.orders.extend((0..4).map(|_| Order::same(channels)));
        self.trains(2 * channels);
        // The running statistics.
        self.offset += 2 * channels;
    }

    /// The bias that follows a weight of `weight_len` elements.
    fn bias(&mut self, weight_len: usize, outputs: usize) {
        self.orders.push(Order::same(outputs));
        self.trains(weight_len + outputs);
    }

    /// The next `len` elements have a gradient.
    fn trains(&mut self, len: usize) {
        let end = self.offset + len;
        match self.trained.last_mut() {
            Some(last) if last.end == self.offset => last.end = end,
            _ => self.trained.push(self.offset..end),
        }
        self.offset = end;
    }
}
