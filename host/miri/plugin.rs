//! The modules of the host's `plugin` that the native loader stands on.

#[path = "../src/plugin/failure.rs"]
mod failure;
#[path = "../src/plugin/instance.rs"]
mod instance;
#[path = "../src/plugin/log.rs"]
mod log;
#[path = "../src/plugin/native.rs"]
mod native;
#[path = "../src/plugin/raw.rs"]
mod raw;
#[path = "../src/plugin/setup.rs"]
mod setup;
#[path = "../src/plugin/streams.rs"]
mod streams;
#[path = "../src/plugin/text.rs"]
mod text;

pub use crate::error::PluginFailure;
pub use instance::{Block, Buffer, Callbacks, Done, Instance, Span, operation_name};
