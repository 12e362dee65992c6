//! Vectors of clients by key: in memory up to a limit, beyond it in an unnamed temporary file.
//!
//! ```text
//! memory:  the first vectors that are kept, until they fill the limit
//! file:    | record | record | record | …   a record of 4·len bytes for each further one, rewritten in place
//! ```
//! Where in the flow: inside [`super::ClientStates`]. Agents read and write at the same time, each its own client's.
//! What it never does: change a bit of a value, or move one between memory and file, so no result depends on the limit.

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where vectors that do not fit the limit go; made when the first of them comes.
#[derive(Debug)]
struct Spill {
    file: Arc<File>,
    /// Where the next record begins.
    end: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    File { offset: u64, len: usize },
}

/// Vectors by `K`. A key's vector has the same length whenever it is kept.
#[derive(Debug)]
pub struct VectorStore<K> {
    limit_bytes: u64,
    /// Where the file is made.
    folder: PathBuf,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    places: BTreeMap<K, Place>,
    bytes_in_memory: u64,
    spill: Option<Spill>,
}

impl<K: Copy + Ord> VectorStore<K> {
    pub fn new(limit_bytes: u64, folder: PathBuf) -> Self {
        let kept = Kept { places: BTreeMap::new(), bytes_in_memory: 0, spill: None };
        VectorStore { limit_bytes, folder, kept: Mutex::new(kept) }
    }

    /// The vector of `key`; `None` if none was kept.
    /// Errors: `Kind::Io` if the file cannot be read.
    pub fn get(&self, key: K) -> Result<Option<Vec<f32>>> {
        let (file, offset, len) = {
            let kept = self.lock();
            match kept.places.get(&key) {
                None => return Ok(None),
                Some(Place::Memory(values)) => return Ok(Some(values.clone())),
                Some(&Place::File { offset, len }) => (kept.file(), offset, len),
            }
        };
        let mut values = vec![0.0f32; len];
        read_at(&file, bytemuck::cast_slice_mut(&mut values), offset)
            .map_err(|error| failed("reading", &self.folder, &error))?;
        Ok(Some(values))
    }

    /// Keeps `values` in the place of what was kept for `key`.
    /// Errors: `Kind::Io` if the file cannot be made or written.
    pub fn put(&self, key: K, values: Vec<f32>) -> Result<()> {
        let bytes = 4 * values.len() as u64;
        let (file, offset) = {
            let mut kept = self.lock();
            let kept = &mut *kept;
            match kept.places.get_mut(&key) {
                Some(Place::Memory(old)) => {
                    debug_assert_eq!(old.len(), values.len(), "a client's vector keeps its length");
                    *old = values;
                    return Ok(());
                }
                Some(&mut Place::File { offset, len }) => {
                    assert_eq!(len, values.len(), "a client's vector keeps its length");
                    (kept.file(), offset)
                }
                None if kept.bytes_in_memory + bytes <= self.limit_bytes => {
                    kept.bytes_in_memory += bytes;
                    kept.places.insert(key, Place::Memory(values));
                    return Ok(());
                }
                None => {
                    let offset = kept.reserve(bytes, &self.folder)?;
                    kept.places.insert(key, Place::File { offset, len: values.len() });
                    (kept.file(), offset)
                }
            }
        };
        write_at(&file, bytemuck::cast_slice(&values), offset).map_err(|error| failed("writing", &self.folder, &error))
    }

    /// A panic while the lock was held stops the run anyway; what is kept then no longer matters.
    fn lock(&self) -> MutexGuard<'_, Kept<K>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Kept<K> {
    /// Room for a record; where it begins.
    fn reserve(&mut self, bytes: u64, folder: &Path) -> Result<u64> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => {
                let file = tempfile::tempfile_in(folder).map_err(|error| failed("making", folder, &error))?;
                self.spill.insert(Spill { file: Arc::new(file), end: 0 })
            }
        };
        let offset = spill.end;
        spill.end += bytes;
        Ok(offset)
    }

    /// The file, for reading and writing while the lock is free.
    fn file(&self) -> Arc<File> {
        self.spill.as_ref().expect("a record lies in a file").file.clone()
    }
}

fn failed(doing: &str, folder: &Path, error: &io::Error) -> anyhow::Error {
    let folder = folder.display();
    Fault::new(
        Kind::Io,
        format!(
            "{doing} the file of client state in {folder} — {error}; make room there, or raise `host.state-memory`"
        ),
    )
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of two lengths, with every kind of float.
    fn vector(key: u32, version: u32) -> Vec<f32> {
        let len = if key.is_multiple_of(2) { 5 } else { 3 };
        let special = [-0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, f32::from_bits(0x7fc0_1234)];
        (0..len)
            .map(|i| if i == 1 { special[key as usize % 4] } else { (key * 100 + version * 10 + i) as f32 })
            .collect()
    }

    fn bits(values: Option<Vec<f32>>) -> Option<Vec<u32>> {
        values.map(|values| values.into_iter().map(f32::to_bits).collect())
    }

    #[test]
    fn every_limit_gives_back_the_bits_that_were_kept_last() {
        for limit in [0, 20, 45, u64::MAX] {
            let store = VectorStore::new(limit, std::env::temp_dir());
            assert_eq!(store.get(0).unwrap(), None);
            for version in 0..3 {
                for key in [4, 1, 0, 3, 2] {
                    store.put(key, vector(key, version)).unwrap();
                }
            }
            store.put(3, vector(3, 7)).unwrap();
            for key in 0..5 {
                let version = if key == 3 { 7 } else { 2 };
                assert_eq!(bits(store.get(key).unwrap()), bits(Some(vector(key, version))), "limit {limit}, key {key}");
            }
            assert_eq!(store.get(9).unwrap(), None);
        }
    }

    #[test]
    fn memory_holds_no_more_than_the_limit() {
        // Records of 20, 12, 20, 12 bytes: 45 holds the first two and, after the third went to the file, the fourth.
        let store = VectorStore::new(45, std::env::temp_dir());
        (0..4).for_each(|key| store.put(key, vector(key, 0)).unwrap());
        let kept = store.lock();
        assert_eq!(kept.bytes_in_memory, 44);
        assert_eq!(kept.spill.as_ref().unwrap().file.metadata().unwrap().len(), 20);
    }

    #[test]
    fn threads_write_and_read_their_own_records_at_the_same_time() {
        let store = VectorStore::new(0, std::env::temp_dir());
        std::thread::scope(|scope| {
            for key in 0..8u32 {
                let store = &store;
                scope.spawn(move || {
                    for version in 0..50 {
                        let values = vec![(1000 * key + version) as f32; 10_000];
                        store.put(key, values.clone()).unwrap();
                        assert!(store.get(key).unwrap().as_ref() == Some(&values), "{key}, {version}");
                    }
                });
            }
        });
    }
}
