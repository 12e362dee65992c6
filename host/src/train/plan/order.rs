//! The plan's own order of a tensor's values: a permutation, undone exactly when the weights leave.
//!
//! Where in the flow: between the flat vector and the plan's buffers, at the start and the end of a client's training.
//! What it never does: arithmetic, so no bit of a value changes.

/// A tensor seen as `sizes[0] × sizes[1] × sizes[2]` whose axes stand in another order inside the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    sizes: [usize; 3],
    /// Axis of the flat vector that is the plan's first, second and third.
    axes: [usize; 3],
}

impl Order {
    /// As it lies.
    pub fn same(len: usize) -> Self {
        Order { sizes: [1, 1, len], axes: [0, 1, 2] }
    }

    /// Kernels [outputs, inputs, taps] as [inputs, taps, outputs], for images that lie channel by channel.
    pub fn kernels_of_planes(outputs: usize, inputs: usize, taps: usize) -> Self {
        Order { sizes: [outputs, inputs, taps], axes: [1, 2, 0] }
    }

    /// Kernels [outputs, inputs, taps] as [taps, inputs, outputs], for images that lie pixel by pixel.
    pub fn kernels_of_pixels(outputs: usize, inputs: usize, taps: usize) -> Self {
        Order { sizes: [outputs, inputs, taps], axes: [2, 1, 0] }
    }

    /// The matrix after a flattened image, [channels, pixels, outputs] as [pixels, channels, outputs].
    pub fn rows_of_pixels(channels: usize, pixels: usize, outputs: usize) -> Self {
        Order { sizes: [channels, pixels, outputs], axes: [1, 0, 2] }
    }

    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// From the flat vector's order to the plan's.
    pub fn take_in(&self, flat: &[f32], plan: &mut [f32]) {
        self.each_run(|from, stride, to, length| {
            let run = &mut plan[to..to + length];
            if stride == 1 {
                run.copy_from_slice(&flat[from..from + length]);
            } else {
                run.iter_mut().zip(flat[from..].iter().step_by(stride)).for_each(|(p, f)| *p = *f);
            }
        });
    }

    /// From the plan's order to the flat vector's.
    pub fn give_back(&self, plan: &[f32], flat: &mut [f32]) {
        self.each_run(|to, stride, from, length| {
            let run = &plan[from..from + length];
            if stride == 1 {
                flat[to..to + length].copy_from_slice(run);
            } else {
                flat[to..].iter_mut().step_by(stride).zip(run).for_each(|(f, p)| *f = *p);
            }
        });
    }

    /// Visits runs along the plan's last axis: where it begins in the flat vector, the stride there, where it begins in
    /// the plan, its length.
    fn each_run(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let [_, middle, last] = self.sizes;
        let strides = [middle * last, last, 1];
        let [a, b, c] = self.axes;
        let length = self.sizes[c];
        let mut at = 0;
        for i in 0..self.sizes[a] {
            for j in 0..self.sizes[b] {
                visit(i * strides[a] + j * strides[b], strides[c], at, length);
                at += length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_change_places_and_back() {
        let flat: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // Element [o, i, t] of 2 × 3 × 2 is 6·o + 2·i + t.
        let cases = [
            (Order::same(12), flat.clone()),
            (Order::kernels_of_planes(2, 3, 2), vec![0., 6., 1., 7., 2., 8., 3., 9., 4., 10., 5., 11.]),
            (Order::kernels_of_pixels(2, 3, 2), vec![0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.]),
            (Order::rows_of_pixels(2, 3, 2), vec![0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.]),
        ];
        for (order, expected) in cases {
            let (mut plan, mut back) = (vec![f32::NAN; 12], vec![f32::NAN; 12]);
            order.take_in(&flat, &mut plan);
            assert_eq!(plan, expected, "{order:?}");
            order.give_back(&plan, &mut back);
            assert_eq!(back, flat, "{order:?}");
        }
    }
}
