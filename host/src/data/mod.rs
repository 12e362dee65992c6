//! Data sets in memory: features as they came (bytes stay bytes until the batch), labels, natural clients.
//!
//! Where in the flow: after the configuration, before partitioning. What it never does: know about clients' shares.
//! One file per form (`idx`, `csv`) or set that needs no file (`optdigits`, `heart_disease`, `synthetic`); a new one of
//! these is one file and one line in [`EMBEDDED`]. What was unpacked or parsed is kept for the next run
//! (`cache`). A caller's own arrays enter through [`Dataset::from_arrays`] and [`Dataset::from_bytes`].

mod arrays;
mod cache;
mod csv;
mod heart_disease;
mod idx;
mod optdigits;
mod scaling;
mod source;
mod synthetic;

pub use arrays::PixelScale;
pub use source::{EMBEDDED, Embedded, load};

#[cfg(test)]
pub(crate) use source::shared_file;

use crate::prefetch::prefetch_all;

/// How many rows before its turn the memory is asked for a row: as many as its answer takes.
const AHEAD: usize = 8;

/// A training and a test set that share classes and the shape of a sample.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub name: String,
    pub train: Examples,
    pub test: Examples,
    /// Shape of one sample, e.g. `[1, 28, 28]` (channels, height, width) or `[13]`.
    pub sample_shape: Vec<usize>,
    /// C ≥ 2; labels are `0..num_classes`. With two classes a model has one output and a sigmoid.
    pub num_classes: usize,
    /// Names of the natural clients where the data has them: those with training rows first, each group ascending.
    pub client_names: Vec<String>,
    /// BLAKE3 over features, labels and clients: the identity under which partitions are cached.
    pub fingerprint: [u8; 32],
}

/// Rows with labels.
#[derive(Clone, Debug)]
pub struct Examples {
    pub features: Features,
    /// One per row, in `0..num_classes`.
    pub labels: Vec<u32>,
    /// One per row, an index into `Dataset::client_names`, where the data has natural clients.
    pub clients: Option<Vec<u32>>,
}

/// Row-major features.
#[derive(Clone, Debug)]
pub enum Features {
    /// `value · scale + shift` in `f32`.
    U8 {
        values: Vec<u8>,
        scale: f32,
        shift: f32,
    },
    F32(Vec<f32>),
}

/// Samples of bytes, one after another, each `width` long. A byte `b` stands for `b · scale`, without the shift that
/// its features may have.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    pub values: &'a [u8],
    pub width: usize,
    pub scale: f32,
}

impl<'a> Bytes<'a> {
    /// One sample.
    #[inline(always)]
    pub fn row(&self, row: u32) -> &'a [u8] {
        &self.values[row as usize * self.width..][..self.width]
    }
}

impl Examples {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Features {
    /// Writes the rows named by `rows` into `out`, each `width` elements, in that order.
    ///
    /// Shapes: `out` has `rows.len() × width` elements; every row index is below the number of rows.
    #[inline(always)]
    pub fn gather(&self, rows: &[u32], width: usize, out: &mut [f32]) {
        self.gather_ahead(rows, &[], width, out);
    }

    /// What is added to every scaled value: 0 for features that are used as they are.
    pub fn shift(&self) -> f32 {
        match self {
            Features::U8 { shift, .. } => *shift,
            Features::F32(_) => 0.0,
        }
    }

    /// The bytes, where samples of `width` values are kept as such.
    pub fn bytes(&self, width: usize) -> Option<Bytes<'_>> {
        match self {
            Features::U8 { values, scale, .. } => Some(Bytes { values, width, scale: *scale }),
            Features::F32(_) => None,
        }
    }

    /// As [`gather`](Self::gather), while the memory is asked for the rows of `next`, which will be gathered after
    /// these.
    ///
    /// Inlined, so that a caller who knows the processor gets it in that processor's registers.
    #[inline(always)]
    pub fn gather_ahead(&self, rows: &[u32], next: &[u32], width: usize, out: &mut [f32]) {
        debug_assert_eq!(out.len(), rows.len() * width);
        let range = |row: u32| row as usize * width..(row as usize + 1) * width;
        match self {
            Features::U8 { values, scale, shift } => {
                let mut ahead = rows.iter().chain(next).skip(AHEAD);
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                    if let Some(&row) = ahead.next() {
                        prefetch_all(&values[range(row)]);
                    }
                    for (o, &v) in out.iter_mut().zip(&values[range(row)]) {
                        *o = f32::from(v) * scale + shift;
                    }
                }
            }
            Features::F32(values) => {
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
                    out.copy_from_slice(&values[range(row)]);
                }
            }
        }
    }
}

impl Dataset {
    /// Elements of one sample.
    pub fn width(&self) -> usize {
        self.sample_shape.iter().product()
    }

    /// Outputs of a model on this data: one for two classes, else one per class.
    pub fn num_outputs(&self) -> usize {
        if self.num_classes == 2 { 1 } else { self.num_classes }
    }
}
