//! Weights on disk: safetensors files whose names and shapes are those of the layout.
//!
//! ```text
//! 8 bytes, little endian   length of the header
//! header, JSON             "__metadata__", then name → {dtype, shape, data_offsets}, padded with blanks to 8 bytes
//! the flat vector          P little-endian f32, in flat order
//! ```
//! Where in the flow: `model.init` before round 1, `model.safetensors` and checkpoints after rounds.
//! What it never does: leave a half-written file behind, or trust a length that it reads.

use super::{Layout, TensorInfo};
use crate::error::{Fault, Kind, cannot_write, did_you_mean};
use anyhow::{Context, Result};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Writes the weights atomically: the file is complete or as it was before.
///
/// Shapes: `weights` has `layout.len()` values. `metadata` becomes the header's `__metadata__`. Same arguments, same
/// bytes. Errors: `Kind::Io` naming the file.
pub fn save(path: &Path, layout: &Layout, weights: &[f32], metadata: &BTreeMap<String, String>) -> Result<()> {
    assert_eq!(weights.len(), layout.len(), "weights and layout belong to one model");
    write(path, &header(layout, metadata), weights).map_err(|error| cannot_write(path, &error))
}

fn header(layout: &Layout, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    for tensor in &layout.tensors {
        let (first, end) = (4 * tensor.offset, 4 * (tensor.offset + tensor.len()));
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [first, end] });
        entries.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

fn write(path: &Path, header: &[u8], weights: &[f32]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is for its owner only; results are for whoever the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header)?;
    if cfg!(target_endian = "little") {
        file.write_all(bytemuck::cast_slice(weights))?;
    } else {
        let swapped: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        file.write_all(&swapped)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Reads the weights of a model, P values in flat order, whatever their order in the file.
///
/// Errors: `Kind::Data` naming the file; the tensor and both shapes or types where they differ from the model's; the
/// tensor that is missing or that the model does not have.
pub fn load(path: &Path, layout: &Layout) -> Result<Vec<f32>> {
    std::fs::read(path)
        .map_err(|error| fault(format!("{error}; check the path")))
        .and_then(|bytes| read(&bytes, layout))
        .with_context(|| format!("reading weights `{}`", path.display()))
}

fn read(bytes: &[u8], layout: &Layout) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| fault(format!("not a whole safetensors file ({error}); write it again")))?;
    let mut names = file.names();
    names.sort_unstable();
    let mut flat = Vec::with_capacity(layout.len());
    for tensor in &layout.tensors {
        append(&file, &names, tensor, &mut flat)?;
    }
    match names.into_iter().find(|name| layout.tensors.iter().all(|tensor| tensor.name != *name)) {
        Some(name) => Err(fault(format!("tensor `{name}` is not in the model; use a file of the same model"))),
        None => Ok(flat),
    }
}

fn append(file: &SafeTensors<'_>, names: &[&str], tensor: &TensorInfo, flat: &mut Vec<f32>) -> Result<()> {
    let name = &tensor.name;
    let view = file.tensor(name).map_err(|_| {
        let hint = did_you_mean(name, names.iter().copied());
        fault(format!("tensor `{name}` with shape {:?} is missing{hint}; use a file of the same model", tensor.shape))
    })?;
    if view.shape() != tensor.shape {
        return Err(fault(format!(
            "tensor `{name}` has shape {:?}, the model has {:?}; use a file of the same model",
            view.shape(),
            tensor.shape
        )));
    }
    if view.dtype() != Dtype::F32 {
        return Err(fault(format!("tensor `{name}` has type {:?}, the model has F32; convert the file", view.dtype())));
    }
    flat.extend(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    Ok(())
}

fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Data, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;
    use crate::train::TensorRole;

    fn layout() -> Layout {
        let tensor = |name: &str, shape: &[usize], role, offset| TensorInfo {
            name: name.into(),
            shape: shape.to_vec(),
            role,
            offset,
        };
        // In flat order, which is neither the order of names nor that of sizes.
        Layout {
            tensors: vec![
                tensor("z.weight", &[2, 3], TensorRole::Weight, 0),
                tensor("z.bias", &[3], TensorRole::Bias, 6),
                tensor("a.weight", &[1, 2], TensorRole::Weight, 9),
            ],
        }
    }

    fn weights() -> Vec<f32> {
        (0..11).map(|i| i as f32 * 0.1 - 0.5).collect()
    }

    #[test]
    fn saved_weights_are_loaded_bit_for_bit_and_the_bytes_depend_on_the_arguments_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.safetensors"), folder.path().join("two.safetensors"));
        let metadata = BTreeMap::from([("round".into(), "3".into()), ("model".into(), "mlp".into())]);
        for path in [&one, &two] {
            save(path, &layout(), &weights(), &metadata).unwrap();
        }
        assert_eq!(load(&one, &layout()).unwrap(), weights());
        let bytes = std::fs::read(&one).unwrap();
        assert_eq!(bytes, std::fs::read(&two).unwrap());
        assert_eq!(bytes[bytes.len() - 44..], *bytemuck::cast_slice::<f32, u8>(&weights()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["round"], "3");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "old").unwrap();
        save(&path, &layout(), &weights(), &BTreeMap::new()).unwrap();
        assert_eq!(load(&path, &layout()).unwrap(), weights());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[track_caller]
    fn refused(bytes: &[u8], layout: &Layout, words: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path, layout).unwrap_err();
        let message = format!("{error:#}");
        assert_eq!(exit_code(&error), 4, "{message}");
        assert!(words.iter().chain(&["model.safetensors"]).all(|word| message.contains(word)), "{message}");
    }

    fn bytes() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        save(&path, &layout(), &weights(), &BTreeMap::new()).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn another_models_file_is_refused_naming_the_tensor_and_both_shapes() {
        let mut other = layout();
        other.tensors[1].shape = vec![1, 3];
        refused(&bytes(), &other, &["`z.bias`", "[3]", "[1, 3]"]);
        other.tensors[1] = layout().tensors[1].clone();
        other.tensors[2].name = "a.weights".into();
        refused(&bytes(), &other, &["`a.weights`", "missing", "did you mean `a.weight`?"]);
        other.tensors.pop();
        refused(&bytes(), &other, &["`a.weight`", "not in the model"]);
    }

    #[test]
    fn a_file_cut_or_damaged_anywhere_is_refused_and_not_read() {
        let whole = bytes();
        for length in 0..whole.len() {
            refused(&whole[..length], &layout(), &["not a whole safetensors file"]);
        }
        let mut endless = whole.clone();
        endless[..8].fill(0xff);
        refused(&endless, &layout(), &["not a whole safetensors file"]);
        let half = String::from_utf8_lossy(&whole[8..whole.len() - 44]).replace("F32", "I32").into_bytes();
        let integers = [&whole[..8], &half, &whole[whole.len() - 44..]].concat();
        refused(&integers, &layout(), &["`z.weight`", "I32", "F32"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let path = Path::new("no-such-folder/model.safetensors");
        let error = save(path, &layout(), &weights(), &BTreeMap::new()).unwrap_err();
        let words = "writing `no-such-folder/model.safetensors`: there is no folder `no-such-folder`; make it, or name";
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(exit_code(&error), 8);
        assert_eq!(exit_code(&load(path, &layout()).unwrap_err()), 4);
    }
}
