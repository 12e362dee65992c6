//! A panic of ours becomes an error like any other: one line, `crash.json`, exit code 101.

use crate::record::Bug;
use anyhow::Result;
use std::{
    backtrace::Backtrace,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::{Mutex, Once, PoisonError},
    thread,
};

/// The first panic since the last look, from whichever thread.
static SEEN: Mutex<Option<Bug>> = Mutex::new(None);

/// Runs `work` and turns a panic into a [`Bug`] with message, place and backtrace.
///
/// Panics are silent from the first call on: whoever catches one tells of it.
pub(super) fn catching_panics<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| panic::set_hook(Box::new(note)));
    // After a panic only the run directory is used again, and it only writes what it has.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(anyhow::Error::new(seen.unwrap_or_else(|| bug(message(payload.as_ref()), "unknown place".into()))))
    })
}

fn note(info: &PanicHookInfo<'_>) {
    let location = info.location().map_or("unknown place".into(), |place| place.to_string());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    *seen = Some(bug(message(info.payload()), location));
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
