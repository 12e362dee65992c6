//! The way back to the host: two imports in WASM, the table of [`HostV1`](crate::abi::HostV1) natively.
//!
//! Natively the callbacks want the `host_ctx` of the instance that is running. Author's code does not carry it, so the
//! export glue keeps it in a thread-local for the duration of each create, call and block: instances on many threads,
//! or of several hosts, do not meet.

pub(crate) use platform::{Host, log, rand_fill};

#[cfg(target_family = "wasm")]
mod platform {
    #[link(wasm_import_module = "colla_v1")]
    unsafe extern "C" {
        #[link_name = "log"]
        fn import_log(level: u32, text: *const u8, len: usize);
        #[link_name = "rand_fill"]
        fn import_rand_fill(scope: u32, stream: u32, offset: u64, kind: u32, out: *mut u8, n: usize) -> i32;
    }

    /// A module instance has one host, known to its imports.
    #[derive(Clone, Copy)]
    pub struct Host;

    impl Host {
        pub fn of_instance(_: *mut u8) -> Self {
            Host
        }

        #[must_use]
        pub fn enter(self) -> Entered {
            Entered
        }

        pub fn is_entered() -> bool {
            true
        }
    }

    /// Nothing to undo here.
    pub struct Entered;

    pub fn log(level: u32, text: &str) {
        // SAFETY: the host reads `len` bytes at `text` during the call.
        unsafe { import_log(level, text.as_ptr(), text.len()) }
    }

    /// # Safety
    /// `out` must be writable for `n` elements of four bytes.
    pub unsafe fn rand_fill(scope: u32, stream: u16, offset: u64, kind: u32, out: *mut u8, n: usize) -> i32 {
        // SAFETY: passed on.
        unsafe { import_rand_fill(scope, stream.into(), offset, kind, out, n) }
    }
}

#[cfg(not(target_family = "wasm"))]
mod platform {
    use crate::abi::{HostV1, status};
    use std::cell::Cell;
    use std::sync::RwLock;

    /// What the loader gave last; an instance keeps the table that was current when it was created.
    static TABLE: RwLock<Option<HostV1>> = RwLock::new(None);

    thread_local!(static CURRENT: Cell<Option<Host>> = const { Cell::new(None) });

    #[derive(Clone, Copy)]
    pub struct Host {
        table: Option<HostV1>,
        context: *mut u8,
    }

    impl Host {
        pub fn set_table(table: HostV1) {
            // A poisoned lock still holds a whole table: writing it cannot be interrupted half-way.
            *TABLE.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(table);
        }

        pub fn of_instance(context: *mut u8) -> Self {
            Host { table: *TABLE.read().unwrap_or_else(|poisoned| poisoned.into_inner()), context }
        }

        /// Makes this the host of the running thread until the guard is dropped.
        #[must_use]
        pub fn enter(self) -> Entered {
            Entered { previous: CURRENT.replace(Some(self)) }
        }

        /// Whether this thread is inside a plugin's function.
        pub fn is_entered() -> bool {
            CURRENT.get().is_some()
        }
    }

    pub struct Entered {
        previous: Option<Host>,
    }

    impl Drop for Entered {
        fn drop(&mut self) {
            CURRENT.set(self.previous);
        }
    }

    fn current() -> Option<(HostV1, *mut u8)> {
        CURRENT.get().and_then(|host| host.table.map(|table| (table, host.context)))
    }

    pub fn log(level: u32, text: &str) {
        if let Some((table, context)) = current() {
            // SAFETY: the loader gave this table and vouches for its functions as long as the process lives;
            // `context` is the instance's own, and the host reads `len` bytes during the call.
            unsafe { (table.log)(context, level, text.as_ptr(), text.len()) }
        }
    }

    /// # Safety
    /// `out` must be writable for `n` elements of four bytes.
    pub unsafe fn rand_fill(scope: u32, stream: u16, offset: u64, kind: u32, out: *mut u8, n: usize) -> i32 {
        match current() {
            // SAFETY: as in `log`; the caller vouches for `out`.
            Some((table, context)) => unsafe { (table.rand_fill)(context, scope, stream.into(), offset, kind, out, n) },
            None => status::E_STATE,
        }
    }
}
