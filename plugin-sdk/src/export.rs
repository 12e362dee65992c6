//! From the functions that the host calls to the author's traits: pointers become slices, panics and errors become
//! status codes with a message.
//!
//! Where in the flow: called only by what [`crate::colla_plugin!`] expands to, for WASM and natively alike.
//! What it never does: know what an operation means; that is [`crate::roles`].
//!
//! Contract with the host, which every `SAFETY` comment below rests on: contexts are those that `create` gave and
//! `destroy` has not taken; one thread at a time uses a context, and the host's callbacks do not call back into it;
//! pointers are good for the lengths given, for the duration of the call.

#[cfg(not(target_family = "wasm"))]
use crate::abi::{ABI_VERSION, HostV1, PluginV1};
use crate::abi::{RawBlock, RawSlice, status};
use crate::host::Host;
use crate::{Block, Error, Map, Parameters, Plugin, Result};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A plugin with its roles joined; implemented by the macro.
pub trait Exported: Plugin {
    /// The manifest that stands in the file's section.
    const MANIFEST: &'static [u8];

    /// A control operation.
    fn answer(&mut self, operation: u32, message: &Map) -> Result<Map>;

    /// A data operation.
    fn work(&mut self, operation: u32, block: &mut Block<'_>) -> Result<()>;
}

/// What a context pointer points to.
struct Context<T> {
    plugin: T,
    host: Host,
    reply: Vec<u8>,
    error: String,
    /// A panic left the plugin in the middle of something; it is not asked again.
    poisoned: bool,
}

thread_local! {
    static CREATE_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// `colla_create`.
///
/// # Safety
/// See the module's contract; `context` is writable.
pub unsafe fn create<T: Exported>(config: *const u8, len: usize, host_ctx: *mut u8, context: *mut *mut u8) -> i32 {
    record_panics();
    let host = Host::of_instance(host_ctx);
    let made = guarded(host, || {
        // SAFETY: by contract.
        let config = unsafe { message(config, len) };
        let config = config.ok_or_else(|| Error::config("the parameters are not an encoded map"))?;
        T::create(&Parameters::new(config))
    });
    match made {
        Ok(plugin) => {
            let made = Context { plugin, host, reply: Vec::new(), error: String::new(), poisoned: false };
            // SAFETY: by contract.
            unsafe { context.write(Box::into_raw(Box::new(made)).cast()) };
            status::OK
        }
        Err(error) => {
            CREATE_ERROR.set(error.message);
            error.code
        }
    }
}

/// `colla_destroy`.
///
/// # Safety
/// See the module's contract; the context is not used again.
pub unsafe fn destroy<T: Exported>(context: *mut u8) {
    if !context.is_null() {
        // SAFETY: `create` made it from a box of this type, and by contract this is its last use.
        let context = unsafe { Box::from_raw(context.cast::<Context<T>>()) };
        // Nobody asks for the message of a destructor's panic; it must only not reach the host's frames.
        let _ = guarded(context.host, || {
            drop(context);
            Ok(())
        });
    }
}

/// `colla_call`.
///
/// # Safety
/// See the module's contract.
pub unsafe fn call<T: Exported>(context: *mut u8, operation: u32, text: *const u8, len: usize) -> i32 {
    // SAFETY: by contract.
    unsafe {
        enter::<T>(context, |plugin| {
            let message = message(text, len).ok_or_else(|| Error::argument("the message is not an encoded map"))?;
            plugin.answer(operation, &message).map(|reply| Some(reply.encode()))
        })
    }
}

/// `colla_block`.
///
/// # Safety
/// See the module's contract and [`Block::from_raw`].
pub unsafe fn block<T: Exported>(context: *mut u8, operation: u32, raw: *mut RawBlock<*mut u8>) -> i32 {
    // SAFETY: by contract.
    unsafe {
        enter::<T>(context, |plugin| {
            let mut block = Block::from_raw(raw)?;
            plugin.work(operation, &mut block)?;
            (&raw mut (*raw).output_len).write(block.output.len() as u32);
            Ok(None)
        })
    }
}

/// `colla_reply`: the reply of the last call that succeeded.
///
/// # Safety
/// See the module's contract; `out` is writable.
pub unsafe fn reply<T: Exported>(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
    // SAFETY: by contract. The bytes stay until the next call on this context.
    unsafe { out.write(raw_slice(context.cast::<Context<T>>().as_ref().map_or(&[], |context| &context.reply))) }
}

/// `colla_last_error`.
///
/// # Safety
/// See the module's contract; `out` is writable.
pub unsafe fn last_error<T: Exported>(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
    // SAFETY: by contract.
    let text = match unsafe { context.cast::<Context<T>>().as_ref() } {
        Some(context) => raw_slice(context.error.as_bytes()),
        // The text stays until the thread's next failed create.
        None => CREATE_ERROR.with_borrow(|error| raw_slice(error.as_bytes())),
    };
    // SAFETY: by contract.
    unsafe { out.write(text) }
}

/// `colla_alloc`: null for a size of zero, an impossible alignment or size, or when memory is short. Not cleared: the
/// host clears what it needs, and hundreds of megabytes should not be written twice.
pub fn alloc(size: usize, align: usize) -> *mut u8 {
    match std::alloc::Layout::from_size_align(size, align) {
        // SAFETY: the layout is not empty.
        Ok(layout) if size > 0 => unsafe { std::alloc::alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// `colla_free`: does nothing for null.
///
/// # Safety
/// `pointer` came from [`alloc`] with this size and alignment and is not used again.
pub unsafe fn free(pointer: *mut u8, size: usize, align: usize) {
    if let (false, Ok(layout)) = (pointer.is_null(), std::alloc::Layout::from_size_align(size, align)) {
        // SAFETY: by contract.
        unsafe { std::alloc::dealloc(pointer, layout) }
    }
}

/// `colla_plugin_v1`: null if the host is of another major version or its table is too short.
///
/// # Safety
/// `host` is null or points to a table whose functions live as long as the process.
#[cfg(not(target_family = "wasm"))]
pub unsafe fn native<T: Exported>(host: *const HostV1) -> *const PluginV1 {
    // SAFETY: by contract; `size` and `abi` are in every version of the table.
    let known = unsafe {
        !host.is_null() && (*host).size as usize >= size_of::<HostV1>() && (*host).abi >> 16 == ABI_VERSION >> 16
    };
    if !known {
        return std::ptr::null();
    }
    // SAFETY: long enough, so all of it is there.
    Host::set_table(unsafe { host.read() });
    native_table::<T>()
}

#[cfg(not(target_family = "wasm"))]
fn native_table<T: Exported>() -> &'static PluginV1 {
    unsafe extern "C" fn create_c<T: Exported>(config: *const u8, len: usize, host: *mut u8, out: *mut *mut u8) -> i32 {
        // SAFETY: passed on, here and below.
        unsafe { create::<T>(config, len, host, out) }
    }
    unsafe extern "C" fn destroy_c<T: Exported>(context: *mut u8) {
        unsafe { destroy::<T>(context) }
    }
    unsafe extern "C" fn call_c<T: Exported>(context: *mut u8, op: u32, text: *const u8, len: usize) -> i32 {
        unsafe { call::<T>(context, op, text, len) }
    }
    unsafe extern "C" fn reply_c<T: Exported>(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
        unsafe { reply::<T>(context, out) }
    }
    unsafe extern "C" fn block_c<T: Exported>(context: *mut u8, op: u32, raw: *mut RawBlock<*mut u8>) -> i32 {
        unsafe { block::<T>(context, op, raw) }
    }
    unsafe extern "C" fn last_error_c<T: Exported>(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
        unsafe { last_error::<T>(context, out) }
    }
    const {
        &PluginV1 {
            size: size_of::<PluginV1>() as u32,
            abi: ABI_VERSION,
            create: create_c::<T>,
            destroy: destroy_c::<T>,
            call: call_c::<T>,
            reply: reply_c::<T>,
            block: block_c::<T>,
            last_error: last_error_c::<T>,
        }
    }
}

/// Runs `f` on the context's plugin and keeps its reply or its error.
///
/// # Safety
/// See the module's contract.
unsafe fn enter<T: Exported>(context: *mut u8, f: impl FnOnce(&mut T) -> Result<Option<Vec<u8>>>) -> i32 {
    // SAFETY: by contract nobody else uses the context now.
    let Some(context) = (unsafe { context.cast::<Context<T>>().as_mut() }) else { return status::E_ARG };
    if context.poisoned {
        context.error = "this instance panicked before and cannot be used again".into();
        return status::E_STATE;
    }
    let plugin = &mut context.plugin;
    match guarded(context.host, || f(plugin)) {
        Ok(reply) => {
            context.reply = reply.unwrap_or_default();
            status::OK
        }
        Err(error) => {
            context.poisoned = error.code == status::E_PANIC;
            context.error = error.message;
            error.code
        }
    }
}

/// Runs `f` with `host` at hand; a panic becomes `E_PANIC`. (In WASM it has been logged by then, and traps.)
fn guarded<R>(host: Host, f: impl FnOnce() -> Result<R>) -> Result<R> {
    let _entered = host.enter();
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        // Dropping an unknown payload could panic again, out here where nothing catches it. The leak is bounded:
        // a panic ends its instance.
        if !payload.is::<String>() && !payload.is::<&str>() {
            std::mem::forget(payload);
        }
        let message = PANIC.take().unwrap_or_else(|| "the plugin panicked".into());
        Err(Error { code: status::E_PANIC, message })
    })
}

/// Sees to it that the text and place of a panic inside the plugin reach the host instead of standard error.
fn record_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or("no message");
            let text = match info.location() {
                Some(at) => format!("panicked at {}:{}: {text}", at.file(), at.line()),
                None => format!("panicked: {text}"),
            };
            match Host::is_entered() {
                true if cfg!(target_family = "wasm") => crate::log::error(&text),
                true => PANIC.set(Some(text)),
                false => previous(info),
            }
        }));
    });
}

/// # Safety
/// `text` is readable for `len` bytes, or `len` is 0.
unsafe fn message(text: *const u8, len: usize) -> Option<Map> {
    if len == 0 {
        return Some(Map::new());
    }
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { std::slice::from_raw_parts(text, len) }).and_then(Map::decode)
}

fn raw_slice(bytes: &[u8]) -> RawSlice<*const u8, usize> {
    RawSlice { ptr: bytes.as_ptr(), len: bytes.len() }
}
