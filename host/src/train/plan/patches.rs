//! The input of a convolution, and its patches: what lies under the kernel for each output pixel.
//!
//! The data's images lie channel by channel (planes). Between convolutions images lie pixel by pixel, all channels of
//! one together, with a ring of zeros around them as wide as the padding: then a patch is a few long runs.
//! Where in the flow: within a [`Conv`](super::conv::Conv). What it never does: arithmetic but for sums of slopes.

use super::product::Matrix;

#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub kernel: usize,
    pub padding: usize,
    pub form: Form,
}

/// How an image lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// [channels, height, width], without padding.
    Planes,
    /// [padding + height + padding, padding + width + padding, channels].
    Pixels,
}

impl Input {
    /// Elements of one image as it lies.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Planes => self.channels * self.height * self.width,
            Form::Pixels => self.ringed(self.height) * self.ringed(self.width) * self.channels,
        }
    }

    fn ringed(&self, side: usize) -> usize {
        side + 2 * self.padding
    }

    /// Height and width of what the convolution puts out.
    pub fn output_sides(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| self.ringed(side) + 1 - self.kernel)
    }

    /// Output pixels of one image.
    pub fn pixels(&self) -> usize {
        self.output_sides().iter().product()
    }

    /// Elements of one patch.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// The patches that [`Input::patches`] made as a matrix [images · pixels, taps].
    pub fn matrix<'a>(&self, patches: &'a [f32], images: usize) -> Matrix<'a> {
        match self.form {
            Form::Planes => Matrix::new(patches, self.taps(), images * self.pixels()).transposed(),
            Form::Pixels => Matrix::new(patches, images * self.pixels(), self.taps()),
        }
    }

    /// Patches of the images in `x`; `patches` is as long as they need.
    pub fn patches(&self, x: &[f32], patches: &mut [f32]) {
        match self.form {
            Form::Planes => self.patches_of_planes(x, patches),
            Form::Pixels => {
                let each = x.chunks_exact(self.len()).zip(patches.chunks_exact_mut(self.pixels() * self.taps()));
                each.for_each(|(x, patches)| self.patches_of_pixels(x, patches));
            }
        }
    }

    /// One row for each tap (channel, row, column), one column for each output pixel of each image.
    fn patches_of_planes(&self, x: &[f32], patches: &mut [f32]) {
        let [height, width] = self.output_sides();
        let plane = self.height * self.width;
        let images = x.len() / self.len();
        for (tap, row) in patches.chunks_exact_mut(images * height * width).enumerate() {
            let (channel, ky, kx) =
                (tap / (self.kernel * self.kernel), tap / self.kernel % self.kernel, tap % self.kernel);
            // Output columns that see column `i + kx − padding` of the image within its sides.
            let (first, last) = within(kx, self.padding, self.width, width);
            let (top, bottom) = within(ky, self.padding, self.height, height);
            for (image, out) in row.chunks_exact_mut(height * width).enumerate() {
                let plane = &x[image * self.len() + channel * plane..][..plane];
                for (y, out) in out.chunks_exact_mut(width).enumerate() {
                    if !(top..bottom).contains(&y) || first == last {
                        out.fill(0.0);
                        continue;
                    }
                    let from = (y + ky - self.padding) * self.width + first + kx - self.padding;
                    out[..first].fill(0.0);
                    out[first..last].copy_from_slice(&plane[from..from + last - first]);
                    out[last..].fill(0.0);
                }
            }
        }
    }

    /// One row for each output pixel: the kernel's rows one after another, each all channels of its pixels.
    fn patches_of_pixels(&self, x: &[f32], patches: &mut [f32]) {
        let run = self.kernel * self.channels;
        for (pixel, patch) in patches.chunks_exact_mut(self.taps()).enumerate() {
            for (ky, to) in patch.chunks_exact_mut(run).enumerate() {
                to.copy_from_slice(&x[self.corner(pixel, ky)..][..run]);
            }
        }
    }

    /// The reverse of [`Input::patches`] for slopes: each element of an image gets the sum over the patches it was in.
    pub fn add_up(&self, patches: &[f32], x: &mut [f32]) {
        assert_eq!(self.form, Form::Pixels, "nobody asks for the slopes of the data");
        let run = self.kernel * self.channels;
        x.fill(0.0);
        for (x, patches) in x.chunks_exact_mut(self.len()).zip(patches.chunks_exact(self.pixels() * self.taps())) {
            for (pixel, patch) in patches.chunks_exact(self.taps()).enumerate() {
                for (ky, from) in patch.chunks_exact(run).enumerate() {
                    let to = &mut x[self.corner(pixel, ky)..][..run];
                    to.iter_mut().zip(from).for_each(|(sum, slope)| *sum += slope);
                }
            }
        }
    }

    /// Where row `ky` of the patch of an output pixel begins.
    fn corner(&self, pixel: usize, ky: usize) -> usize {
        let [_, width] = self.output_sides();
        ((pixel / width + ky) * self.ringed(self.width) + pixel % width) * self.channels
    }
}

/// The outputs `first..last` of `outputs` for which `output + tap − padding` lies within `0..side`.
fn within(tap: usize, padding: usize, side: usize, outputs: usize) -> (usize, usize) {
    let first = padding.saturating_sub(tap).min(outputs);
    let last = (side + padding).saturating_sub(tap).min(outputs);
    (first, last.max(first))
}
