//! What goes wrong in a plugin: a status code of [`crate::abi::status`] and a message for people.
//!
//! Where in the flow: every author's function returns [`Result`]; the export glue keeps the message until the host asks.
//! Messages read: what is wrong, with both values, what to do; lower case, no final stop.

use crate::abi::status;
use std::fmt;

/// A failure that the host reports with the plugin's name and the operation around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// A negative number of [`crate::abi::status`], or SKIP.
    pub code: i32,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Error { code: status::$code, message: message.into() }
            })*
        }
    };
}
constructors! {
    /// A block or message is not what the operation requires.
    argument => E_ARG,
    /// The parameters cannot be used.
    config => E_CONFIG,
    /// The plugin does not implement what it was asked.
    unsupported => E_UNSUPPORTED,
    /// Called in the wrong order, or state is missing.
    state => E_STATE,
    /// A number is not finite or out of its domain.
    numeric => E_NUMERIC,
    /// An output buffer is too small.
    capacity => E_CAPACITY,
    /// The plugin broke one of its own invariants.
    internal => E_INTERNAL,
}

impl Error {
    /// Not a failure: the plugin has nothing to do here, and the host goes on as if it had not asked.
    pub fn skip() -> Self {
        Error { code: status::SKIP, message: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
