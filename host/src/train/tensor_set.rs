//! Some of a model's tensors: where they lie in the flat vector, and their values by themselves.
//!
//! Where in the flow: agents take a client's own tensors out of the weights and put them back.
//! What it never does: hold values, or reorder; values stand in flat order.

use super::{Layout, TensorRole};
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSet {
    /// Ascending and apart: neighbours in the flat vector are one range.
    ranges: Vec<Range<usize>>,
}

impl TensorSet {
    /// The normalisation layers: tensors of the roles `norm` and `norm-stat`.
    pub fn of_norms(layout: &Layout) -> Self {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for tensor in layout.tensors.iter().filter(|tensor| tensor.role.is_of_norm()) {
            let end = tensor.offset + tensor.len();
            match ranges.last_mut() {
                Some(last) if last.end == tensor.offset => last.end = end,
                _ => ranges.push(tensor.offset..end),
            }
        }
        TensorSet { ranges }
    }

    /// How many values they have.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Their values in a flat vector.
    pub fn take(&self, flat: &[f32]) -> Vec<f32> {
        self.ranges.iter().flat_map(|range| &flat[range.clone()]).copied().collect()
    }

    /// Writes their values, [`TensorSet::len`] of them, into a flat vector.
    pub fn put(&self, values: &[f32], flat: &mut [f32]) {
        assert_eq!(values.len(), self.len(), "values and tensors belong together");
        let mut first = 0;
        for range in &self.ranges {
            flat[range.clone()].copy_from_slice(&values[first..first + range.len()]);
            first += range.len();
        }
    }

    /// Copies their values from one flat vector to another.
    pub fn copy(&self, from: &[f32], to: &mut [f32]) {
        self.ranges.iter().for_each(|range| to[range.clone()].copy_from_slice(&from[range.clone()]));
    }

    /// Sets their values to 0.
    pub fn clear(&self, flat: &mut [f32]) {
        self.ranges.iter().for_each(|range| flat[range.clone()].fill(0.0));
    }
}

impl TensorRole {
    /// Whether a tensor of this role belongs to a normalisation layer.
    pub fn is_of_norm(self) -> bool {
        matches!(self, TensorRole::Norm | TensorRole::NormStat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TensorInfo;

    /// A weight, a scale with its mean, a bias, a variance: flat indices 0–1, 2–4, 5–5, 6–7.
    fn layout() -> Layout {
        let roles = [
            (TensorRole::Weight, 0, 2),
            (TensorRole::Norm, 2, 1),
            (TensorRole::NormStat, 3, 2),
            (TensorRole::Bias, 5, 1),
            (TensorRole::NormStat, 6, 2),
        ];
        let tensor = |(role, offset, len)| TensorInfo { name: "t".into(), shape: vec![len], role, offset };
        Layout { tensors: roles.into_iter().map(tensor).collect() }
    }

    #[test]
    fn values_of_normalisation_layers_leave_and_enter_the_flat_vector_in_its_order() {
        let set = TensorSet::of_norms(&layout());
        assert_eq!(set.ranges, [2..5, 6..8]);
        let flat: Vec<f32> = (0..8).map(|i| i as f32).collect();
        assert_eq!((set.take(&flat), set.len()), (vec![2.0, 3.0, 4.0, 6.0, 7.0], 5));
        let mut other = vec![9.0; 8];
        set.put(&set.take(&flat), &mut other);
        assert_eq!(other, [9.0, 9.0, 2.0, 3.0, 4.0, 9.0, 6.0, 7.0]);
        set.clear(&mut other);
        assert_eq!(other, [9.0, 9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0]);
        set.copy(&flat, &mut other);
        assert_eq!(other, [9.0, 9.0, 2.0, 3.0, 4.0, 9.0, 6.0, 7.0]);
    }

    #[test]
    fn a_model_without_normalisation_has_an_empty_set() {
        let plain = Layout { tensors: layout().tensors.into_iter().take(1).collect() };
        let set = TensorSet::of_norms(&plain);
        assert!(set.is_empty() && set.take(&[1.0, 2.0]).is_empty());
    }
}
