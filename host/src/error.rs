//! The kinds of failure that a caller or the exit code must tell apart.
//!
//! Everything fallible in the library returns [`anyhow::Result`]; the innermost cause of an expected failure is a
//! [`Fault`], found again with [`exit_code`]. Context is added once per layer (file, round, client, plugin).
//! Messages: lower case, where — what, with both values — what to do.

use std::{fmt, io, path::Path};

/// Whose fault it is, hence which exit code the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line cannot be understood: 2.
    Usage,
    /// The configuration is wrong or impossible: 3.
    Config,
    /// A data file is missing or broken, or a resource is not there: 4.
    Data,
    /// A plugin was refused before the run: 5.
    PluginRefused,
    /// A plugin failed during the run: 6.
    PluginFailed,
    /// Training diverged: 7.
    Diverged,
    /// Results or checkpoints cannot be written or read: 8.
    Io,
    /// The next round would exceed the privacy budget: 9.
    Budget,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Config => 3,
            Kind::Data => 4,
            Kind::PluginRefused => 5,
            Kind::PluginFailed => 6,
            Kind::Diverged => 7,
            Kind::Io => 8,
            Kind::Budget => 9,
        }
    }
}

/// An expected failure with its message.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub message: String,
}

impl Fault {
    /// The fault as an [`anyhow::Error`], ready for `bail`-style returns: `return Err(Fault::new(..))`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(kind: Kind, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Fault { kind, message: message.into() })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A plugin did not do what it must. The run stops with exit code 6; the host goes on living.
#[derive(Clone, Debug)]
pub struct PluginFailure {
    pub plugin: String,
    pub operation: &'static str,
    pub message: String,
    /// The plugin's own words, where it refuses its parameters or what it is asked (`E_CONFIG`, `E_ARG`).
    pub refusal: Option<String>,
}

impl fmt::Display for PluginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`, {}: {}", self.plugin, self.operation, self.message)
    }
}

impl std::error::Error for PluginFailure {}

/// Exit code of an error: that of the [`Fault`] in its chain, 6 for a [`PluginFailure`] in it, 101 (a bug of ours) if
/// there is neither.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Fault>() {
        Some(fault) => fault.kind.exit_code(),
        None if error.downcast_ref::<PluginFailure>().is_some() => Kind::PluginFailed.exit_code(),
        None => 101,
    }
}

/// `; did you mean `x`?` for the candidate nearest to `given`, or nothing if none is near.
pub fn did_you_mean<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    candidates
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, name)| format!("; did you mean `{name}`?"))
}

/// A number as messages write it: with an exponent where all of its digits would be more than anybody counts.
pub fn short(number: f64) -> String {
    let plain = number == 0.0 || !number.is_finite() || (1e-6..1e16).contains(&number.abs());
    if plain { number.to_string() } else { format!("{number:e}") }
}

/// The fault of a file that cannot be written, for want of its folder or for what the system says.
pub fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let message = match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => {
            let folder = folder.display();
            format!("writing `{shown}`: there is no folder `{folder}`; make it, or name another")
        }
        None => {
            // What is no error of the system itself names the temporary file that this one would have been at first.
            let reason = error.raw_os_error().map_or_else(|| error.kind().to_string(), |_| error.to_string());
            format!("writing `{shown}`: {reason}; check permissions and free space")
        }
    };
    Fault::new(Kind::Io, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_an_exponent_where_digits_would_be_too_many() {
        for (number, written) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (0.000_01, "0.00001"),
            (4_294_967_295.0, "4294967295"),
            (1e39, "1e39"),
            (-1.25e30, "-1.25e30"),
            (1e-46, "1e-46"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(number), written);
        }
    }
}
