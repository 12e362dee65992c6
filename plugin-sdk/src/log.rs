//! Messages to the host's log, which adds the plugin's name, strips control characters and limits the rate.

use crate::host;

/// Seen with the host's verbose option only.
pub fn debug(text: &str) {
    host::log(0, text);
}

pub fn info(text: &str) {
    host::log(1, text);
}

pub fn warning(text: &str) {
    host::log(2, text);
}

/// Does not stop anything: return an [`crate::Error`] for that.
pub fn error(text: &str) {
    host::log(3, text);
}
