//! What plugins say: on standard error, or where [`redirect`] sends it.
//!
//! Where in the flow: the `log` callback of both forms ends here. One [`Log`] serves all instances of a plugin, so
//! that many instances cannot say more than one.
//! What it never does: let a plugin flood or reprogram the terminal.

use super::text;
use std::io::Write;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Longest message that is looked at, in bytes.
pub(super) const MAX_LOG_BYTES: usize = 65_536;
/// Messages that may come at once after silence.
const BURST: u32 = 100;
/// One more message may come after so long.
const REFILL: Duration = Duration::from_millis(100);

/// The log of one plugin.
pub(super) struct Log {
    plugin: String,
    budget: Mutex<Budget>,
}

struct Budget {
    left: u32,
    refilled: Instant,
    /// Messages dropped since the last one shown.
    dropped: u64,
}

impl Log {
    pub fn new(plugin: &str) -> Self {
        let budget = Budget { left: BURST, refilled: Instant::now(), dropped: 0 };
        Log { plugin: plugin.into(), budget: Mutex::new(budget) }
    }

    /// Shows one message, or counts it as dropped. `level`: 0 debug, 1 info, 2 warning, 3 and above error.
    pub fn message(&self, level: u32, bytes: &[u8]) {
        if let Some(dropped) = self.admit(Instant::now()) {
            if dropped > 0 {
                write_line(&self.plugin, "warning", &format!("{dropped} messages before this one are not shown"));
            }
            write_line(&self.plugin, level_name(level), &text::printable(bytes, MAX_LOG_BYTES));
        }
    }

    /// Takes one message from the budget. `None`: it is spent. Otherwise how many were dropped before this one.
    fn admit(&self, now: Instant) -> Option<u64> {
        // A panic while the lock is held leaves nothing half done.
        let mut budget = self.budget.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let periods = now.duration_since(budget.refilled).as_millis() / REFILL.as_millis();
        if periods > 0 {
            budget.left = budget.left.saturating_add(u32::try_from(periods).unwrap_or(BURST)).min(BURST);
            budget.refilled = now;
        }
        if budget.left == 0 {
            budget.dropped += 1;
            return None;
        }
        budget.left -= 1;
        Some(std::mem::take(&mut budget.dropped))
    }
}

fn level_name(level: u32) -> &'static str {
    match level {
        0 => "debug",
        1 => "info",
        2 => "warning",
        _ => "error",
    }
}

/// The only place where a plugin's words leave the host.
fn write_line(plugin: &str, level: &str, line: &str) {
    let line = format!("plugin `{plugin}` {level}: {line}");
    match destination().as_mut() {
        Some(write) => write(&line),
        // A closed standard error must not stop the run.
        None => drop(writeln!(std::io::stderr(), "{line}")),
    }
}

type Destination = Box<dyn FnMut(&str) + Send>;

/// Where lines go instead of standard error. One for the process, as standard error is.
static DESTINATION: Mutex<Option<Destination>> = Mutex::new(None);

fn destination() -> MutexGuard<'static, Option<Destination>> {
    // A panic while a line was written leaves nothing half done that matters here.
    DESTINATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends every plugin's lines to `write`, until what is returned is dropped.
pub fn redirect(write: impl FnMut(&str) + Send + 'static) -> Redirected {
    *destination() = Some(Box::new(write));
    Redirected(())
}

/// While it lives, plugins' lines do not go to standard error.
#[must_use]
pub struct Redirected(());

impl Drop for Redirected {
    fn drop(&mut self) {
        *destination() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_shown_the_rest_is_dropped_and_counted_and_time_gives_new_budget() {
        let log = Log::new("chatty");
        let start = Instant::now();
        let shown = (0..1_000).filter(|_| log.admit(start).is_some()).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!(log.admit(start + REFILL * 3), Some(900));
        assert_eq!(log.admit(start + REFILL * 3), Some(0));
        assert_eq!(log.admit(start + REFILL * 3), Some(0));
        assert_eq!(log.admit(start + REFILL * 3), None);
        let later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..1_000).filter(|_| log.admit(later).is_some()).count(), BURST as usize);
    }
}
