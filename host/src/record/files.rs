//! Writing files so that a reader finds a whole one or none.

use crate::error::{Fault, Kind, cannot_write};
use anyhow::Result;
use std::{fmt::Display, io::Write, path::Path};

/// Writes `folder/name` through a temporary file that is renamed, so that a killed run leaves a whole file.
/// An existing file is replaced. Errors: `Kind::Io` naming the file.
pub(super) fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    replace(folder, name.as_ref(), content, false).map_err(|error| cannot_write(&folder.join(name), &error))
}

/// Writes the file at `path`, which is replaced if it is there. Errors: `Kind::Io` naming it.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| failed(path, "this names no file"))?;
    replace(folder, name.as_ref(), content, false).map_err(|error| cannot_write(path, &error))
}

/// As [`write`], and on disk before it returns, so that a power cut leaves a whole file too. Costs milliseconds.
pub(super) fn write_durably(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    replace(folder, name.as_ref(), content, true).map_err(|error| cannot_write(&folder.join(name), &error))
}

/// The error of a file that cannot be written.
pub(super) fn failed(path: &Path, error: impl Display) -> anyhow::Error {
    let message = format!("writing `{}`: {error}; check permissions and free space", path.display());
    Fault::new(Kind::Io, message)
}

fn replace(folder: &Path, name: &Path, content: &[u8], durably: bool) -> std::io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".colla-");
    // A temporary file is for its owner only; results are for whoever the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    if durably {
        file.as_file().sync_all()?;
    }
    file.persist(folder.join(name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_named_and_its_temporary_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nodir/plot.svg");
        let expected = format!(
            "writing `{}`: there is no folder `{}`; make it, or name another",
            missing.display(),
            folder.path().join("nodir").display()
        );
        assert_eq!(write_file(&missing, b"x").unwrap_err().to_string(), expected);
        // A name that is longer than a file system allows, in the error of a temporary file.
        let error = tempfile::Builder::new().prefix(&"x".repeat(4096)).tempfile_in(folder.path()).unwrap_err();
        let path = folder.path().join("plot.svg");
        let message = cannot_write(&path, &error).to_string();
        assert!(error.to_string().contains("xxx") && !message.contains("xxx"), "{error}\n{message}");
        assert!(message.ends_with("; check permissions and free space"), "{message}");
    }
}
