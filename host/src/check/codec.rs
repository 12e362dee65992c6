//! What a compressor promises: what it sends can be read, and what it did not send cannot hurt.
//!
//! Where in the flow: laws like those of `laws.rs`, for the role compress.
//! What it never does: measure how much is lost; that is the method's business.

use super::{
    Subject,
    bench::Bench,
    inputs::{self, Input},
    laws::{Broken, Held, LEN, LONG},
};
use crate::{error::PluginFailure, record::count};
use anyhow::{Error, Result};

/// Every encoded update decodes to finite values, within the bytes that `max_encoded` promises; one of a single frame, and
/// one of three.
pub fn round_trip(subject: &Subject) -> Held {
    let mut sizes = Vec::new();
    for len in [LEN, LONG] {
        let mut most = 0;
        for input in inputs::all(len, subject.rows.count) {
            let mut bench = subject.bench(len)?;
            let told = |error: Error| Broken(format!("{} of {}: {error:#}", count(len as u64), input.name));
            bench.begin(&input).map_err(told)?;
            let pieces = bench.encode(&input.rows[0]).map_err(told)?;
            most = most.max(pieces.iter().map(Vec::len).sum());
            let decoded = bench.decode(&pieces).map_err(told)?;
            if let Some(at) = decoded.iter().position(|x| !x.is_finite()) {
                let (len, name, value) = (count(len as u64), input.name, decoded[at]);
                return Err(Broken(format!("{len} of {name}: value {at} is decoded to {value}")));
            }
        }
        sizes.push(format!("at most {} bytes for {} of values", count(most as u64), count(4 * len as u64)));
    }
    Ok(sizes.join(", "))
}

/// Bytes that no ENCODE gave are refused with an error: pieces cut short, empty ones, and ones that are too long. Bits
/// that flipped on the way may decode to something else, but never trap. Asked of the first piece of a short update and
/// of every piece of a long one.
pub fn damage(subject: &Subject) -> Held {
    let (mut refused, mut flipped) = (0, 0);
    for len in [LEN, LONG] {
        let encoded = Encoded::new(subject, len)?;
        for unit in 0..if len == LEN { 1 } else { encoded.pieces.len() } {
            refused += encoded.wrong_lengths(unit)?;
            // A short piece is damaged in more ways.
            let patterns: &[u8] = if len == LEN { &[0x01, 0x80, 0xff] } else { &[0xff] };
            flipped += encoded.flipped_bits(unit, patterns)?;
        }
    }
    Ok(format!("{refused} pieces of a wrong length refused, {flipped} with flipped bits read or refused"))
}

/// An update as it travels, of which pieces can be damaged.
struct Encoded<'a> {
    subject: &'a Subject,
    len: usize,
    pieces: Vec<Vec<u8>>,
}

impl<'a> Encoded<'a> {
    fn new(subject: &'a Subject, len: usize) -> Result<Self> {
        let mut encoded = Encoded { subject, len, pieces: Vec::new() };
        encoded.pieces = encoded.begun()?.encode(&encoded.input().rows[0])?;
        Ok(encoded)
    }

    fn input(&self) -> Input {
        inputs::ordinary(self.len, self.subject.rows.count)
    }

    /// New instances each time, since a trap ends one.
    fn begun(&self) -> Result<Bench> {
        let mut bench = self.subject.bench(self.len)?;
        bench.begin(&self.input())?;
        Ok(bench)
    }

    /// DECODE with `bytes` in the place of one piece.
    fn decode(&self, unit: usize, bytes: Vec<u8>) -> Result<Vec<f32>> {
        let mut pieces = self.pieces.clone();
        pieces[unit] = bytes;
        self.begun()?.decode(&pieces)
    }

    /// How many pieces of a wrong length are refused.
    fn wrong_lengths(&self, unit: usize) -> Result<usize, Broken> {
        let piece = &self.pieces[unit];
        let wrong = [
            ("an empty piece", vec![]),
            ("half a piece", piece[..piece.len() / 2].to_vec()),
            ("a piece less its last byte", piece[..piece.len().saturating_sub(1)].to_vec()),
            ("a piece and one byte", [&piece[..], &[0]].concat()),
        ];
        let tried = wrong.len();
        for (what, bytes) in wrong {
            match self.decode(unit, bytes) {
                Ok(_) => return Err(Broken(format!("{what} is decoded as if it were whole{}", self.place(unit)))),
                Err(error) if !is_refusal(&error) => {
                    return Err(Broken(format!("{what}{}: {error:#}", self.place(unit))));
                }
                Err(_) => {}
            }
        }
        Ok(tried)
    }

    /// How many pieces with flipped bits are read or refused.
    fn flipped_bits(&self, unit: usize, patterns: &[u8]) -> Result<usize, Broken> {
        let piece = &self.pieces[unit];
        // The first bytes hold counts and scales; the others are sampled.
        let places = (0..piece.len()).filter(|&place| place < 16 || place % (piece.len() / 16).max(1) == 0);
        let mut flipped = 0;
        for place in places {
            for bits in patterns {
                let mut bytes = piece.clone();
                bytes[place] ^= bits;
                flipped += 1;
                if let Err(error) = self.decode(unit, bytes)
                    && !is_refusal(&error)
                {
                    let at = self.place(unit);
                    return Err(Broken(format!("byte {place} with {bits:#04x} flipped{at}: {error:#}")));
                }
            }
        }
        Ok(flipped)
    }

    /// Which piece it is, where there are several.
    fn place(&self, unit: usize) -> String {
        match self.pieces.len() {
            1 => String::new(),
            several => format!(" (piece {unit} of {several})"),
        }
    }
}

/// Whether the plugin said itself what is wrong, by a status code, rather than trapping.
pub fn is_refusal(error: &Error) -> bool {
    error.downcast_ref::<PluginFailure>().is_some_and(|failure| {
        failure.message.starts_with("it failed with E_") && !failure.message.starts_with("it failed with E_PANIC")
    })
}
