//! Codes of a few bits, packed without gaps: the payload of quantisers.
//!
//! Where in the flow: called by compressors inside ENCODE and DECODE. Codes follow one another from the lowest bit of each
//! byte up; the bits behind the last code are zero, and a reader that finds others refuses the piece.
//! What it never does: say what a code means, or how many there are; both sides know that.

use crate::{Error, Result};

/// Bytes that `count` codes of `bits` bits take.
pub fn packed_len(count: usize, bits: u32) -> usize {
    (count * bits as usize).div_ceil(8)
}

/// Writes codes of `bits` bits, 1 to 32, into exactly the [`packed_len`] bytes that they need.
pub struct Packer<'a> {
    bits: u32,
    bytes: std::slice::IterMut<'a, u8>,
    waiting: u64,
    filled: u32,
}

impl<'a> Packer<'a> {
    pub fn new(bits: u32, bytes: &'a mut [u8]) -> Self {
        Packer { bits, bytes: bytes.iter_mut(), waiting: 0, filled: 0 }
    }

    /// Appends a code, which must be below 2^bits. Codes beyond the bytes are dropped.
    #[inline]
    pub fn put(&mut self, code: u32) {
        self.waiting |= u64::from(code) << self.filled;
        self.filled += self.bits;
        while self.filled >= 8 {
            self.put_byte();
            self.filled -= 8;
        }
    }

    /// Writes the last, incomplete byte.
    pub fn finish(mut self) {
        if self.filled > 0 {
            self.put_byte();
        }
    }

    #[inline]
    fn put_byte(&mut self) {
        if let Some(byte) = self.bytes.next() {
            *byte = self.waiting as u8;
        }
        self.waiting >>= 8;
    }
}

/// Reads what [`Packer`] wrote, from exactly those bytes.
pub struct Unpacker<'a> {
    bits: u32,
    bytes: std::slice::Iter<'a, u8>,
    waiting: u64,
    filled: u32,
}

impl<'a> Unpacker<'a> {
    pub fn new(bits: u32, bytes: &'a [u8]) -> Self {
        Unpacker { bits, bytes: bytes.iter(), waiting: 0, filled: 0 }
    }

    /// The next code; zeros behind the last byte.
    #[inline]
    pub fn take(&mut self) -> u32 {
        while self.filled < self.bits {
            self.waiting |= u64::from(self.bytes.next().copied().unwrap_or(0)) << self.filled;
            self.filled += 8;
        }
        let code = (self.waiting & ((1 << self.bits) - 1)) as u32;
        self.waiting >>= self.bits;
        self.filled -= self.bits;
        code
    }

    /// Errors: `E_ARG` if a bit behind the last code is set.
    pub fn finish(self) -> Result<()> {
        if self.waiting == 0 { Ok(()) } else { Err(Error::argument("the frame's unused bits are not zero")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_three_bits_lie_from_the_lowest_bit_up() {
        let mut bytes = [0xff; 2];
        let mut packer = Packer::new(3, &mut bytes);
        [0b001, 0b010, 0b111, 0b100].into_iter().for_each(|code| packer.put(code));
        packer.finish();
        // 12 bits: 11|010|001, then 0000|100|1: the third code's last bit first, then the fourth code's 100 above it.
        assert_eq!(bytes, [0b1101_0001, 0b0000_1001]);
        let mut unpacker = Unpacker::new(3, &bytes);
        assert_eq!([(); 4].map(|()| unpacker.take()), [0b001, 0b010, 0b111, 0b100]);
        assert_eq!(unpacker.finish(), Ok(()));
    }

    #[test]
    fn every_width_gives_back_what_was_put() {
        for bits in 1..=32 {
            let code = |i: u32| i.wrapping_mul(0x9E37_79B9) >> (32 - bits);
            let mut bytes = vec![0xff; packed_len(77, bits)];
            let mut packer = Packer::new(bits, &mut bytes);
            (0..77).for_each(|i| packer.put(code(i)));
            packer.finish();
            let mut unpacker = Unpacker::new(bits, &bytes);
            assert!((0..77).all(|i| unpacker.take() == code(i)), "{bits} bits");
            assert_eq!(unpacker.finish(), Ok(()), "{bits} bits");
        }
    }

    #[test]
    fn a_bit_behind_the_last_code_is_refused() {
        let mut unpacker = Unpacker::new(5, &[0b0010_0000]);
        assert_eq!(unpacker.take(), 0);
        assert_eq!(unpacker.finish().unwrap_err().message, "the frame's unused bits are not zero");
    }
}
