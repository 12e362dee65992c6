//! The input of a convolution: how its images lie, and what lies under the kernel for each output pixel.
//!
//! The data's images lie channel by channel (planes); patches of them are copied. Between convolutions images lie pixel
//! by pixel, all channels of one together, with a ring of zeros around them as wide as the padding: then what lies under
//! the kernel is a few long runs, which are read in place.
//! Where in the flow: within a [`Conv`](super::conv::Conv). What it never does: arithmetic.

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

    /// Elements of a row of a window in pixels.
    pub fn run(&self) -> usize {
        self.kernel * self.channels
    }

    /// Elements from one row of an image in pixels to the next.
    pub fn row(&self) -> usize {
        self.ringed(self.width) * self.channels
    }

    /// Patches of an image that lies in planes: one row for each tap (channel, row, column), one column for each output
    /// pixel. Shapes: `x` one image, `patches` [taps, pixels].
    pub fn patches(&self, x: &[f32], patches: &mut [f32]) {
        debug_assert_eq!(self.form, Form::Planes);
        let [height, width] = self.output_sides();
        let plane = self.height * self.width;
        for (tap, out) in patches.chunks_exact_mut(height * width).enumerate() {
            let (channel, ky, kx) =
                (tap / (self.kernel * self.kernel), tap / self.kernel % self.kernel, tap % self.kernel);
            // Output columns that see column `i + kx − padding` of the image within its sides.
            let (first, last) = within(kx, self.padding, self.width, width);
            let (top, bottom) = within(ky, self.padding, self.height, height);
            let plane = &x[channel * plane..][..plane];
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

/// The outputs `first..last` of `outputs` for which `output + tap − padding` lies within `0..side`.
fn within(tap: usize, padding: usize, side: usize, outputs: usize) -> (usize, usize) {
    let first = padding.saturating_sub(tap).min(outputs);
    let last = (side + padding).saturating_sub(tap).min(outputs);
    (first, last.max(first))
}
