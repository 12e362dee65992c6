//! Random numbers from the host: counter-based streams, the same bits as WASM, native, on any number of threads.
//!
//! Element `i` of a fill is element `offset + i` of its stream, so a vector that is drawn in pieces, with `offset` the
//! piece's, equals the vector drawn at once. A stream is keyed by the run seed, the plugin's position in the run, the
//! scope's round and client, and `stream` (below 65,536). Draw one kind of number from one stream: kinds share its words.

use crate::abi::{rand_kind, rand_scope};
use crate::{Error, Result, host};

/// Which circumstances give a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The same numbers for the whole run, e.g. a fixed rotation.
    Run,
    /// New numbers each round, the same for every client, e.g. a shared mask.
    Round,
    /// New numbers each round for each client; in DECODE the sender's and those of its round.
    Client,
}

/// Uniform in [0, 1): multiples of 2⁻²⁴.
pub fn uniform(scope: Scope, stream: u16, offset: u64, out: &mut [f32]) -> Result<()> {
    // SAFETY: `out` is writable for its length, and any bits are a valid f32.
    check(unsafe {
        host::rand_fill(number(scope), stream, offset, rand_kind::UNIFORM, out.as_mut_ptr().cast(), out.len())
    })
}

/// Standard normal.
pub fn normal(scope: Scope, stream: u16, offset: u64, out: &mut [f32]) -> Result<()> {
    // SAFETY: as above.
    check(unsafe {
        host::rand_fill(number(scope), stream, offset, rand_kind::NORMAL, out.as_mut_ptr().cast(), out.len())
    })
}

/// Uniform over all 32-bit values.
pub fn u32s(scope: Scope, stream: u16, offset: u64, out: &mut [u32]) -> Result<()> {
    // SAFETY: as above; any bits are a valid u32.
    check(unsafe { host::rand_fill(number(scope), stream, offset, rand_kind::U32, out.as_mut_ptr().cast(), out.len()) })
}

/// Numbers that are drawn at once where they are used at once: 4 KiB stay in the fastest cache.
const DRAWN: usize = 1_024;

/// Calls `with` for one item after another, each with its own number of [`uniform`]: item `i` with element `offset + i`.
pub fn each_uniform<T>(
    scope: Scope,
    stream: u16,
    offset: u64,
    items: impl ExactSizeIterator<Item = T>,
    with: impl FnMut(T, f32),
) -> Result<()> {
    each(items, 0.0, with, |start, out| uniform(scope, stream, offset + start, out))
}

/// The same with numbers of [`normal`].
pub fn each_normal<T>(
    scope: Scope,
    stream: u16,
    offset: u64,
    items: impl ExactSizeIterator<Item = T>,
    with: impl FnMut(T, f32),
) -> Result<()> {
    each(items, 0.0, with, |start, out| normal(scope, stream, offset + start, out))
}

/// The same with numbers of [`u32s`].
pub fn each_u32<T>(
    scope: Scope,
    stream: u16,
    offset: u64,
    items: impl ExactSizeIterator<Item = T>,
    with: impl FnMut(T, u32),
) -> Result<()> {
    each(items, 0, with, |start, out| u32s(scope, stream, offset + start, out))
}

fn each<T, N: Copy>(
    mut items: impl ExactSizeIterator<Item = T>,
    zero: N,
    mut with: impl FnMut(T, N),
    mut draw: impl FnMut(u64, &mut [N]) -> Result<()>,
) -> Result<()> {
    let (mut numbers, mut start) = ([zero; DRAWN], 0);
    while items.len() > 0 {
        let numbers = &mut numbers[..items.len().min(DRAWN)];
        draw(start, numbers)?;
        // The numbers first: what ends a zip has then taken no item.
        numbers.iter().zip(&mut items).for_each(|(number, item)| with(item, *number));
        start += numbers.len() as u64;
    }
    Ok(())
}

fn number(scope: Scope) -> u32 {
    match scope {
        Scope::Run => rand_scope::RUN,
        Scope::Round => rand_scope::ROUND,
        Scope::Client => rand_scope::CLIENT,
    }
}

fn check(status: i32) -> Result<()> {
    if status >= 0 {
        return Ok(());
    }
    Err(Error {
        code: status,
        message: "the host refused to draw random numbers here; does the manifest say `rng`?".into(),
    })
}
