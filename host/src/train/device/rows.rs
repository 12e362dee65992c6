//! The data on the device: as a whole where it fits, else the rows of each request.
//!
//! Where in the flow: between the data set, whose bytes become features here, and the first layer.
//! What it never does: keep more than its share of the memory, or a copy on the host.

use super::Accelerator;
use crate::data::{Dataset, Examples};
use crate::train::Part;
use burn::tensor::{Int, Tensor, TensorData};
use std::sync::Arc;

/// Rows that go up at once.
const CHUNK: usize = 4096;

pub struct Rows {
    data: Arc<Dataset>,
    accelerator: Accelerator,
    /// Elements of a row on the device, at least the data's width; the rest is zero.
    row: usize,
    train: Option<Tensor<2>>,
    test: Option<Tensor<2>>,
}

impl Rows {
    pub fn new(data: Arc<Dataset>, accelerator: Accelerator, row: usize) -> Self {
        Rows { data, accelerator, row, train: None, test: None }
    }

    /// Features of the rows, [rows, row].
    pub fn gather(&mut self, part: Part, rows: &[u32]) -> Tensor<2> {
        let examples = self.data.part(part);
        let bytes = examples.len().saturating_mul(self.row * size_of::<f32>());
        if bytes > self.accelerator.for_data() {
            return self.upload(examples, rows);
        }
        let resident = match part {
            Part::Train => &self.train,
            Part::Test => &self.test,
        };
        let all = resident.clone().unwrap_or_else(|| self.upload_all(part));
        let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &self.accelerator.device);
        all.select(0, indices)
    }

    /// Labels of the rows, in their order.
    pub fn labels(&self, part: Part, rows: &[u32]) -> Vec<u32> {
        let labels = &self.data.part(part).labels;
        rows.iter().map(|&row| labels[row as usize]).collect()
    }

    fn upload_all(&mut self, part: Part) -> Tensor<2> {
        let examples = self.data.part(part);
        let numbers: Vec<u32> = (0..examples.len() as u32).collect();
        let mut all = Tensor::zeros([numbers.len(), self.row], &self.accelerator.device);
        for rows in numbers.chunks(CHUNK) {
            let first = rows[0] as usize;
            all = all.slice_assign([first..first + rows.len(), 0..self.row], self.upload(examples, rows));
        }
        match part {
            Part::Train => self.train = Some(all.clone()),
            Part::Test => self.test = Some(all.clone()),
        }
        all
    }

    fn upload(&self, examples: &Examples, rows: &[u32]) -> Tensor<2> {
        let width = self.data.width();
        let mut values = vec![0.0; rows.len() * self.row];
        if self.row == width {
            examples.features.gather(rows, width, &mut values);
        } else {
            for (&row, values) in rows.iter().zip(values.chunks_exact_mut(self.row)) {
                examples.features.gather(&[row], width, &mut values[..width]);
            }
        }
        Tensor::from_data(TensorData::new(values, [rows.len(), self.row]), &self.accelerator.device)
    }
}
