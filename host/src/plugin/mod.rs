//! Plugins as the rest of the host sees them: a checked manifest, resolved parameters, instances that answer.
//!
//! Where in the flow: below strategy and stages, above the SDK. wasmtime is used in `wasm.rs` only, libloading in
//! `native.rs` only; what differs between them ends at [`Instance`].
//! What it never does: know what a role means for a round.

mod instance;
mod manifest;

pub use instance::{Block, Buffer, Callbacks, Done, Instance, PluginFailure, Span, operation_name};
pub use manifest::{
    Manifest, MaxEncoded, Parameter, ParameterType, Reduce, Role, StateInit, StateScope, StateSlot, Unit,
};
