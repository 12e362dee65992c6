//! The way back through a convolution under a pool: products with slopes that are zero are left out.
//!
//! Of each square of pixels that a pool looks at, one has a slope in each channel, or none where ReLU held it back. So at
//! least three slopes of four are zero, and a product with zero adds nothing. What is left is added pixel by pixel:
//!
//! ```text
//! window of slopes of x  +=  slope · kernel of its channel       gradient of the channel's kernel  +=  slope · window of x
//! ```
//! Pixels and channels come in ascending order, which is that of the whole products, so every sum is theirs, bit for bit, but for
//! the sign of a zero that underflowed, and unless a factor is infinite or not a number.
//!
//! Where in the flow: called by [`Conv`](super::conv::Conv), an image at a time. What it never does: multiply by a slope that
//! the pool held back.

use super::pool::Pool;
use super::tile::WIDTH;
use pulp::{Simd, WithSimd};

/// Vectors of a window's row that are summed at a time, in registers.
const AT_A_TIME: usize = 10;

/// Where windows of an image that lies pixel by pixel begin, and how long they are.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Elements of a pixel.
    pub channels: usize,
    /// Elements from one row of the image to the next, ring included.
    pub row: usize,
}

impl Geometry {
    /// Elements of a row of a window.
    fn run(&self) -> usize {
        self.kernel * self.channels
    }

    fn taps(&self) -> usize {
        self.kernel * self.run()
    }
}

/// One image's way back. Kernels and their gradient lie [outputs, taps], channel by channel.
pub struct ImageBack<'a> {
    pub geometry: Geometry,
    pub pool: &'a Pool,
    /// One input image, ring included.
    pub x: &'a [f32],
    pub slope_y: &'a [f32],
    pub choices: &'a [u8],
    pub kernels: &'a [f32],
    /// Gets the image's gradient added, pixel by pixel.
    pub gradient: &'a mut [f32],
    /// Gets the slopes of `x`, and what falls on its ring.
    pub slope_x: Option<&'a mut [f32]>,
    /// Room for a channel and its slope, for each output.
    pub picked: &'a mut [(u32, f32)],
}

impl WithSimd for ImageBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if let Some(slope_x) = self.slope_x.as_deref_mut() {
            slope_x.fill(0.0);
        }
        let Geometry { kernel, channels, row } = self.geometry;
        let (run, taps) = (self.geometry.run(), self.geometry.taps());
        let [height, width] = self.pool.output_sides().map(|side| side * self.pool.window);
        for pixel in 0..height * width {
            let (y, x) = (pixel / width, pixel % width);
            let count = self.pick(y, x);
            let picked = &self.picked[..count];
            for ky in 0..kernel {
                let (first, tap) = ((y + ky) * row + x * channels, ky * run);
                if let Some(slope_x) = self.slope_x.as_deref_mut() {
                    add_kernels(simd, &mut slope_x[first..first + run], picked, &self.kernels[tap..], taps);
                }
                add_windows(simd, &mut self.gradient[tap..], picked, &self.x[first..first + run], taps);
            }
        }
    }
}

impl ImageBack<'_> {
    /// Finds the channels whose pool chose this pixel, ascending; how many.
    #[inline(always)]
    fn pick(&mut self, y: usize, x: usize) -> usize {
        let (choices, slopes) = self.pool.choices_and_slopes(y, x, self.choices, self.slope_y);
        let place = self.pool.place(y, x);
        let mut count = 0;
        for (channel, (&choice, &slope)) in choices.iter().zip(slopes).enumerate() {
            self.picked[count] = (channel as u32, slope);
            count += usize::from(choice == place);
        }
        count
    }
}

/// `slopes += Σ slope · kernel's row`. Shapes: rows of kernels lie `taps` apart.
#[inline(always)]
fn add_kernels<S: Simd>(simd: S, slopes: &mut [f32], picked: &[(u32, f32)], kernels: &[f32], taps: usize) {
    let slopes = S::as_mut_simd_f32s(slopes).0;
    let mut done = 0;
    let (groups, rest) = slopes.as_chunks_mut::<AT_A_TIME>();
    for group in groups {
        add_some_kernels::<S, AT_A_TIME>(simd, group, picked, &kernels[done..], taps);
        done += AT_A_TIME * S::F32_LANES;
    }
    for vector in rest {
        add_some_kernels::<S, 1>(simd, std::array::from_mut(vector), picked, &kernels[done..], taps);
        done += S::F32_LANES;
    }
}

#[inline(always)]
fn add_some_kernels<S: Simd, const V: usize>(
    simd: S,
    slopes: &mut [S::f32s; V],
    picked: &[(u32, f32)],
    kernels: &[f32],
    taps: usize,
) {
    let mut sums = *slopes;
    for &(channel, slope) in picked {
        let slope = simd.splat_f32s(slope);
        let kernel = S::as_simd_f32s(&kernels[channel as usize * taps..][..V * S::F32_LANES]).0;
        for v in 0..V {
            sums[v] = simd.mul_add_f32s(slope, kernel[v], sums[v]);
        }
    }
    *slopes = sums;
}

/// `gradient's row += slope · window's row`, for each picked channel.
#[inline(always)]
fn add_windows<S: Simd>(simd: S, gradient: &mut [f32], picked: &[(u32, f32)], window: &[f32], taps: usize) {
    let window = S::as_simd_f32s(window).0;
    let mut done = 0;
    let (groups, rest) = window.as_chunks::<AT_A_TIME>();
    for group in groups {
        add_some_windows::<S, AT_A_TIME>(simd, &mut gradient[done..], picked, group, taps);
        done += AT_A_TIME * S::F32_LANES;
    }
    for vector in rest {
        add_some_windows::<S, 1>(simd, &mut gradient[done..], picked, std::array::from_ref(vector), taps);
        done += S::F32_LANES;
    }
}

#[inline(always)]
fn add_some_windows<S: Simd, const V: usize>(
    simd: S,
    gradient: &mut [f32],
    picked: &[(u32, f32)],
    window: &[S::f32s; V],
    taps: usize,
) {
    let window = *window;
    for &(channel, slope) in picked {
        let slope = simd.splat_f32s(slope);
        let gradient = S::as_mut_simd_f32s(&mut gradient[channel as usize * taps..][..V * S::F32_LANES]).0;
        for v in 0..V {
            gradient[v] = simd.mul_add_f32s(window[v], slope, gradient[v]);
        }
    }
}

/// From panels [⌈outputs / 16⌉, taps, 16] to [outputs, taps]. Shapes: both of one length.
pub fn rows_of_channels(panels: &[f32], taps: usize, rows: &mut [f32]) {
    for (panel, rows) in panels.chunks(taps * WIDTH).zip(rows.chunks_mut(taps * WIDTH)) {
        let width = panel.len() / taps;
        for (tap, values) in panel.chunks_exact(width).enumerate() {
            rows[tap..].iter_mut().step_by(taps).zip(values).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The way back of [`rows_of_channels`].
pub fn panels_of_channels(rows: &[f32], taps: usize, panels: &mut [f32]) {
    for (panel, rows) in panels.chunks_mut(taps * WIDTH).zip(rows.chunks(taps * WIDTH)) {
        let width = panel.len() / taps;
        for (tap, values) in panel.chunks_exact_mut(width).enumerate() {
            values.iter_mut().zip(rows[tap..].iter().step_by(taps)).for_each(|(to, from)| *to = *from);
        }
    }
}
