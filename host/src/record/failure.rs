//! How a run can end badly, as `error.json` and `crash.json` tell it.

use crate::{
    error::{Fault, Kind, exit_code},
    plugin::PluginFailure,
};
use serde::Serialize;
use std::fmt;

/// An error as programs read it: one line, its kind and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The whole chain of causes, joined by `: `.
    pub error: String,
    pub kind: &'static str,
    pub exit_code: u8,
    pub version: &'static str,
}

impl Failure {
    pub fn of(error: &anyhow::Error) -> Self {
        let kind = match error.downcast_ref::<PluginFailure>() {
            Some(_) => Some(Kind::PluginFailed),
            None => error.downcast_ref::<Fault>().map(|fault| fault.kind),
        };
        Failure {
            error: format!("{error:#}"),
            kind: kind.map_or("bug", kind_name),
            exit_code: exit_code(error),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "usage",
        Kind::Config => "config",
        Kind::Data => "data",
        Kind::PluginRefused => "plugin-refused",
        Kind::PluginFailed => "plugin-failed",
        Kind::Diverged => "diverged",
        Kind::Io => "io",
        Kind::Budget => "privacy-budget",
    }
}

/// A panic of ours, turned into an error so that the run directory and the exit code can tell of it.
#[derive(Clone, Debug, Serialize)]
pub struct Bug {
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    pub thread: String,
    pub backtrace: String,
    pub version: &'static str,
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bug { message, location, version, .. } = self;
        write!(f, "this is a bug in colla {version}, please report it: {message} ({location})")
    }
}

impl std::error::Error for Bug {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_chain_is_one_line_with_kind_and_exit_code() {
        let error = Err::<(), _>(Fault::new(Kind::Diverged, "client 3: not finite")).context("round 2").unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.error, "round 2: client 3: not finite");
        assert_eq!((failure.kind, failure.exit_code), ("diverged", 7));
    }

    #[test]
    fn a_failing_plugin_is_neither_our_bug_nor_the_users_mistake() {
        let inner = PluginFailure { plugin: "krum".into(), operation: "DECIDE", message: "trap".into(), refusal: None };
        let failure = Failure::of(&anyhow::Error::new(inner).context("round 1"));
        assert_eq!(failure.error, "round 1: plugin `krum`, DECIDE: trap");
        assert_eq!((failure.kind, failure.exit_code), ("plugin-failed", 6));
    }

    #[test]
    fn what_nobody_expected_is_a_bug() {
        let failure = Failure::of(&anyhow::anyhow!("odd"));
        assert_eq!((failure.kind, failure.exit_code), ("bug", 101));
    }
}
