//! The words for what went wrong inside a plugin, the same for both forms.
//!
//! Where in the flow: between a status code with a text, and the [`PluginFailure`] that stops the run.
//! What it never does: trust the plugin's text to be short or printable.

use super::{PluginFailure, text};
use colla_plugin_sdk::abi::status;

/// Largest reply of a control call.
pub(super) const MAX_REPLY_BYTES: usize = 1 << 20;
/// Longest error text that is read.
pub(super) const MAX_ERROR_BYTES: usize = 4_096;

/// Names of the operations that have no number.
pub(super) const CREATE: &str = "CREATE";
pub(super) const DESTROY: &str = "DESTROY";
pub(super) const ALLOC: &str = "ALLOC";

/// Why an instance could not be made.
#[derive(Debug)]
pub(super) struct CreateFailure {
    /// The plugin itself says that these parameters are wrong, so the user can mend it.
    pub bad_parameters: bool,
    pub failure: PluginFailure,
}

impl From<PluginFailure> for CreateFailure {
    fn from(failure: PluginFailure) -> Self {
        CreateFailure { bad_parameters: false, failure }
    }
}

/// The plugin's own words, where the code says that it refuses its parameters or what it is asked.
pub(super) fn refusal(code: i32, error: &[u8]) -> Option<String> {
    matches!(code, status::E_ARG | status::E_CONFIG).then(|| text::printable(error, MAX_ERROR_BYTES))
}

/// A failed status code with the plugin's own text: `it failed with E_ARG, a block … is not what …: text`.
pub(super) fn status_text(code: i32, error: &[u8]) -> String {
    let meaning = match code {
        status::E_ARG => "E_ARG, a block or message is not what the operation requires",
        status::E_CONFIG => "E_CONFIG, the parameters cannot be used",
        status::E_UNSUPPORTED => "E_UNSUPPORTED, the operation is not implemented",
        status::E_STATE => "E_STATE, called in the wrong order or state is missing",
        status::E_NUMERIC => "E_NUMERIC, a number is not finite or out of its domain",
        status::E_CAPACITY => "E_CAPACITY, an output buffer is too small",
        status::E_PANIC => "E_PANIC, the plugin panicked",
        status::E_INTERNAL => "E_INTERNAL, the plugin broke one of its own invariants",
        _ => return format!("it returned the status {code}, which ABI 1 does not define"),
    };
    match text::printable(error, MAX_ERROR_BYTES) {
        message if message.is_empty() => format!("it failed with {meaning}"),
        message => format!("it failed with {meaning}: {message}"),
    }
}

pub(super) fn reply_too_long(bytes: usize) -> String {
    format!("its reply has {bytes} bytes; at most {MAX_REPLY_BYTES} are allowed")
}

pub(super) const BAD_REPLY: &str = "its reply is not an encoded map of at most 16 levels";

pub(super) fn output_too_long(written: usize, capacity: usize) -> String {
    format!("it claims {written} bytes of output in a buffer of {capacity}")
}

pub(super) const STOPPED: &str = "this instance stopped at an earlier fault and cannot be used again";
