//! How many rows a rule is asked with: as many as it takes.
//!
//! Where in the flow: before the laws of the roles aggregate and mix. Robust rules refuse cohorts that are too small for
//! the hostile clients that they are to bear, so a refusal leads to a larger cohort and not to a verdict.
//! What it never does: pass a rule that takes no number of rows.

use super::{
    bench::{Bench, Planes},
    inputs,
    laws::{Broken, Held, LEN},
};
use crate::{
    error::PluginFailure,
    plugin::{Plugin, Role},
};
use anyhow::Error;

/// The first is as many as the shipped rule that wants most of them by default, Bulyan with one hostile client.
const COUNTS: [usize; 4] = [7, 15, 31, 63];

/// The number of rows of all laws, and those that the rule refused.
pub struct Rows {
    pub count: usize,
    refused: Vec<usize>,
    /// Whether one number was taken, or asked for no other.
    taken: bool,
}

impl Rows {
    /// Asks a rule with more and more rows until it does not refuse them; other plugins have a cohort of the first size.
    pub fn of(plugin: &Plugin) -> Self {
        let mut rows = Rows { count: COUNTS[0], refused: Vec::new(), taken: true };
        if !(plugin.manifest().has(Role::Aggregate) || plugin.manifest().has(Role::Mix)) {
            return rows;
        }
        for count in COUNTS {
            let asked = Bench::open(plugin, LEN, count, Planes::Apart)
                .and_then(|mut bench| bench.ask_all(&inputs::ordinary(LEN, count)));
            match asked {
                Ok(()) => return Rows { count, ..rows },
                Err(error) if refuses(&error) => rows.refused.push(count),
                // A failure of another kind is for the laws to tell.
                Err(_) => break,
            }
        }
        rows.taken = rows.refused.is_empty();
        rows
    }

    /// The first law's line with the number of rows, where that is not the usual one.
    pub fn tell(&self, held: Held) -> Held {
        let refused = self.refused.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        match held {
            Ok(text) if !self.refused.is_empty() => {
                Ok(format!("{text}; with {} rows, since it refuses {refused}", self.count))
            }
            Err(Broken(text)) if !self.taken => {
                Err(Broken(format!("it refuses cohorts of {refused} rows; with {}: {text}", self.count)))
            }
            other => other,
        }
    }
}

/// Whether the plugin said that it cannot work with what it was given or with its parameters.
fn refuses(error: &Error) -> bool {
    error.downcast_ref::<PluginFailure>().is_some_and(|failure| {
        ["it failed with E_ARG", "it failed with E_CONFIG"].iter().any(|start| failure.message.starts_with(start))
    })
}
