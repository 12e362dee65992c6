//! What a normalizer with a side header promises: the server can undo it, and a damaged header cannot hurt.
//!
//! Where in the flow: laws like those of `laws.rs`, for the role normalize with `max_header`.
//! What it never does: ask for the exact update back; a stage may round.

use super::{
    Subject,
    bench::Bench,
    codec::is_refusal,
    inputs,
    laws::{Broken, Held, LEN},
};
use anyhow::Result;

/// Part of the largest magnitude by which a value may differ after APPLY and UNDO.
const TOLERANCE: f32 = 1e-5;

/// UNDO after APPLY gives the update back, within 1e-5 of its largest magnitude.
pub fn undo(subject: &Subject) -> Held {
    let mut worst = 0.0f32;
    for input in inputs::all(LEN) {
        let mut bench = Bench::open(&subject.plugin, LEN)?;
        bench.begin(&input)?;
        let update = &input.rows[0];
        let (applied, headers) = bench.apply(update, LEN)?;
        let undone = bench.undo(&applied, &headers, LEN)?;
        let largest = update.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (i, (&before, &after)) in update.iter().zip(&undone).enumerate() {
            let off = (before - after).abs();
            if !off.is_finite() || off > TOLERANCE * largest {
                return Err(Broken(format!("{}: value {i} was {before} and is {after} after UNDO", input.name)));
            }
            worst = worst.max(if largest > 0.0 { off / largest } else { 0.0 });
        }
    }
    Ok(format!("the update comes back within {worst:.1e} of its largest value"))
}

/// Headers that no APPLY gave are refused with an error or undone to finite values, never a trap.
pub fn damage(subject: &Subject) -> Held {
    let input = inputs::ordinary(LEN);
    let begun = || -> Result<Bench> {
        let mut bench = Bench::open(&subject.plugin, LEN)?;
        bench.begin(&input)?;
        Ok(bench)
    };
    let (applied, headers) = begun()?.apply(&input.rows[0], LEN)?;
    let sound = headers.first().cloned().unwrap_or_default();
    let mut damaged = vec![
        ("an empty header".to_owned(), vec![]),
        ("half a header".into(), sound[..sound.len() / 2].to_vec()),
        ("a header and one byte".into(), [&sound[..], &[0]].concat()),
    ];
    for place in 0..sound.len().min(64) {
        for bits in [0x01, 0x40, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[place] ^= bits;
            damaged.push((format!("byte {place} of a header with {bits:#04x} flipped"), bytes));
        }
    }
    for (what, bytes) in &damaged {
        let mut headers = headers.clone();
        headers[0].clone_from(bytes);
        match begun()?.undo(&applied, &headers, LEN) {
            Ok(undone) => {
                if let Some(at) = undone.iter().position(|x| !x.is_finite()) {
                    return Err(Broken(format!("{what}: value {at} is undone to {}", undone[at])));
                }
            }
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(Broken(format!("{what}: {error:#}"))),
        }
    }
    Ok(format!("{} damaged headers refused or undone to finite values", damaged.len()))
}
