//! Room for what lives only within one layer's pass, kept from step to step and shared by all layers.
//!
//! Where in the flow: lent to the stages. What it never does: carry a value; whoever borrows room writes it first.

#[derive(Debug, Default)]
pub struct Scratch {
    /// Patches of one image, a row for each tap.
    pub patches: Vec<f32>,
    /// Outputs of a convolution before its pool, and later the slopes there.
    pub pixels: Vec<f32>,
    /// Slopes of a layer's outputs in panels.
    pub panels: Vec<f32>,
    /// Panels of a transpose: of slopes under a linear layer, of kernels under a convolution.
    pub turned: Vec<f32>,
    /// Slopes of a band of a linear layer's inputs.
    pub part: Vec<f32>,
    pub gradient: Vec<f32>,
    /// Kernels of a convolution and two gradients of them, channel by channel.
    pub kernels: Vec<f32>,
    /// Channels that have a slope at a pixel, and their slopes.
    pub picked: Vec<(u32, f32)>,
    pub bias: Vec<f32>,
    /// Sums of a batch, a place for each channel.
    pub sums: Vec<f64>,
}

/// The first `length` elements of a buffer that grows when it must: in the first step of its kind, then never again.
pub fn sized<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
