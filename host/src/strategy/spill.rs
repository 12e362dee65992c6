//! Rows of floats in a file that has no name: where a cohort's updates go that memory shall not hold.
//!
//! The file is unlinked as soon as it is open (or deleted on close, on Windows), so nothing is left behind however the
//! process ends. Reads and writes are positional: threads share the file without a lock.
//! Where in the flow: below [`super::kept`]. What it never does: outlive the process, or be read by another one, hence
//! the machine's own byte order.

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub struct SpillFile {
    file: File,
    folder: PathBuf,
    /// Elements of a row.
    len: usize,
}

impl SpillFile {
    /// A file for rows of `len` elements. Errors: `Kind::Data` if the folder takes no file.
    pub fn create(folder: &Path, len: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|error| failed("making", folder, &error))?;
        Ok(SpillFile { file, folder: folder.into(), len })
    }

    /// Writes elements `start..` of a row.
    pub fn write(&self, row: usize, start: usize, values: &[f32]) -> Result<()> {
        write_all_at(&self.file, bytemuck::cast_slice(values), self.position(row, start))
            .map_err(|error| failed("writing", &self.folder, &error))
    }

    /// Reads elements `start..` of a row, which must have been written.
    pub fn read(&self, row: usize, start: usize, out: &mut [f32]) -> Result<()> {
        read_exact_at(&self.file, bytemuck::cast_slice_mut(out), self.position(row, start))
            .map_err(|error| failed("reading", &self.folder, &error))
    }

    fn position(&self, row: usize, start: usize) -> u64 {
        4 * (row as u64 * self.len as u64 + start as u64)
    }
}

/// Bytes that are free for this user in a folder; `None` where the system does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(folder).ok().map(|told| told.f_bavail.saturating_mul(told.f_frsize));
    #[cfg(not(unix))]
    return folder.exists().then_some(u64::MAX);
}

fn failed(doing: &str, folder: &Path, error: &io::Error) -> anyhow::Error {
    Fault::new(
        Kind::Data,
        format!(
            "{doing} the file for updates in `{}`: {error}; free some space there, or raise `host.update-memory`",
            folder.display()
        ),
    )
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    file.write_all_at(bytes, position)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    file.read_exact_at(bytes, position)
}

#[cfg(windows)]
use std::os::windows::fs::FileExt;

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        position += written as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = file.seek_read(bytes, position)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        position += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_the_folder_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = SpillFile::create(folder.path(), 5).unwrap();
        file.write(3, 0, &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        file.write(0, 2, &[-1.5, f32::MIN_POSITIVE]).unwrap();
        let mut out = [0.0; 2];
        file.read(3, 1, &mut out).unwrap();
        assert_eq!(out, [2.0, 3.0]);
        file.read(0, 2, &mut out).unwrap();
        assert_eq!(out, [-1.5, f32::MIN_POSITIVE]);
        #[cfg(unix)]
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_and_a_row_that_was_never_written_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let error = SpillFile::create(&folder.path().join("none"), 5).err().unwrap();
        assert_eq!(crate::error::exit_code(&error), 4);
        assert!(error.to_string().contains("host.update-memory"), "{error}");
        let file = SpillFile::create(folder.path(), 5).unwrap();
        assert!(file.read(7, 0, &mut [0.0]).is_err());
    }
}
