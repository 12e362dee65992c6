//! Plugins as the rest of the host sees them: a checked manifest, resolved parameters, instances that answer.
//!
//! Where in the flow: below strategy and stages, above the SDK. wasmtime is used in `wasm.rs` and below it only,
//! libloading in `native.rs` only; what differs between them ends at [`Instance`].
//! What it never does: know what a role means for a round.
//!
//! A plugin is loaded in this order, one file a step: `spec` (command line), `shipped` (which bytes), `file` (size,
//! hashes, manifest section), `manifest`, `parameters`, then `module` and `wasm`, or `native`; `loaded` joins them.

pub mod build;
mod failure;
mod file;
mod inspect;
mod instance;
mod loaded;
mod log;
mod manifest;
mod module;
mod native;
mod parameters;
pub mod project;
mod raw;
mod setup;
mod shipped;
mod spec;
mod streams;
mod text;
mod wasm;

#[cfg(test)]
mod tests;

pub use crate::error::PluginFailure;
pub use file::{Form, PluginFile};
pub use inspect::{Inspected, Limits, inspect};
pub use instance::{Block, Buffer, Callbacks, Done, Instance, Span, operation_name};
pub use loaded::{Origin, Plugin, load};
pub use log::{Redirected, redirect};
pub use manifest::{
    AttackedPart, InitialWeights, Manifest, MaxEncoded, Need, Noise, NoiseMechanism, NormEffect, Parameter,
    ParameterType, Reduce, Requirement, Role, StateInit, StateScope, StateShape, StateSlot, Unit, Vector,
};
pub use parameters::Direction;
pub use shipped::shipped_names;
pub use spec::parse as parse_spec;
pub use wasm::limits::Sandbox;
