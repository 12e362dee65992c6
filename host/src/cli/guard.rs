//! A panic of ours becomes an error like any other: one line, `crash.json`, exit code 101.

use crate::record::Bug;
use anyhow::Result;
use std::{
    backtrace::Backtrace,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::{Mutex, PoisonError},
    thread,
};

/// The last panic since somebody looked, from whichever thread.
static NOTED: Mutex<Option<Bug>> = Mutex::new(None);

/// From now on panics are noted, with place and backtrace, and otherwise silent: whoever catches one tells of it.
/// For the program as a whole; a test that did this would silence the tests beside it.
pub(super) fn note_panics() {
    panic::set_hook(Box::new(note));
}

/// Runs `work` and turns a panic into a [`Bug`].
pub(super) fn catching_panics<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // After a panic only the run directory is used again, and it only writes what it has.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(anyhow::Error::new(noted.unwrap_or_else(|| bug(message(payload.as_ref()), "unknown place".into()))))
    })
}

fn note(info: &PanicHookInfo<'_>) {
    let location = info.location().map_or("unknown place".into(), |place| place.to_string());
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    *noted = Some(bug(message(info.payload()), location));
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

fn bug(message: String, location: String) -> Bug {
    Bug {
        message,
        location,
        thread: thread::current().name().unwrap_or("unnamed").into(),
        backtrace: Backtrace::force_capture().to_string(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Failure;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let error = catching_panics(|| -> Result<()> { panic!("odd number {}", 3) }).unwrap_err();
        let bug = error.downcast_ref::<Bug>().unwrap();
        assert_eq!(bug.message, "odd number 3");
        assert_eq!(Failure::of(&error).exit_code, 101);
        assert!(error.to_string().starts_with("this is a bug in colla "));
    }

    #[test]
    fn errors_and_results_pass_through() {
        assert_eq!(catching_panics(|| Ok(7)).unwrap(), 7);
        assert_eq!(catching_panics(|| -> Result<()> { anyhow::bail!("plain") }).unwrap_err().to_string(), "plain");
    }
}
