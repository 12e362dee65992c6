//! Convolution of a stack, with the pool and ReLU behind it: gathered patches times kernels, one product a client.
//!
//! ```text
//! cells [G·B, cells, depth] ──select──▶ patches [G, B·pixels, taps·channels] ──× kernels──▶ [G, B·pixels, outputs]
//!                                                                             ──max of 4──▶ [G, B·windows, outputs]
//! ```
//! Where an index table says what a patch is, everything about layout is in the table: images lie pixel by pixel,
//! outputs of a pooled convolution window by window, so that the pool is a maximum over four neighbours, and the pixels
//! that a pool leaves out are never computed. Beyond the edge lies one cell of zeros, the last.
//! What it never does: scatter. The slope under a convolution is gathered from the slopes above by a second table.

use crate::train::plan::Shape;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

pub struct Convolution {
    outputs: usize,
    /// `channels · kernel²`, the rows of the kernel matrix.
    taps: usize,
    channels: usize,
    /// Channels that lie together in a cell: all of them, or 1 where the data lie channel by channel.
    depth: usize,
    /// Pixels that are computed, 4 a window if there is a pool.
    pixels: usize,
    pooled: bool,
    pub relu: bool,
    /// Cell of each (pixel, tap).
    patches: Tensor<1, Int>,
    /// Output pixel of each (input pixel, tap), for the slopes of the input; `None` in the first layer.
    slopes: Option<Tensor<1, Int>>,
    /// 0, 1, 2, 3 as [1, 4, 1].
    corners: Tensor<3, Int>,
}

/// What the backward pass needs again.
pub struct Trace {
    patches: Tensor<3>,
    y: Tensor<3>,
    /// Which of the four neighbours was the largest, [G·B·windows, 1, outputs].
    choices: Option<Tensor<3, Int>>,
}

/// Where a convolution stands.
pub struct Place {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Whether it reads the data, whose pixels lie channel by channel and end with a cell of zeros.
    pub first: bool,
}

impl Convolution {
    pub fn new(place: &Place, outputs: usize, kernel: usize, padding: usize, pooled: bool, device: &Device) -> Self {
        let &Place { channels, height, width, first } = place;
        let [oh, ow] = [height + 2 * padding + 1 - kernel, width + 2 * padding + 1 - kernel];
        let pixels = order_of_pixels(oh, ow, pooled);
        let depth = if first { 1 } else { channels };
        let pixel = |y: usize, x: usize| y * width + x;
        let mut patches = Vec::with_capacity(pixels.len() * kernel * kernel * channels / depth);
        for &(y, x) in &pixels {
            for (ky, kx) in taps(kernel) {
                let at = inside(y + ky, padding, height).zip(inside(x + kx, padding, width));
                for channel in 0..channels / depth {
                    patches.push(match at {
                        Some((y, x)) => channel * height * width + pixel(y, x),
                        None => channels / depth * height * width,
                    });
                }
            }
        }
        let slopes = (!first).then(|| {
            let mut position = vec![pixels.len(); oh * ow];
            pixels.iter().enumerate().for_each(|(i, &(y, x))| position[y * ow + x] = i);
            let mut slopes = Vec::with_capacity(height * width * kernel * kernel);
            for y in 0..height {
                for x in 0..width {
                    for (ky, kx) in taps(kernel) {
                        // y = y' + ky − padding for the output pixel y'.
                        let at = inside(y + padding, ky, oh).zip(inside(x + padding, kx, ow));
                        slopes.push(at.map_or(pixels.len(), |(y, x)| position[y * ow + x]));
                    }
                }
            }
            table(slopes, device)
        });
        Convolution {
            outputs,
            taps: channels * kernel * kernel,
            channels,
            depth,
            pixels: pixels.len(),
            pooled,
            relu: false,
            patches: table(patches, device),
            slopes,
            corners: Tensor::<1, Int>::arange(0..4, device).reshape([1, 4, 1]),
        }
    }

    /// Output pixels behind the pool.
    pub fn windows(&self) -> usize {
        if self.pooled { self.pixels / 4 } else { self.pixels }
    }

    /// Elements that the two passes keep of one sample, and those of the largest tensor among them.
    pub fn elements(&self) -> [usize; 2] {
        let patches = self.pixels * self.taps;
        let gathered = self.slopes.as_ref().map_or(0, |slopes| slopes.dims()[0] * self.outputs);
        [patches + gathered + 4 * self.pixels * self.outputs, patches.max(gathered)]
    }

    /// [G, B, row of the data or pixels · channels] → [G, B, windows · outputs].
    pub fn forward(&self, x: Tensor<3>, kernels: &Tensor<3>, bias: &Tensor<3>) -> (Tensor<3>, Trace) {
        let [clients, batch, width] = x.dims();
        let images = clients * batch;
        let cells = match self.slopes {
            None => x.reshape([images, width, 1]),
            Some(_) => with_zeros(x.reshape([images, width / self.depth, self.depth])),
        };
        let patches = cells.select(1, self.patches.clone()).reshape([clients, batch * self.pixels, self.taps]);
        let y = patches.clone().matmul(kernels.clone());
        let (y, choices) = match self.pooled {
            true => {
                let fours = y.reshape([images * self.windows(), 4, self.outputs]);
                let (largest, choices) = fours.max_dim_with_indices(1);
                (largest.reshape([clients, batch * self.windows(), self.outputs]), Some(choices))
            }
            false => (y, None),
        };
        // The bias is the same for all pixels: behind the pool it is added a quarter as often.
        let y = y + bias.clone();
        let y = if self.relu { relu(y) } else { y };
        let out = y.clone().reshape([clients, batch, self.windows() * self.outputs]);
        (out, Trace { patches, y, choices })
    }

    /// Gradients of kernels and bias, and the slopes of the input if there is a layer below.
    pub fn backward(&self, trace: Trace, slope: Tensor<3>, kernels: &Tensor<3>) -> ([Tensor<3>; 2], Option<Tensor<3>>) {
        let [clients, batch, _] = slope.dims();
        let images = clients * batch;
        let slope = slope.reshape(trace.y.dims());
        let slope = if self.relu { slope.mask_fill(trace.y.lower_equal_elem(0.0), 0.0) } else { slope };
        let bias = slope.clone().sum_dim(1);
        let slope = match trace.choices {
            Some(choices) => {
                let shape = [images * self.windows(), 4, self.outputs];
                let others = self.corners.clone().expand(shape).not_equal(choices.expand(shape));
                let slope = slope.reshape([images * self.windows(), 1, self.outputs]).expand(shape);
                slope.mask_fill(others, 0.0).reshape([clients, batch * self.pixels, self.outputs])
            }
            None => slope,
        };
        let gradient = trace.patches.swap_dims(1, 2).matmul(slope.clone());
        let below = self.slopes.as_ref().map(|slopes| {
            let square = self.taps / self.channels;
            let inputs = slopes.dims()[0] / square;
            let gathered = with_zeros(slope.reshape([images, self.pixels, self.outputs])).select(1, slopes.clone());
            let gathered = gathered.reshape([clients, batch * inputs, square * self.outputs]);
            let turned = kernels.clone().reshape([clients, square, self.channels, self.outputs]);
            let turned = turned.swap_dims(2, 3).reshape([clients, square * self.outputs, self.channels]);
            gathered.matmul(turned).reshape([clients, batch, inputs * self.channels])
        });
        ([gradient, bias], below)
    }
}

/// The pixels in the order in which they are computed.
fn order_of_pixels(height: usize, width: usize, pooled: bool) -> Vec<(usize, usize)> {
    let grid = |height: usize, width: usize| (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)));
    match pooled {
        false => grid(height, width).collect(),
        true => grid(height / 2, width / 2)
            .flat_map(|(y, x)| grid(2, 2).map(move |(dy, dx)| (2 * y + dy, 2 * x + dx)))
            .collect(),
    }
}

fn taps(kernel: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| (ky, kx)))
}

/// `plus − minus` if that lies in `0..side`.
fn inside(plus: usize, minus: usize, side: usize) -> Option<usize> {
    plus.checked_sub(minus).filter(|&at| at < side)
}

/// [images, cells, depth] with one cell of zeros more.
fn with_zeros(cells: Tensor<3>) -> Tensor<3> {
    let [images, count, depth] = cells.dims();
    let zeros = Tensor::zeros([images, count + 1, depth], &cells.device());
    zeros.slice_assign([0..images, 0..count, 0..depth], cells)
}

fn table(indices: Vec<usize>, device: &Device) -> Tensor<1, Int> {
    let length = indices.len();
    let indices: Vec<i32> = indices.into_iter().map(|index| index as i32).collect();
    Tensor::from_data(TensorData::new(indices, [length]), device)
}

impl Place {
    /// Of a convolution that reads an image.
    pub fn of(shape: Shape, first: bool) -> Option<Self> {
        match shape {
            Shape::Image { channels, height, width } => Some(Place { channels, height, width, first }),
            Shape::Features(_) => None,
        }
    }
}
