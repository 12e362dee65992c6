//! What follows a convolution's product, in one pass over it: pool, bias, ReLU; and the same way back.
//!
//! The largest of rectified values is the rectified largest, and a bias that all share can be added after the choice.
//! So all orders of pool and ReLU are this one. Where in the flow: within a [`Conv`](super::conv::Conv), one image at a
//! time. What it never does: touch the ring around the output.

use super::linear::rectified;
use super::tile::WIDTH;

/// In `choices`: ReLU held the value back.
const DEAD: u8 = u8::MAX;

#[derive(Clone, Copy, Debug)]
pub struct Pool {
    pub channels: usize,
    /// Sides of what the convolution puts out.
    pub height: usize,
    pub width: usize,
    /// Side of the squares of which the largest value stays, 1 or 2. Rows and columns beyond the last square are left out.
    pub window: usize,
    pub relu: bool,
    /// Width of the zeros around the output: the padding of the convolution that comes next.
    pub ring: usize,
    /// Width of the zeros around the slopes of what the convolution puts out.
    pub slope_ring: usize,
}

impl Pool {
    pub fn output_sides(&self) -> [usize; 2] {
        [self.height / self.window, self.width / self.window]
    }

    /// Elements of one output, ring included.
    pub fn output_len(&self) -> usize {
        self.output_sides().iter().map(|side| side + 2 * self.ring).product::<usize>() * self.channels
    }

    /// Output values of one image.
    pub fn choices(&self) -> usize {
        self.output_sides().iter().product::<usize>() * self.channels
    }

    /// Elements from one row of the slopes to the next, ring included.
    pub fn slope_row(&self) -> usize {
        (self.width + 2 * self.slope_ring) * self.channels
    }

    /// Elements of the slopes of what the convolution puts out, ring included.
    pub fn slopes_len(&self) -> usize {
        (self.height + 2 * self.slope_ring) * self.slope_row()
    }

    /// The rows of `slopes` within their ring, each with the number of its first pixel.
    pub fn slope_rows<'s>(&self, slopes: &'s [f32]) -> impl Iterator<Item = (usize, &'s [f32])> {
        let (width, length, ring) = (self.width, self.width * self.channels, self.slope_ring * self.channels);
        let rows = slopes.chunks_exact(self.slope_row()).skip(self.slope_ring).take(self.height);
        rows.enumerate().map(move |(y, row)| (y * width, &row[ring..ring + length]))
    }

    /// Shapes: `pixels` [height, width, channels], `y` one output, `choices` its values without the ring.
    #[inline(always)]
    pub fn forward(&self, pixels: &[f32], bias: &[f32], y: &mut [f32], choices: &mut [u8]) {
        for (output, choices) in choices.chunks_exact_mut(self.channels).enumerate() {
            let y = &mut y[self.output(output)..][..self.channels];
            let source = |place| &pixels[self.source(output, place, 0)..][..self.channels];
            match self.window {
                1 => self.choose([source(0)], bias, y, choices),
                // Not `map`, whose closure is a function of its own and would not run in the caller's registers.
                _ => self.choose([source(0), source(1), source(2), source(3)], bias, y, choices),
            }
        }
    }

    /// One output pixel: the largest of its candidates, channel by channel, with bias and ReLU. Shapes: a value a channel.
    #[inline(always)]
    fn choose<const N: usize>(&self, candidates: [&[f32]; N], bias: &[f32], y: &mut [f32], choices: &mut [u8]) {
        let whole = self.channels / WIDTH * WIDTH;
        for first in (0..whole).step_by(WIDTH) {
            self.choose_lanes::<N, WIDTH>(&candidates, bias, y, choices, first);
        }
        for first in whole..self.channels {
            self.choose_lanes::<N, 1>(&candidates, bias, y, choices, first);
        }
    }

    /// `L` channels of it, from `first` on, in arrays of their own: a compiler that cannot tell whether the slices overlap would
    /// go through them one by one.
    #[inline(always)]
    fn choose_lanes<const N: usize, const L: usize>(
        &self,
        candidates: &[&[f32]; N],
        bias: &[f32],
        y: &mut [f32],
        choices: &mut [u8],
        first: usize,
    ) {
        let (mut largest, mut choice) = ([0.0; L], [0; L]);
        largest.copy_from_slice(&candidates[0][first..first + L]);
        for (place, candidate) in candidates.iter().enumerate().skip(1) {
            let candidate = &candidate[first..first + L];
            for lane in 0..L {
                let value = candidate[lane];
                // The first of equal ones stays; NaN wins, as in PyTorch.
                let is_better = value > largest[lane] || value.is_nan();
                largest[lane] = if is_better { value } else { largest[lane] };
                choice[lane] = if is_better { place as u32 } else { choice[lane] };
            }
        }
        let bias = &bias[first..first + L];
        for lane in 0..L {
            largest[lane] += bias[lane];
        }
        if self.relu {
            for lane in 0..L {
                choice[lane] = if largest[lane] <= 0.0 { u32::from(DEAD) } else { choice[lane] };
                largest[lane] = rectified(largest[lane]);
            }
        }
        let mut bytes = [0; L];
        for lane in 0..L {
            bytes[lane] = choice[lane] as u8;
        }
        y[first..first + L].copy_from_slice(&largest);
        choices[first..first + L].copy_from_slice(&bytes);
    }

    /// Slopes of what the convolution put out, within their ring, from those of one output; adds the slopes of the bias
    /// to `bias`. Shapes: `slopes` [`Pool::slopes_len`].
    #[inline(always)]
    pub fn backward(&self, slope_y: &[f32], choices: &[u8], slopes: &mut [f32], bias: &mut [f32]) {
        let whole = self.height.is_multiple_of(self.window) && self.width.is_multiple_of(self.window);
        if self.slope_ring > 0 || !whole {
            slopes.fill(0.0);
        }
        for (output, choices) in choices.chunks_exact(self.channels).enumerate() {
            let slope_y = &slope_y[self.output(output)..][..self.channels];
            for place in 0..self.window * self.window {
                let slopes = &mut slopes[self.source(output, place, self.slope_ring)..][..self.channels];
                for ((slope, &choice), &slope_y) in slopes.iter_mut().zip(choices).zip(slope_y) {
                    *slope = if choice == place as u8 { slope_y } else { 0.0 };
                }
            }
        }
        self.bias_backward(slope_y, choices, bias);
    }

    /// Adds the slopes of the bias, as [`Pool::backward`] does.
    #[inline(always)]
    pub fn bias_backward(&self, slope_y: &[f32], choices: &[u8], bias: &mut [f32]) {
        for (output, choices) in choices.chunks_exact(self.channels).enumerate() {
            let slope_y = &slope_y[self.output(output)..][..self.channels];
            for ((bias, &choice), &slope_y) in bias.iter_mut().zip(choices).zip(slope_y) {
                *bias += if choice == DEAD { 0.0 } else { slope_y };
            }
        }
    }

    /// What `choices` says where a pixel was chosen in its square.
    pub fn place(&self, y: usize, x: usize) -> u8 {
        (y % self.window * self.window + x % self.window) as u8
    }

    /// Choices and slopes of the channels of the output whose square a pixel is in.
    #[inline(always)]
    pub fn choices_and_slopes<'a>(
        &self,
        y: usize,
        x: usize,
        choices: &'a [u8],
        slope_y: &'a [f32],
    ) -> (&'a [u8], &'a [f32]) {
        let [_, width] = self.output_sides();
        let output = y / self.window * width + x / self.window;
        (&choices[output * self.channels..][..self.channels], &slope_y[self.output(output)..][..self.channels])
    }

    /// Where the channels of an output begin in `y`.
    fn output(&self, output: usize) -> usize {
        let [_, width] = self.output_sides();
        ((output / width + self.ring) * (width + 2 * self.ring) + output % width + self.ring) * self.channels
    }

    /// Where the channels of one place in an output's square begin in pixels with a ring around them.
    fn source(&self, output: usize, place: usize, ring: usize) -> usize {
        let [_, width] = self.output_sides();
        let row = output / width * self.window + place / self.window;
        let column = output % width * self.window + place % self.window;
        ((row + ring) * (self.width + 2 * ring) + column + ring) * self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One channel, 3 × 5 pixels, so that the last row and column belong to no square; a ring of one zero.
    const POOL: Pool = Pool { channels: 1, height: 3, width: 5, window: 2, relu: true, ring: 1, slope_ring: 0 };

    #[test]
    fn the_first_largest_is_chosen_and_gets_the_slope_back() {
        let pixels = [1.0, 3.0, -1.0, -2.0, 9.0, 3.0, 2.0, -4.0, -5.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        let (mut y, mut choices) = ([0.0; 12], [0; 2]);
        POOL.forward(&pixels, &[0.5], &mut y, &mut choices);
        // Left: 3 twice, the upper right one comes first; 3.5 with the bias. Right: −1 + 0.5 is held back.
        assert_eq!(y, [0.0, 0.0, 0.0, 0.0, 0.0, 3.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(choices, [1, DEAD]);
        let (mut slopes, mut bias) = ([7.0; 15], [0.25]);
        POOL.backward(&[4.0; 12], &choices, &mut slopes, &mut bias);
        let mut expected = [0.0; 15];
        expected[1] = 4.0;
        assert_eq!((slopes, bias), (expected, [4.25]));
    }

    /// Channels that go through registers together and those that are left over, against each channel alone.
    #[test]
    fn each_of_many_channels_is_pooled_as_if_alone() {
        let values = [-3.0, -2.0, -2.0, -1.0, -1.0, -0.5, 0.0, 0.5, 1.0, f32::NAN];
        for (channels, window, relu) in [(16, 2, true), (16, 1, true), (35, 2, true), (35, 2, false), (33, 1, false)] {
            let pool = Pool { channels, window, relu, ..POOL };
            let pixel = |i: usize| values[i * 7919 % 1009 % values.len()];
            let pixels: Vec<f32> = (0..15 * channels).map(pixel).collect();
            let bias: Vec<f32> = (0..channels).map(|channel| (channel % 3) as f32 - 0.5).collect();
            let (mut y, mut choices) = (vec![0.0; pool.output_len()], vec![9; pool.choices()]);
            pool.forward(&pixels, &bias, &mut y, &mut choices);
            let mut found = [false; 6];
            for channel in 0..channels {
                let one = |values: &[f32]| values.iter().skip(channel).step_by(channels).copied().collect::<Vec<f32>>();
                let alone = Pool { channels: 1, ..pool };
                let (mut y_alone, mut choices_alone) = (vec![0.0; alone.output_len()], vec![9; alone.choices()]);
                alone.forward(&one(&pixels), &bias[channel..=channel], &mut y_alone, &mut choices_alone);
                let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(one(&y).iter().zip(&y_alone).all(equal), "channel {channel} of {channels}, window {window}");
                let choices: Vec<u8> = choices.iter().skip(channel).step_by(channels).copied().collect();
                assert_eq!(choices, choices_alone, "channel {channel} of {channels}, window {window}");
                choices.iter().for_each(|&choice| found[usize::from(choice.min(4))] = true);
                found[5] |= y_alone.iter().any(|y| y.is_nan());
            }
            // Each place is chosen somewhere, some values are held back, some are no numbers.
            let places = window * window;
            assert!(found[..places].iter().all(|&found| found) && found[4] == relu && found[5], "{found:?}");
        }
    }

    #[test]
    fn slopes_stand_within_their_ring() {
        let pool = Pool { height: 2, width: 2, ring: 0, slope_ring: 1, ..POOL };
        let (mut slopes, mut bias) = ([7.0; 16], [0.0]);
        pool.backward(&[4.0], &[2], &mut slopes, &mut bias);
        // The lower left of the square, row 1 and column 0 within the ring.
        assert_eq!(slopes.iter().position(|&slope| slope == 4.0), Some(2 * 4 + 1));
        assert_eq!(slopes.iter().sum::<f32>(), 4.0);
        let rows: Vec<_> = pool.slope_rows(&slopes).collect();
        assert_eq!(rows, [(0, &[0.0, 0.0][..]), (2, &[4.0, 0.0][..])]);
    }

    #[test]
    fn what_is_not_a_number_stays_visible() {
        for place in [0, 1, 5, 6] {
            let mut pixels = [1.0; 15];
            pixels[place] = f32::NAN;
            let (mut y, mut choices) = ([0.0; 12], [0; 2]);
            POOL.forward(&pixels, &[0.5], &mut y, &mut choices);
            assert!(y[5].is_nan() && y[6] == 1.5, "at {place}: {y:?}");
        }
    }
}
