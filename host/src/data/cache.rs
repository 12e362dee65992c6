//! Data files as they are after unpacking and parsing, on disk.
//!
//! ```text
//! <folder>/<BLAKE3 of the files' content and of what is done to them>.data
//! 8 bytes "CLDATA01" | 32 bytes fingerprint | u64 length of the head | head (postcard) | arrays
//! arrays: features, labels, clients of the training rows, then of the test rows; little-endian, as long as the head says
//! ```
//! Where in the flow: around the loaders that read files. What it never does: fail a run, or trust a file. The fingerprint
//! is computed anew from what was read; whatever is wrong, the original is read and the file replaced. Since the name is
//! made from content, a data file that changes, moves or only looks the same is never mistaken for another.

use super::{Dataset, Examples, Features};
use crate::config;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Rises whenever the bytes below or what a loader makes of a file change.
const MAGIC: &[u8; 8] = b"CLDATA01";
/// Files smaller than this, taken together, are read about as fast as their cached form.
const SMALLEST: u64 = 1 << 20;
/// A head is some fifty bytes and the names of the clients.
const LONGEST_HEAD: u64 = 1 << 26;
const HASH: usize = 32;

/// What the arrays are.
#[derive(Serialize, Deserialize)]
struct Head {
    sample_shape: Vec<u64>,
    num_classes: u64,
    client_names: Vec<String>,
    train: Part,
    test: Part,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Part {
    rows: u64,
    /// Scale and shift of features that are bytes; else they are `f32`.
    pixels: Option<(f32, f32)>,
    has_clients: bool,
}

/// The data set that `read` makes of `files`, called `name`: from the cache, or from the files and then into the cache.
/// Errors: those of `read`.
pub fn load(
    config: &config::Data,
    name: &str,
    files: &[PathBuf],
    read: impl FnOnce() -> Result<Dataset>,
) -> Result<Dataset> {
    let sizes = files.iter().map(|file| std::fs::metadata(file).map_or(0, |metadata| metadata.len()));
    let folder = config.cache.folder("data").filter(|_| sizes.sum::<u64>() >= SMALLEST);
    // Elsewhere the bytes of an array are not those of the file.
    let folder = folder.filter(|_| cfg!(target_endian = "little"));
    let Some((folder, key)) = folder.and_then(|folder| Some((folder, key(config, files)?))) else { return read() };
    let path = folder.join(format!("{key}.data"));
    if let Some(data) = stored(&path) {
        return Ok(Dataset { name: name.into(), ..data });
    }
    let data = read()?;
    // What was read is kept under this name only if the files were the same all the time.
    if self::key(config, files).is_some_and(|again| again == key) {
        // An unwritable folder is no error.
        let _ = store(&path, &data);
    }
    Ok(data)
}

/// Everything that the result depends on; `None` where a file cannot be read, which the loader will tell of.
fn key(config: &config::Data, files: &[PathBuf]) -> Option<blake3::Hash> {
    let config::Data { format, features, label, split, client, test_fraction, .. } = config;
    let settings = postcard::to_allocvec(&(format, features, label, split, client, test_fraction)).ok()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC).update(&settings);
    for file in files {
        let mut content = blake3::Hasher::new();
        content.update_reader(File::open(file).ok()?).ok()?;
        hasher.update(content.finalize().as_bytes());
    }
    Some(hasher.finalize())
}

/// The data set of a whole and sound file, without a name.
fn stored(path: &Path) -> Option<Dataset> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let (mut magic, mut fingerprint, mut length) = ([0; MAGIC.len()], [0; HASH], [0; 8]);
    file.read_exact(&mut magic).ok()?;
    file.read_exact(&mut fingerprint).ok()?;
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if magic != *MAGIC || length > LONGEST_HEAD.min(size) {
        return None;
    }
    let mut head = vec![0; length as usize];
    file.read_exact(&mut head).ok()?;
    let head: Head = postcard::from_bytes(&head).ok()?;
    let width = head.sample_shape.iter().try_fold(1u64, |all, &d| all.checked_mul(d))?;
    let arrays = head.train.bytes(width)?.checked_add(head.test.bytes(width)?)?;
    // Memory is taken only for what is there.
    if size.checked_sub(arrays)? != (MAGIC.len() + HASH + 8) as u64 + length {
        return None;
    }
    let train = head.train.read(&mut file, width)?;
    let test = head.test.read(&mut file, width)?;
    let data = Dataset {
        name: String::new(),
        train,
        test,
        sample_shape: head.sample_shape.into_iter().map(|d| d as usize).collect(),
        num_classes: head.num_classes as usize,
        client_names: head.client_names,
        fingerprint,
    };
    data.checked().ok().filter(|data| data.fingerprint == fingerprint)
}

/// Writes a whole file or none.
fn store(path: &Path, data: &Dataset) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let head = postcard::to_allocvec(&Head {
        sample_shape: data.sample_shape.iter().map(|&d| d as u64).collect(),
        num_classes: data.num_classes as u64,
        client_names: data.client_names.clone(),
        train: Part::of(&data.train),
        test: Part::of(&data.test),
    })?;
    let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(folder)?);
    file.write_all(MAGIC)?;
    file.write_all(&data.fingerprint)?;
    file.write_all(&(head.len() as u64).to_le_bytes())?;
    file.write_all(&head)?;
    for examples in [&data.train, &data.test] {
        match &examples.features {
            Features::U8 { values, .. } => file.write_all(values)?,
            Features::F32(values) => file.write_all(bytemuck::cast_slice(values))?,
        }
        file.write_all(bytemuck::cast_slice(&examples.labels))?;
        file.write_all(bytemuck::cast_slice(examples.clients.as_deref().unwrap_or_default()))?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.persist(path)?;
    Ok(())
}

impl Part {
    fn of(examples: &Examples) -> Part {
        let pixels = match examples.features {
            Features::U8 { scale, shift, .. } => Some((scale, shift)),
            Features::F32(_) => None,
        };
        Part { rows: examples.len() as u64, pixels, has_clients: examples.clients.is_some() }
    }

    /// Bytes of the arrays.
    fn bytes(&self, width: u64) -> Option<u64> {
        let of_a_row = width.checked_mul(if self.pixels.is_some() { 1 } else { 4 })?;
        self.rows.checked_mul(of_a_row.checked_add(if self.has_clients { 8 } else { 4 })?)
    }

    /// The arrays, whose sizes were checked against the file.
    fn read(&self, file: &mut File, width: u64) -> Option<Examples> {
        let (rows, values) = (self.rows as usize, (self.rows * width) as usize);
        let features = match self.pixels {
            Some((scale, shift)) => Features::U8 { values: array(file, values)?, scale, shift },
            None => Features::F32(array(file, values)?),
        };
        let labels = array(file, rows)?;
        let clients = if self.has_clients { Some(array(file, rows)?) } else { None };
        Some(Examples { features, labels, clients })
    }
}

fn array<T: bytemuck::Pod>(file: &mut File, len: usize) -> Option<Vec<T>> {
    let mut values = vec![T::zeroed(); len];
    file.read_exact(bytemuck::cast_slice_mut(&mut values)).ok()?;
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cache;
    use crate::data::PixelScale;
    use std::fs;

    /// A file that is large enough to be worth it, and a cache beside it.
    fn lab() -> (tempfile::TempDir, PathBuf, config::Data) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![7; SMALLEST as usize]).unwrap();
        let config = config::Data { cache: Cache::Folder(folder.path().join("cache")), ..Default::default() };
        (folder, file, config)
    }

    fn bytes() -> Dataset {
        let pixels = PixelScale { scale: 0.5, shift: -1.0 };
        let train = (vec![1, 2, 3, 4, 5, 6], vec![0, 1, 2]);
        let data = Dataset::from_bytes("bytes", vec![1, 2, 1], 3, pixels, train, (vec![7, 8], vec![2])).unwrap();
        data.with_clients(vec!["a".into(), "b".into()], vec![0, 1, 0], None).unwrap()
    }

    fn floats() -> Dataset {
        Dataset::from_arrays("floats", vec![2], 2, (vec![0.5, -0.0], vec![1]), (vec![1e-40, 3.0], vec![0])).unwrap()
    }

    /// Loads for the first time.
    fn keep(config: &config::Data, file: &Path, data: Dataset) -> Dataset {
        load(config, "first", &[file.into()], || Ok(data)).unwrap()
    }

    /// What the cache gives where the file may not be read again.
    fn from_cache(config: &config::Data, file: &Path) -> Result<Dataset> {
        load(config, "again", &[file.into()], || anyhow::bail!("read anew"))
    }

    #[test]
    fn the_second_time_the_same_data_come_from_the_cache() {
        for data in [bytes(), floats()] {
            let (_folder, file, config) = lab();
            keep(&config, &file, data.clone());
            let cached = from_cache(&config, &file).unwrap();
            assert_eq!((cached.name.as_str(), cached.fingerprint), ("again", data.fingerprint));
            assert_eq!((&cached.sample_shape, &cached.client_names), (&data.sample_shape, &data.client_names));
            assert_eq!((&cached.train.labels, &cached.train.clients), (&data.train.labels, &data.train.clients));
            assert_eq!(format!("{:?}", cached.test.features), format!("{:?}", data.test.features));
        }
    }

    #[test]
    fn another_content_or_setting_of_the_same_size_is_other_data() {
        let (_folder, file, config) = lab();
        keep(&config, &file, bytes());
        let standardized = config::Data { features: config::FeatureScaling::Standardize, ..config.clone() };
        assert!(from_cache(&standardized, &file).is_err());
        let untouched = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, vec![8; SMALLEST as usize]).unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(untouched).unwrap();
        assert!(from_cache(&config, &file).is_err());
    }

    #[test]
    fn a_cache_that_is_turned_off_or_a_small_file_leaves_nothing_behind() {
        let (folder, file, config) = lab();
        let off = config::Data { cache: Cache::Off, ..config.clone() };
        keep(&off, &file, bytes());
        fs::write(&file, vec![7; SMALLEST as usize - 1]).unwrap();
        keep(&config, &file, bytes());
        assert!(!folder.path().join("cache").exists());
    }

    #[test]
    fn what_changed_while_it_was_read_is_not_kept() {
        let (_folder, file, config) = lab();
        let read = || {
            fs::write(&file, vec![9; SMALLEST as usize])?;
            Ok(bytes())
        };
        load(&config, "first", &[file.as_path().into()], read).unwrap();
        fs::write(&file, vec![7; SMALLEST as usize]).unwrap();
        assert!(from_cache(&config, &file).is_err());
    }

    #[test]
    fn a_broken_file_is_made_anew_and_replaced() {
        let (folder, file, config) = lab();
        keep(&config, &file, bytes());
        let path = fs::read_dir(folder.path().join("cache")).unwrap().next().unwrap().unwrap().path();
        let good = fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            flipped
        };
        // Magic, fingerprint, the head's length, the head, and the last label, which is out of range then.
        let mut broken: Vec<Vec<u8>> = [0, 10, 40, 47, 48, 50, good.len() - 1].into_iter().map(flipped).collect();
        broken.extend([good[..20].to_vec(), good[..good.len() - 1].to_vec(), Vec::new(), [&good[..], &[0]].concat()]);
        for (case, broken) in broken.iter().enumerate() {
            fs::write(&path, broken).unwrap();
            assert!(from_cache(&config, &file).is_err(), "case {case}");
            keep(&config, &file, bytes());
            assert_eq!(fs::read(&path).unwrap(), good, "case {case}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let (_folder, file, config) = lab();
        let config = config::Data { cache: Cache::Folder(file.clone()), ..config };
        assert_eq!(keep(&config, &file, bytes()).fingerprint, bytes().fingerprint);
    }
}
