//! IDX files, the form of MNIST: four files in one directory, packed (`.gz`) or not.
//!
//! ```text
//! {train,t10k}-images-idx3-ubyte   u32 2051, u32 count, u32 height, u32 width, then count·height·width bytes
//! {train,t10k}-labels-idx1-ubyte   u32 2049, u32 count, then count bytes          (all u32 big-endian)
//! ```
//! Where in the flow: one of the loaders. What it never does: trust a length; every size is checked against the file
//! before it is used, and memory grows with the bytes that are there, not with the bytes that a header promises.

use super::{Dataset, scaling};
use crate::config::FeatureScaling;
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::io::Read;
use std::path::{Path, PathBuf};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;

/// Deflate packs at most about 1032 bytes into one.
const LARGEST_PACKING: u64 = 1032;

/// The four files of a folder: training images and labels, test images and labels.
/// Errors: `Kind::Data` naming the one that is not there.
pub fn files(folder: &Path) -> Result<[PathBuf; 4]> {
    let [images, labels] = [("images", "idx3"), ("labels", "idx1")];
    let of = |half, (content, kind)| find(folder, half, content, kind);
    Ok([of("train", images)?, of("train", labels)?, of("t10k", images)?, of("t10k", labels)?])
}

/// What the data set of a folder is called.
pub fn name(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.into());
    full.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

/// Reads the four [`files`] of `folder`. Sample shape `[1, height, width]`; pixels stay bytes.
///
/// Labels must be `0..C` or `1..=C` (the latter, EMNIST's letters, become `0..C`), every class with a training row.
/// Errors: `Kind::Data` that names the file and both values.
pub fn load(folder: &Path, features: FeatureScaling) -> Result<Dataset> {
    let [images, labels, test_images, test_labels] = files(folder)?;
    let train = Part::read(images, labels)?;
    let test = Part::read(test_images, test_labels)?;
    if train.shape != test.shape {
        let [[h, w], [test_h, test_w]] = [train.shape, test.shape];
        return Err(fault(&test.images_path, format!("images are {test_h} x {test_w}, the training images {h} x {w}")));
    }
    let (first, last) = train.classes()?;
    let [train_labels, test_labels] = [&train, &test].map(|part| part.labels_from(first, last));
    let pixels = scaling::of_pixels(&train.pixels, u8::MAX, features);
    let shape = vec![1, train.shape[0], train.shape[1]];
    let classes = usize::from(last - first) + 1;
    Dataset::from_bytes(
        name(folder),
        shape,
        classes,
        pixels,
        (train.pixels, train_labels?),
        (test.pixels, test_labels?),
    )
}

/// Images and labels of one half.
struct Part {
    images_path: PathBuf,
    labels_path: PathBuf,
    shape: [usize; 2],
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Part {
    fn read(images_path: PathBuf, labels_path: PathBuf) -> Result<Part> {
        let ([count, height, width], pixels) = read(&images_path, IMAGES_MAGIC)?;
        let ([label_count], labels) = read(&labels_path, LABELS_MAGIC)?;
        if count != label_count {
            return Err(fault(&labels_path, format!("{label_count} labels, but {count} images")));
        }
        Ok(Part { images_path, labels_path, shape: [height, width], pixels, labels })
    }

    /// First and last class. A class without training rows is taken for a broken file: it is what a stray byte makes.
    fn classes(&self) -> Result<(u8, u8)> {
        let mut seen = [false; 256];
        self.labels.iter().for_each(|&label| seen[usize::from(label)] = true);
        let (first, last) = match (seen.iter().position(|&s| s), seen.iter().rposition(|&s| s)) {
            (Some(first), Some(last)) => (first, last),
            _ => return Err(fault(&self.labels_path, "there are 0 labels")),
        };
        let missing = if first > 1 { Some(0) } else { (first..last).find(|&class| !seen[class]) };
        match missing {
            Some(class) => {
                let message =
                    format!("label {last} occurs, but class {class} has no training row; labels are 0 to C - 1");
                Err(fault(&self.labels_path, message))
            }
            None => Ok((first as u8, last as u8)),
        }
    }

    fn labels_from(&self, first: u8, last: u8) -> Result<Vec<u32>> {
        let label = |(row, &label): (usize, &u8)| match (first..=last).contains(&label) {
            true => Ok(u32::from(label - first)),
            false => {
                Err(fault(&self.labels_path, format!("row {row}: label {label}, but classes are {first} to {last}")))
            }
        };
        self.labels.iter().enumerate().map(label).collect()
    }
}

/// `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, either with `.gz`; the first that is there.
fn find(folder: &Path, half: &str, content: &str, kind: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{half}-{content}{dot}{kind}-ubyte"));
    let candidates =
        ["", ".gz"].iter().flat_map(|end| names.iter().map(move |name| folder.join(format!("{name}{end}"))));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let message = format!(
            "neither `{}` nor `{}` is there, with or without .gz; name the folder that holds the four IDX files",
            names[0], names[1]
        );
        Fault::new(Kind::Data, format!("data directory `{}`: {message}", folder.display()))
    })
}

/// The `D` sizes of the header and exactly the bytes that they promise.
fn read<const D: usize>(path: &Path, magic: u32) -> Result<([usize; D], Vec<u8>)> {
    let mut input = super::source::open(path)?;
    let mut word = |what: &str| -> Result<u32> {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes).map_err(|error| fault(path, format!("header, {what}: {}", reason(&error))))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let found = word("magic number")?;
    if found != magic {
        return Err(fault(path, format!("magic number {found}, expected {magic}")));
    }
    let mut sizes = [0; D];
    for (size, what) in sizes.iter_mut().zip(["count", "height", "width"]) {
        *size = word(what)? as usize;
        if *size == 0 {
            return Err(fault(path, format!("header: {what} is 0")));
        }
    }
    let expected = sizes
        .iter()
        .try_fold(1u64, |all, &size| all.checked_mul(size as u64))
        .filter(|&expected| usize::try_from(expected).is_ok() && expected < u64::MAX)
        .ok_or_else(|| fault(path, format!("header: sizes {sizes:?} make more bytes than memory can hold")))?;

    let on_disk = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut content = Vec::new();
    // What the file cannot contain is not reserved; a lying header costs nothing.
    let possible = expected.min(on_disk.saturating_mul(LARGEST_PACKING)) as usize;
    if content.try_reserve_exact(possible).is_err() {
        return Err(fault(path, format!("{possible} bytes do not fit in memory")));
    }
    let taken = input.by_ref().take(expected).read_to_end(&mut content);
    taken.map_err(|error| fault(path, format!("after {} bytes of content: {}", content.len(), reason(&error))))?;
    if (content.len() as u64) < expected {
        return Err(fault(path, format!("{} bytes follow the header, but it promises {expected}", content.len())));
    }
    match input.read(&mut [0; 1]) {
        Ok(0) => Ok((sizes, content)),
        Ok(_) => Err(fault(path, format!("bytes follow after the {expected} that the header promises"))),
        Err(error) => Err(fault(path, format!("at its end: {}", reason(&error)))),
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the file ends too early".into(),
        _ => error.to_string(),
    }
}

fn fault(path: &Path, message: impl std::fmt::Display) -> anyhow::Error {
    Fault::new(Kind::Data, format!("data file `{}`: {message}", path.display()))
}

#[cfg(test)]
mod tests;
