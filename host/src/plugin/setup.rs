//! What an instance is made from, the same for both forms.
//!
//! Where in the flow: between a loaded plugin and the engine that instantiates it. What it never does: own anything.

use super::{Callbacks, log::Log};
use std::sync::Arc;

pub(super) struct Setup<'a> {
    pub plugin: &'a str,
    /// The resolved parameters, encoded.
    pub config: &'a [u8],
    pub callbacks: Callbacks,
    /// Elements of the vectors that the instance will see in all.
    pub payload_elements: usize,
    /// Whether the manifest lets it draw random numbers.
    pub rng: bool,
    pub log: &'a Arc<Log>,
}
