//! Positions of the values of a frame that are sent: the head of a sparsifier's piece.
//!
//! Where in the flow: called by compressors of unit `range` inside ENCODE and DECODE. The head is a `u32` count, then count
//! `u16` indices within the frame, ascending; frames have 65,536 values, so two bytes always do.
//! What it never does: choose what is sent, or carry the values.

use crate::abi::FRAME;
use crate::{Error, Input, Output, Result};

/// Bytes of the head for `count` indices.
pub fn head_len(count: usize) -> usize {
    4 + 2 * count
}

/// Writes the head. `indices` are ascending, below the frame's `n`.
///
/// Errors: `E_ARG` if the piece is longer than a frame, `E_CAPACITY` if the head does not fit.
pub fn put_indices(indices: &[u16], n: usize, output: &mut Output<'_>) -> Result<()> {
    fits_a_frame(n)?;
    output.put_u32(indices.len() as u32)?;
    let places = output.reserve(2 * indices.len())?.as_chunks_mut().0;
    places.iter_mut().zip(indices).for_each(|(place, index)| *place = index.to_le_bytes());
    Ok(())
}

/// The indices of a frame of `n` values, as they came over the network.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'a> {
    bytes: &'a [[u8; 2]],
    n: usize,
}

impl<'a> Indices<'a> {
    /// Reads the head. Errors: `E_ARG` if the piece is longer than a frame, the count above `n`, or bytes are missing.
    pub fn take(n: usize, input: &mut Input<'a>) -> Result<Self> {
        fits_a_frame(n)?;
        let count = input.take_u32()? as usize;
        if count > n {
            return Err(Error::argument(format!("a frame of {n} values claims to hold {count}")));
        }
        Ok(Indices { bytes: input.take(2 * count)?.as_chunks().0, n })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bytes.len()
    }

    /// Zeros, and at each index what `value` gives next. `out` has the frame's `n` values.
    ///
    /// Errors: `E_ARG` if an index is not above the one before or not below `n`; those of `value`.
    pub fn scatter(self, out: &mut [f32], mut value: impl FnMut() -> Result<f32>) -> Result<()> {
        out.fill(0.0);
        let mut free = 0;
        for bytes in self.bytes {
            let index = usize::from(u16::from_le_bytes(*bytes));
            if index < free || index >= self.n {
                let n = self.n;
                return Err(Error::argument(format!("index {index} is out of order or beyond the frame's {n} values")));
            }
            out[index] = value()?;
            free = index + 1;
        }
        Ok(())
    }
}

fn fits_a_frame(n: usize) -> Result<()> {
    if n <= FRAME { Ok(()) } else { Err(Error::argument(format!("a frame has at most {FRAME} values, this one {n}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_come_back_and_the_rest_is_zero() {
        let mut bytes = [0xff; 10];
        let mut output = Output::new(&mut bytes);
        put_indices(&[1, 3, 65_535], FRAME, &mut output).unwrap();
        assert_eq!((output.len(), head_len(3)), (10, 10));
        assert_eq!(bytes, [3, 0, 0, 0, 1, 0, 3, 0, 0xff, 0xff]);
        let mut input = Input::new(&bytes);
        let indices = Indices::take(FRAME, &mut input).unwrap();
        assert_eq!(indices.count(), 3);
        let (mut out, mut next) = (vec![f32::NAN; FRAME], 0.0);
        indices
            .scatter(&mut out, || {
                next += 1.0;
                Ok(next)
            })
            .unwrap();
        assert_eq!((out[1], out[3], out[65_535]), (1.0, 2.0, 3.0));
        assert_eq!(out.iter().filter(|&&value| value == 0.0).count(), FRAME - 3);
    }

    #[test]
    fn a_piece_that_is_no_frame_is_refused() {
        let error = put_indices(&[], FRAME + 1, &mut Output::new(&mut [])).unwrap_err();
        assert_eq!(error.message, "a frame has at most 65536 values, this one 65537");
        assert_eq!(Indices::take(FRAME + 1, &mut Input::new(&[0; 4])).unwrap_err(), error);
    }
}
