//! What a normalizer with a side header promises: the server can undo it, and a damaged header cannot hurt.
//!
//! Where in the flow: laws like those of `laws.rs`, for the role normalize with `max_header`.
//! What it never does: ask for the exact update back; a stage may round.

use super::{
    Subject,
    bench::Bench,
    codec::is_refusal,
    inputs,
    laws::{Broken, Held, LEN, LONG},
};
use anyhow::Result;
use colla_plugin_sdk::abi::FRAME;

/// Part of the largest magnitude by which a value may differ after APPLY and UNDO.
const TOLERANCE: f32 = 1e-5;

/// UNDO after APPLY gives the update back, within 1e-5 of its largest magnitude; one of a single frame, and one of three.
pub fn undo(subject: &Subject) -> Held {
    let mut worst = 0.0f32;
    for len in [LEN, LONG] {
        for input in inputs::all(len, subject.rows.count) {
            let mut bench = subject.bench(len)?;
            bench.begin(&input)?;
            let update = &input.rows[0];
            let (applied, headers) = bench.apply(update, FRAME)?;
            let undone = bench.undo(&applied, &headers, FRAME)?;
            let largest = update.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (i, (&before, &after)) in update.iter().zip(&undone).enumerate() {
                let off = (before - after).abs();
                if !off.is_finite() || off > TOLERANCE * largest {
                    return Err(Broken(format!("{}: value {i} was {before} and is {after} after UNDO", input.name)));
                }
                worst = worst.max(if largest > 0.0 { off / largest } else { 0.0 });
            }
        }
    }
    Ok(format!("the update comes back within {worst:.1e} of its largest value"))
}

/// Headers that no APPLY gave are refused with an error or undone to finite values, never a trap. Asked of the first piece
/// of a short update and of every piece of a long one.
pub fn damage(subject: &Subject) -> Held {
    let mut tried = 0;
    for len in [LEN, LONG] {
        let input = inputs::ordinary(len, subject.rows.count);
        let begun = || -> Result<Bench> {
            let mut bench = subject.bench(len)?;
            bench.begin(&input)?;
            Ok(bench)
        };
        let (applied, headers) = begun()?.apply(&input.rows[0], FRAME)?;
        for unit in 0..if len == LEN { 1 } else { headers.len() } {
            // A short update's header is damaged in more ways.
            let (places, patterns): (usize, &[u8]) =
                if len == LEN { (64, &[0x01, 0x40, 0x80, 0xff]) } else { (16, &[0x40]) };
            for (what, bytes) in damaged(&headers[unit], places, patterns) {
                let what = if unit == 0 { what } else { format!("{what} (piece {unit})") };
                let mut headers = headers.clone();
                headers[unit] = bytes;
                tried += 1;
                match begun()?.undo(&applied, &headers, FRAME) {
                    Ok(undone) => {
                        if let Some(at) = undone.iter().position(|x| !x.is_finite()) {
                            return Err(Broken(format!("{what}: value {at} is undone to {}", undone[at])));
                        }
                    }
                    Err(error) if is_refusal(&error) => {}
                    Err(error) => return Err(Broken(format!("{what}: {error:#}"))),
                }
            }
        }
    }
    Ok(format!("{tried} damaged headers refused or undone to finite values"))
}

/// A header of other lengths, and with flipped bits in its first `places` bytes, each with what was done to it.
fn damaged(sound: &[u8], places: usize, patterns: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut damaged = vec![
        ("an empty header".to_owned(), vec![]),
        ("half a header".into(), sound[..sound.len() / 2].to_vec()),
        ("a header and one byte".into(), [sound, &[0]].concat()),
    ];
    for place in 0..sound.len().min(places) {
        for &bits in patterns {
            let mut bytes = sound.to_vec();
            bytes[place] ^= bits;
            damaged.push((format!("byte {place} of a header with {bits:#04x} flipped"), bytes));
        }
    }
    damaged
}
