//! The parts that a plugin can play, one trait each, and the way from an operation number to a trait's function.
//!
//! Where in the flow: [`crate::colla_plugin!`] asks the modules of the roles that it names, in order, whether an operation
//! is theirs, then [`plugin`] for those that every role answers. What nobody takes is `E_UNSUPPORTED`.
//! A role's module checks shapes before it calls the author, so the author's slices always have the promised length.
//!
//! Specified in `docs/abi.md` but reserved for a later minor version: GRAD.

pub mod aggregate;
pub mod attack;
pub mod client;
pub mod compress;
pub mod mix;
pub mod normalize;
pub mod plugin;
pub mod post;
pub mod select;
pub mod server_step;

use crate::{Error, Map, Plugin, Result};

/// Normalize, compress and post share SCAN_PLAN, mix and aggregate DECIDE, so a plugin can be only one of them. Used by the
/// macro at compile time.
#[doc(hidden)]
pub const fn at_most_one(which: &[bool]) -> bool {
    let (mut index, mut found) = (0, 0);
    while index < which.len() {
        found += which[index] as u32;
        index += 1;
    }
    found <= 1
}

fn required_f64(message: &Map, name: &str) -> Result<f64> {
    message.f64(name).ok_or_else(|| missing(name))
}

pub(crate) fn required_u64(message: &Map, name: &str) -> Result<u64> {
    message.i64(name).and_then(|value| u64::try_from(value).ok()).ok_or_else(|| missing(name))
}

fn required_u32(message: &Map, name: &str) -> Result<u32> {
    required_u64(message, name).and_then(|value| u32::try_from(value).map_err(|_| missing(name)))
}

fn missing(name: &str) -> Error {
    Error::argument(format!("the message has no usable `{name}`"))
}

/// Fails with `E_ARG` and what the operation needs, unless `holds`.
pub(crate) fn require(holds: bool, operation: &str, needs: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::argument(format!("{operation} needs {needs}"))) }
}
