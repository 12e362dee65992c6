//! What a compressor promises: what it sends can be read, and what it did not send cannot hurt.
//!
//! Where in the flow: laws like those of `laws.rs`, for the role compress.
//! What it never does: measure how much is lost; that is the method's business.

use super::{
    Subject,
    bench::Bench,
    inputs,
    laws::{Broken, Held, LEN},
};
use crate::error::PluginFailure;
use anyhow::{Error, Result};

/// Every encoded update decodes to finite values, within the bytes that `max_encoded` promises.
pub fn round_trip(subject: &Subject) -> Held {
    let mut most = 0;
    for input in inputs::all(LEN) {
        let mut bench = Bench::open(&subject.plugin, LEN)?;
        let told = |error: Error| Broken(format!("{}: {error:#}", input.name));
        bench.begin(&input).map_err(told)?;
        let pieces = bench.encode(&input.rows[0]).map_err(told)?;
        most = most.max(pieces.iter().map(Vec::len).sum());
        let decoded = bench.decode(&pieces).map_err(told)?;
        if let Some(at) = decoded.iter().position(|x| !x.is_finite()) {
            return Err(Broken(format!("{}: value {at} is decoded to {}", input.name, decoded[at])));
        }
    }
    Ok(format!("at most {most} bytes for {} bytes of values", 4 * LEN))
}

/// Bytes that no ENCODE gave are refused with an error: pieces cut short, empty ones, and ones that are too long. Bits
/// that flipped on the way may decode to something else, but never trap.
pub fn damage(subject: &Subject) -> Held {
    let input = inputs::ordinary(LEN);
    let begun = || -> Result<Bench> {
        let mut bench = Bench::open(&subject.plugin, LEN)?;
        bench.begin(&input)?;
        Ok(bench)
    };
    let sound = begun()?.encode(&input.rows[0])?;
    let piece = sound.first().cloned().unwrap_or_default();
    let decode = |bytes: Vec<u8>| {
        let mut pieces = sound.clone();
        pieces[0] = bytes;
        begun()?.decode(&pieces)
    };
    let half = piece[..piece.len() / 2].to_vec();
    let shorter = piece[..piece.len().saturating_sub(1)].to_vec();
    let longer = [&piece[..], &[0]].concat();
    for (what, bytes) in [
        ("an empty piece", vec![]),
        ("half a piece", half),
        ("a piece less its last byte", shorter),
        ("a piece and one byte", longer),
    ] {
        match decode(bytes) {
            Ok(_) => return Err(Broken(format!("{what} is decoded as if it were whole"))),
            Err(error) if !is_refusal(&error) => return Err(Broken(format!("{what}: {error:#}"))),
            Err(_) => {}
        }
    }
    // The first bytes hold counts and scales; the others are sampled.
    let places = (0..piece.len()).filter(|&place| place < 16 || place % (piece.len() / 16).max(1) == 0);
    let mut flipped = 0;
    for place in places {
        for bits in [0x01, 0x80, 0xff] {
            let mut bytes = piece.clone();
            bytes[place] ^= bits;
            flipped += 1;
            if let Err(error) = decode(bytes)
                && !is_refusal(&error)
            {
                return Err(Broken(format!("byte {place} with {bits:#04x} flipped: {error:#}")));
            }
        }
    }
    Ok(format!("4 pieces of a wrong length refused, {flipped} with flipped bits read or refused"))
}

/// Whether the plugin said itself what is wrong, by a status code, rather than trapping.
pub fn is_refusal(error: &Error) -> bool {
    error.downcast_ref::<PluginFailure>().is_some_and(|failure| {
        failure.message.starts_with("it failed with E_") && !failure.message.starts_with("it failed with E_PANIC")
    })
}
