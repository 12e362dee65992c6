//! The updates of a cohort, kept as rows until all have arrived: for rules that need them at once.
//!
//! Rows lie in memory or, above a limit, in a `SpillFile`. Which of the two never changes a result.
//! Where in the flow: filled by the agents, read in ranges by whoever attacks, mixes, compares or reduces.
//! What it never does: look at values, but for the largest magnitude of each row, which sums need for their grid.

use super::spill::{SpillFile, free_bytes};
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where rows may lie.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Stores with more bytes than this go to a file.
    pub memory_bytes: u64,
    /// Where the file is made.
    pub folder: PathBuf,
}

impl Storage {
    pub fn fits_memory(&self, rows: usize, len: usize) -> bool {
        bytes(rows, len) <= self.memory_bytes
    }

    /// Whether `copies` stores of `rows` rows fit, asked before the run for the largest cohort.
    /// Errors: `Kind::Data` with the bytes that are needed and those that are free.
    pub fn check(&self, rows: usize, len: usize, copies: u64) -> Result<()> {
        let needed = bytes(rows, len).saturating_mul(copies);
        if self.fits_memory(rows, len) {
            return Ok(());
        }
        let free = free_bytes(&self.folder).unwrap_or(0);
        if needed <= free {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Data,
            format!(
                "the updates of {rows} clients with {len} weights — {needed} bytes in files, of which `{}` has {free} free; \
                 use fewer clients per round or another `host.out`, or raise `host.update-memory`",
                self.folder.display()
            ),
        ))
    }
}

fn bytes(rows: usize, len: usize) -> u64 {
    (rows as u64).saturating_mul(len as u64).saturating_mul(4)
}

/// Rows of equal length.
pub struct Kept {
    len: usize,
    place: Place,
    /// Bit pattern of the largest magnitude that each row was given; patterns order as magnitudes do.
    largest: Vec<AtomicU32>,
}

enum Place {
    /// A row is empty until its first value arrives.
    Memory(Vec<RwLock<Vec<f32>>>),
    File(SpillFile),
}

impl Kept {
    /// Room for `rows` rows of `len` elements, where `storage` says. Errors: `Kind::Data` if no file can be made.
    pub fn new(storage: &Storage, rows: usize, len: usize) -> Result<Self> {
        if storage.fits_memory(rows, len) {
            return Ok(Self::in_memory(rows, len));
        }
        let place = Place::File(SpillFile::create(&storage.folder, len)?);
        Ok(Kept { len, place, largest: (0..rows).map(|_| AtomicU32::new(0)).collect() })
    }

    pub fn in_memory(rows: usize, len: usize) -> Self {
        let place = Place::Memory((0..rows).map(|_| RwLock::default()).collect());
        Kept { len, place, largest: (0..rows).map(|_| AtomicU32::new(0)).collect() }
    }

    pub fn rows(&self) -> usize {
        self.largest.len()
    }

    /// Elements of a row.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces a row as a whole. Called by agents at the same time, each for its own row.
    pub fn put(&self, row: usize, values: &[f32]) -> Result<()> {
        self.forget_largest(row);
        self.write(row, 0, values)
    }

    /// Before a row is replaced range by range with [`Kept::write`].
    pub fn forget_largest(&self, row: usize) {
        self.largest[row].store(0, Ordering::Relaxed);
    }

    /// Writes elements `start..` of a row. Errors: the file cannot be written.
    pub fn write(&self, row: usize, start: usize, values: &[f32]) -> Result<()> {
        let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        self.largest[row].fetch_max(largest.to_bits(), Ordering::Relaxed);
        match &self.place {
            Place::File(file) => file.write(row, start, values),
            Place::Memory(rows) => {
                let mut row = write_lock(&rows[row]);
                row.resize(self.len, 0.0);
                row[start..start + values.len()].copy_from_slice(values);
                Ok(())
            }
        }
    }

    /// Reads elements `start..` of a row. Errors: the file cannot be read.
    pub fn read(&self, row: usize, start: usize, out: &mut [f32]) -> Result<()> {
        match &self.place {
            Place::File(file) => file.read(row, start, out),
            Place::Memory(rows) => {
                out.copy_from_slice(&read_lock(&rows[row])[start..start + out.len()]);
                Ok(())
            }
        }
    }

    /// A whole row.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.len];
        self.read(row, 0, &mut values)?;
        Ok(values)
    }

    /// Largest magnitude in a row.
    pub fn largest(&self, row: usize) -> f32 {
        f32::from_bits(self.largest[row].load(Ordering::Relaxed))
    }
}

/// A panic while a lock was held stops the run anyway; what the row holds then no longer matters.
fn read_lock(row: &RwLock<Vec<f32>>) -> RwLockReadGuard<'_, Vec<f32>> {
    row.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock(row: &RwLock<Vec<f32>>) -> RwLockWriteGuard<'_, Vec<f32>> {
    row.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_hold_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        for memory_bytes in [1 << 20, 0] {
            let kept = Kept::new(&Storage { memory_bytes, folder: folder.path().into() }, 2, 4).unwrap();
            assert_eq!(matches!(kept.place, Place::File(_)), memory_bytes == 0);
            kept.put(1, &[1.0, -9.0, 3.0, 4.0]).unwrap();
            assert_eq!(kept.largest(1), 9.0);
            kept.forget_largest(1);
            kept.write(1, 0, &[5.0, 6.0]).unwrap();
            kept.write(1, 2, &[-7.0, 0.5]).unwrap();
            assert_eq!((kept.row(1).unwrap(), kept.largest(1)), (vec![5.0, 6.0, -7.0, 0.5], 7.0));
            let mut middle = [0.0; 2];
            kept.read(1, 1, &mut middle).unwrap();
            assert_eq!(middle, [6.0, -7.0]);
        }
    }

    #[test]
    fn a_cohort_that_no_disk_holds_is_refused_with_the_numbers() {
        let storage = Storage { memory_bytes: 1000, folder: std::env::temp_dir() };
        storage.check(10, 25, 2).unwrap();
        storage.check(10, 26, 2).unwrap();
        let error = storage.check(1 << 30, 1 << 20, 1).unwrap_err();
        assert_eq!(crate::error::exit_code(&error), 4);
        assert!(error.to_string().contains("4503599627370496 bytes"), "{error}");
    }
}
