//! Good files of every name, hostile ones, and the real MNIST where it is at hand.

use super::*;
use crate::data::Features;
use std::fs;
use std::io::Write;

fn images(count: u32, height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
    let header = [IMAGES_MAGIC, count, height, width].map(u32::to_be_bytes).concat();
    [&header, pixels].concat()
}

fn labels(count: u32, labels: &[u8]) -> Vec<u8> {
    [&[LABELS_MAGIC, count].map(u32::to_be_bytes).concat(), labels].concat()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";

/// Three training images and one test image of 1 × 2 pixels, with one file replaced.
fn folder(replaced: &str, by: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        (TRAIN_IMAGES, images(3, 1, 2, &[0, 255, 1, 2, 3, 4])),
        (TRAIN_LABELS, labels(3, &[0, 1, 2])),
        (TEST_IMAGES, images(1, 1, 2, &[9, 9])),
        (TEST_LABELS, labels(1, &[2])),
    ];
    for (name, bytes) in files {
        let name = if replaced.trim_end_matches(".gz") == name { replaced } else { name };
        fs::write(folder.path().join(name), if replaced == name { by } else { &bytes }).unwrap();
    }
    folder
}

#[track_caller]
fn check(file: &str, by: &[u8], expected: &str) {
    let folder = folder(file, by);
    let error = load(folder.path(), FeatureScaling::Scale).unwrap_err();
    let expected = format!("data file `{}`: {expected}", folder.path().join(file).display());
    assert_eq!((error.to_string(), crate::error::exit_code(&error)), (expected, 4));
}

#[test]
fn all_names_and_packings_give_the_same_data() {
    let plain = folder("", &[]);
    let data = load(plain.path(), FeatureScaling::Scale).unwrap();
    assert_eq!((data.sample_shape.as_slice(), data.num_classes, data.train.len()), (&[1, 1, 2][..], 3, 3));
    let mut row = [0.0; 2];
    data.train.features.gather(&[0], 2, &mut row);
    assert_eq!(row, [0.0, 1.0]);
    let other = tempfile::tempdir().unwrap();
    for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
        let bytes = fs::read(plain.path().join(name)).unwrap();
        fs::write(other.path().join(name.replace("-idx", ".idx") + ".gz"), packed(&bytes)).unwrap();
    }
    assert_eq!(load(other.path(), FeatureScaling::Scale).unwrap().fingerprint, data.fingerprint);
}

#[test]
fn truncated_and_overlong_files_are_refused() {
    check(TRAIN_IMAGES, &[], "header, magic number: the file ends too early");
    check(TRAIN_IMAGES, &images(3, 1, 2, &[])[..14], "header, width: the file ends too early");
    check(TRAIN_IMAGES, &images(3, 1, 2, &[1; 5]), "5 bytes follow the header, but it promises 6");
    check(TRAIN_IMAGES, &images(3, 1, 2, &[1; 7]), "bytes follow after the 6 that the header promises");
    check(TEST_LABELS, &labels(1, &[]), "0 bytes follow the header, but it promises 1");
    check(TEST_LABELS, &labels(1, &[1, 1]), "bytes follow after the 1 that the header promises");
    let mut cut = packed(&images(3, 1, 2, &[7; 6]));
    cut.truncate(cut.len() - 9);
    // All content is there, but the packed file lacks its checksum.
    check("train-images-idx3-ubyte.gz", &cut, "at its end: the file ends too early");
}

#[test]
fn wrong_headers_are_refused() {
    check(TRAIN_IMAGES, &labels(3, &[0; 20]), "magic number 2049, expected 2051");
    check(TRAIN_LABELS, &images(3, 1, 2, &[0; 6]), "magic number 2051, expected 2049");
    check(TRAIN_IMAGES, &images(3, 0, 2, &[]), "header: height is 0");
    check(TRAIN_LABELS, &labels(0, &[]), "header: count is 0");
    check(TRAIN_LABELS, &labels(2, &[0, 1]), "2 labels, but 3 images");
    check(TEST_IMAGES, &images(1, 2, 1, &[9, 9]), "images are 2 x 1, the training images 1 x 2");
    check(TRAIN_IMAGES, b"not a packed file", "magic number 1852797984, expected 2051");
}

#[test]
fn sizes_that_overflow_or_lie_cost_no_memory() {
    let sizes = format!("header: sizes {:?} make more bytes than memory can hold", [u32::MAX; 3]);
    check(TRAIN_IMAGES, &images(u32::MAX, u32::MAX, u32::MAX, &[1; 6]), &sizes);
    let promised = u64::from(u32::MAX) * 65_536;
    let lie = format!("6 bytes follow the header, but it promises {promised}");
    check(TRAIN_IMAGES, &images(u32::MAX, 256, 256, &[1; 6]), &lie);
}

#[test]
fn labels_out_of_range_are_refused() {
    check(
        TRAIN_LABELS,
        &labels(3, &[0, 1, 200]),
        "label 200 occurs, but class 2 has no training row; labels are 0 to C - 1",
    );
    check(
        TRAIN_LABELS,
        &labels(3, &[7, 8, 9]),
        "label 9 occurs, but class 0 has no training row; labels are 0 to C - 1",
    );
    check(TEST_LABELS, &labels(1, &[3]), "row 0: label 3, but classes are 0 to 2");
}

#[test]
fn labels_that_begin_at_one_are_moved_down() {
    let folder = folder(TRAIN_LABELS, &labels(3, &[1, 2, 1]));
    let data = load(folder.path(), FeatureScaling::Scale).unwrap();
    assert_eq!((data.train.labels, data.test.labels, data.num_classes), (vec![0, 1, 0], vec![1], 2));
}

#[test]
fn a_missing_file_is_named_in_both_spellings() {
    let folder = folder("", &[]);
    fs::remove_file(folder.path().join(TEST_LABELS)).unwrap();
    let error = load(folder.path(), FeatureScaling::Scale).unwrap_err().to_string();
    assert!(error.contains("neither `t10k-labels-idx1-ubyte` nor `t10k-labels.idx1-ubyte` is there"), "{error}");
}

/// Counts and moments as published for MNIST.
#[test]
fn mnist_has_its_published_counts_and_moments() {
    let Some(folder) = crate::data::shared_file("data/mnist") else { return };
    let data = load(&folder, FeatureScaling::Standardize).unwrap();
    let count = |labels: &[u32]| {
        let mut counts = [0; 10];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    };
    assert_eq!(count(&data.train.labels), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(count(&data.test.labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!((data.name.as_str(), data.sample_shape.as_slice()), ("mnist", &[1, 28, 28][..]));
    let Features::U8 { scale, shift, .. } = data.train.features else { panic!("pixels must stay bytes") };
    // (p/255 − 0.13066)/0.30811 = p·scale + shift.
    assert!((1.0 / (255.0 * scale) - 0.30811).abs() < 1e-5, "scale {scale}");
    assert!((-shift / (255.0 * scale) - 0.13066).abs() < 1e-5, "shift {shift}");
}
