//! The native form of a plugin: the only user of libloading.
//!
//! Where in the flow: a file whose hash the user approved becomes a [`Library`] once, and an instance per thread.
//! What it never does: load a file that was not approved, load other bytes than those that were hashed, or unload.
//!
//! A native plugin runs inside the host with all its rights, from its constructors on. The checks here catch mistakes,
//! not malice: that is what approving by hash is for. The SAFETY comments below rest on the ABI's contract, which an
//! approved plugin is trusted to keep: its functions take what `abi.rs` says they take, write only where a block lets
//! them, keep no pointer over a call, and are used by one thread at a time for each context.

// The paths are where they would be anyway, but for `host/miri`, which reaches this file by one.
#[path = "native/instance.rs"]
mod instance;
#[cfg(test)]
#[path = "native/tests.rs"]
mod tests;

use super::{
    Callbacks, Instance,
    failure::CreateFailure,
    log::{Log, MAX_LOG_BYTES},
    setup::Setup,
    streams::{self, Request},
};
use colla_plugin_sdk::abi::{ABI_VERSION, HostV1, NATIVE_SYMBOL, PluginV1, RawSlice, status};
use instance::NativeInstance;
use std::{
    collections::BTreeMap,
    io::Write,
    mem::size_of,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex},
};

/// What the host gives to every native plugin.
static HOST: HostV1 =
    HostV1 { size: size_of::<HostV1>() as u32, abi: ABI_VERSION, log: host_log, rand_fill: host_rand_fill };

/// A loaded library's functions. The library stays loaded for the life of the process: code with thread-locals or
/// running threads cannot be unloaded safely.
#[derive(Clone, Copy)]
pub(super) struct Library {
    table: &'static PluginV1,
}

impl Library {
    /// Loads approved bytes; the same bytes are loaded once. Errors: what is wrong, ready to stand behind the name.
    pub fn open(bytes: &[u8], blake3: &str, abi_version: u32, allow_native: &[String]) -> Result<Self, String> {
        if !allow_native.iter().any(|allowed| allowed.trim().eq_ignore_ascii_case(blake3)) {
            return Err(format!(
                "it is native code, which can do whatever you can; if you trust this very file, approve it with \
                 `--allow-native={blake3}`"
            ));
        }
        static OPENED: Mutex<BTreeMap<String, Library>> = Mutex::new(BTreeMap::new());
        // The map is written after everything that can panic.
        let mut opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(library) = opened.get(blake3) {
            return Ok(*library);
        }
        let library = load(bytes, abi_version)?;
        opened.insert(blake3.into(), library);
        Ok(library)
    }

    pub fn instantiate(self, setup: &Setup<'_>) -> Result<Box<dyn Instance>, CreateFailure> {
        Ok(Box::new(NativeInstance::new(self.table, setup)?))
    }
}

fn load(bytes: &[u8], abi_version: u32) -> Result<Library, String> {
    let io = |e: std::io::Error| format!("it cannot be copied to a private place for loading: {e}");
    // From a copy that only this user can write, so that nobody changes the file between hash and load.
    let mut place = tempfile::Builder::new();
    place.prefix("colla-plugin-");
    #[cfg(unix)]
    place.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let place = place.tempdir().map_err(io)?;
    let path = place.path().join(libloading::library_filename("plugin"));
    let mut copy = std::fs::File::create_new(&path).map_err(io)?;
    copy.write_all(bytes).and_then(|()| copy.sync_all()).map_err(io)?;
    drop(copy);
    // Where a loaded file can be deleted it is deleted here, when `place` goes; elsewhere it stays in the user's
    // temporary folder.
    open_table(&path, abi_version)
}

/// The one symbol of a plugin's library.
type Entry = unsafe extern "C" fn(*const HostV1) -> *const PluginV1;

fn open_table(path: &Path, abi_version: u32) -> Result<Library, String> {
    // SAFETY: running the library's constructors is what the user approved by its hash.
    let library = unsafe { libloading::Library::new(path) };
    let library = library.map_err(|e| format!("the system cannot load it: {}", super::text::line(&e.to_string())))?;
    // Whatever follows, its code may have run: it stays.
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: the symbol of this name has this type in every version of the ABI.
    let entry = unsafe { library.get::<Entry>(NATIVE_SYMBOL.as_bytes()) };
    let entry = entry.map_err(|_| format!("it has no symbol `{NATIVE_SYMBOL}`; build it with the SDK"))?;
    // SAFETY: the symbol has this type, and the library stays loaded.
    unsafe { checked_table(*entry, abi_version) }
}

/// Asks a library for its table and checks what every version of the ABI lets it say.
///
/// # Safety
/// The function keeps the ABI's contract, and its code and its table stay for the life of the process.
unsafe fn checked_table(entry: Entry, abi_version: u32) -> Result<Library, String> {
    // SAFETY: by contract; the table it is given is static.
    let table = unsafe { entry(&HOST) };
    if table.is_null() {
        return Err("it refuses this host's ABI; rebuild it with the SDK of this release".into());
    }
    // SAFETY: not null, so a table that begins with its size and its version, in every version of the ABI.
    let (size, abi) = unsafe { ((&raw const (*table).size).read(), (&raw const (*table).abi).read()) };
    if abi != abi_version || (size as usize) < size_of::<PluginV1>() {
        return Err(format!(
            "its table has {size} bytes for ABI {}.{}, its manifest says ABI {}.{} (at least {} bytes); rebuild it",
            abi >> 16,
            abi & 0xffff,
            abi_version >> 16,
            abi_version & 0xffff,
            size_of::<PluginV1>()
        ));
    }
    // SAFETY: long enough by its own word, of a major version that this host speaks, and static in a leaked library.
    Ok(Library { table: unsafe { &*table } })
}

/// `level` of the log callback.
const LEVEL_ERROR: u32 = 3;
/// The same import is refused in a WASM module before it runs; a library's symbols do not tell.
const UNDECLARED_DRAW: &str =
    "it calls `rand_fill`, but its manifest says `\"rng\": false`; say `\"rng\": true` if it draws random numbers";

/// What `host_ctx` points to.
struct HostContext {
    callbacks: Callbacks,
    /// Whether the manifest lets the plugin draw.
    rng: bool,
    log: Arc<Log>,
}

/// Bytes that a plugin names, empty for null.
///
/// # Safety
/// The pointer is null, or readable for the length as long as the result is used.
unsafe fn foreign<'a>(slice: &RawSlice<*const u8, usize>) -> &'a [u8] {
    if slice.ptr.is_null() || slice.len == 0 {
        return &[];
    }
    // SAFETY: by contract.
    unsafe { std::slice::from_raw_parts(slice.ptr, slice.len) }
}

/// `log` for native plugins. A panic must not cross into the plugin's frames.
unsafe extern "C" fn host_log(host: *mut u8, level: u32, text: *const u8, len: usize) {
    // One byte more than is shown marks the cut.
    let text = RawSlice { ptr: text, len: len.min(MAX_LOG_BYTES + 1) };
    let show = || {
        // SAFETY: the plugin passes the context that it was created with, which outlives it, and a readable text.
        if let (Some(host), text) = unsafe { (host.cast::<HostContext>().as_ref(), foreign(&text)) } {
            host.log.message(level, text);
        }
    };
    // A message that cannot be shown is lost; there is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(show));
}

/// `rand_fill` for native plugins.
unsafe extern "C" fn host_rand_fill(
    host: *mut u8,
    scope: u32,
    stream: u32,
    offset: u64,
    kind: u32,
    out: *mut u8,
    n: usize,
) -> i32 {
    let fill = || {
        let request = Request { scope, stream, offset, kind, n };
        // SAFETY: the plugin passes the context that it was created with, which outlives it.
        let (Some(bytes), Some(host)) = (request.bytes(), unsafe { host.cast::<HostContext>().as_ref() }) else {
            return status::E_ARG;
        };
        if !host.rng {
            host.log.message(LEVEL_ERROR, UNDECLARED_DRAW.as_bytes());
            return status::E_STATE;
        }
        if bytes == 0 {
            return status::OK;
        }
        if out.is_null() {
            return status::E_ARG;
        }
        // SAFETY: the ABI has the plugin pass memory for `n` elements of four bytes, that is `bytes`.
        streams::fill(&host.callbacks, &request, unsafe { std::slice::from_raw_parts_mut(out, bytes) });
        status::OK
    };
    catch_unwind(AssertUnwindSafe(fill)).unwrap_or(status::E_INTERNAL)
}
