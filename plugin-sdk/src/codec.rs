//! Bytes of an encoded piece: a writer that cannot run over, a reader that cannot run out unnoticed.
//!
//! Where in the flow: arguments of [`crate::Compress`]. All numbers are little-endian.

use crate::{Error, Result};

/// The host's output buffer. What was put is what the host sends.
#[derive(Debug)]
pub struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Output<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Output { bytes, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next `count` bytes to be filled. Errors: `E_CAPACITY` if they do not fit.
    pub fn reserve(&mut self, count: usize) -> Result<&mut [u8]> {
        let capacity = self.bytes.len();
        let end = self.len.checked_add(count).filter(|&end| end <= capacity).ok_or_else(|| {
            Error::capacity(format!(
                "the piece needs {} bytes, the buffer has {capacity}",
                self.len.saturating_add(count)
            ))
        })?;
        let piece = &mut self.bytes[self.len..end];
        self.len = end;
        Ok(piece)
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn put_u32(&mut self, value: u32) -> Result<()> {
        self.put(&value.to_le_bytes())
    }

    pub fn put_f32(&mut self, value: f32) -> Result<()> {
        self.put(&value.to_le_bytes())
    }
}

/// An encoded piece that came over the network: trust no length and no number in it.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    /// The next `count` bytes. Errors: `E_ARG` if fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| {
            Error::argument(format!("the encoded piece ends early: {count} bytes wanted, {} left", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn take_u32(&mut self) -> Result<u32> {
        self.take_array().map(u32::from_le_bytes)
    }

    pub fn take_f32(&mut self) -> Result<f32> {
        self.take_array().map(f32::from_le_bytes)
    }

    /// Errors: `E_ARG` if bytes are left over.
    pub fn finish(self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::argument(format!("the encoded piece has {left} bytes too many"))),
        }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}
