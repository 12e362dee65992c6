//! The WASM form of a plugin: the only user of wasmtime, here and in the modules below.
//!
//! Where in the flow: a checked file becomes a [`Compiled`] module once, and an instance per thread from it. The modules of
//! shipped plugins stay for the next experiment of the process: compiling one takes longer than a small experiment.
//! One engine serves the process. Each instance has its own store, so one thread at a time uses it.
//! What it never does: let a guest choose how long it runs, how much memory it takes, or which host memory it touches.
//! There is no unsafe code: updates lie in ordinary guest memory, which wasmtime hands out as a slice.

mod instance;
pub(super) mod limits;

use super::{
    Callbacks, Instance,
    failure::CreateFailure,
    log::{Log, MAX_LOG_BYTES},
    module,
    setup::Setup,
    streams::{self, Request},
    text,
};
use colla_plugin_sdk::abi::{IMPORT_MODULE, rand_kind, status};
use instance::WasmInstance;
use limits::{Limiter, Limits, SANDBOX};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};
use wasmtime::{Caller, Config, Engine, InstancePre, Linker, Memory, Module, Trap};

/// Granularity of the wall-clock limit.
const TICK: Duration = Duration::from_millis(10);
/// A module that takes longer to compile is refused. Within the limits of `module.rs` it takes a few seconds at most.
const COMPILE_LIMIT: Duration = Duration::from_secs(60);

/// A shipped module, or what is wrong with it.
type Compilation = Result<Arc<Compiled>, String>;

/// A module that passed every check, compiled and linked to the host's two functions.
pub(super) struct Compiled {
    pre: InstancePre<State>,
    /// What `colla_abi_version` must answer.
    abi_version: u32,
}

impl Compiled {
    /// Checks and compiles. Errors: what is wrong with the module, ready to stand behind the file's name.
    pub fn new(bytes: &[u8], abi_version: u32) -> Result<Self, String> {
        module::check(bytes)?;
        let engine = engine()?;
        let module = compile(engine, bytes.to_vec())?;
        let mut linker = Linker::new(engine);
        let linked = linker
            .func_wrap(IMPORT_MODULE, "log", import_log)
            .and_then(|linker| linker.func_wrap(IMPORT_MODULE, "rand_fill", import_rand_fill))
            .and_then(|linker| linker.instantiate_pre(&module));
        let pre = linked.map_err(|e| format!("its imports cannot be linked: {e:#}"))?;
        Ok(Compiled { pre, abi_version })
    }

    /// The same for a file that is compiled into the host, once per process. Errors: as [`Compiled::new`].
    pub fn shipped(bytes: &'static [u8], abi_version: u32) -> Compilation {
        /// By the address of the file's bytes, which never move; there are as many as the host has plugins.
        static MODULES: Mutex<BTreeMap<usize, Arc<OnceLock<Compilation>>>> = Mutex::new(BTreeMap::new());
        let place = bytes.as_ptr() as usize;
        // Held for the look-up only, so different modules compile side by side, and whatever panics leaves the map whole.
        let module = MODULES.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        module.get_or_init(|| Compiled::new(bytes, abi_version).map(Arc::new)).clone()
    }

    /// A new instance under the limits of the payload.
    pub fn instantiate(&self, setup: &Setup<'_>) -> Result<Box<dyn Instance>, CreateFailure> {
        Ok(Box::new(WasmInstance::new(self, setup, Limits::for_payload(setup.payload_elements))?))
    }

    /// Creates and destroys an instance.
    pub fn try_out(&self, setup: &Setup<'_>) -> Result<(), CreateFailure> {
        let instance = WasmInstance::new(self, setup, Limits::for_payload(setup.payload_elements))?;
        Ok(instance.destroy()?)
    }
}

/// The engine of this process and its ticker, made when the first module is compiled.
fn engine() -> Result<&'static Engine, String> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let start = || {
        let engine =
            Engine::new(&configuration()).map_err(|e| format!("the WebAssembly engine cannot start: {e:#}"))?;
        let ticking = engine.clone();
        let tick = move || {
            loop {
                thread::sleep(TICK);
                ticking.increment_epoch();
            }
        };
        let ticker = thread::Builder::new().name("plugin-clock".into()).spawn(tick);
        ticker.map_err(|e| format!("no thread for the plugins' clock: {e}"))?;
        Ok(engine)
    };
    ENGINE.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// Fuel makes the limit of a call the same everywhere; epochs bound the time that its instructions may take.
/// Measured on the mean of 10 resident rows of 1.66 million floats in blocks of 65,536, one thread, GB/s: neither 30.0,
/// fuel 28.9, epochs 26.6, both 27.3; the same code as a native library 30.0. NaN canonicalisation stays off: it halves the speed, and the host checks finiteness.
fn configuration() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(SANDBOX.stack_bytes)
        .wasm_backtrace_max_frames(None)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false);
    config
}

fn compile(engine: &Engine, bytes: Vec<u8>) -> Result<Module, String> {
    let (sender, receiver) = mpsc::channel();
    let engine = engine.clone();
    let work = move || {
        // Nobody listens any more if the compiler took too long.
        let _ = sender.send(Module::from_binary(&engine, &bytes));
    };
    thread::Builder::new()
        .name("plugin-compiler".into())
        .spawn(work)
        .map_err(|e| format!("no thread to compile it: {e}"))?;
    match receiver.recv_timeout(COMPILE_LIMIT) {
        Ok(module) => module.map_err(|e| format!("it does not compile: {e:#}")),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(format!("compiling it takes longer than {} s", COMPILE_LIMIT.as_secs()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("the compiler fails on it".into()),
    }
}

/// What the host keeps beside a guest.
struct State {
    callbacks: Callbacks,
    log: Arc<Log>,
    limiter: Limiter,
    /// Known from instantiation on; a start function runs before.
    memory: Option<Memory>,
    /// What the guest logged as an error during this call: how a Rust plugin's panic message gets out.
    last_words: String,
}

fn memory_of(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    let memory = caller.data().memory.or_else(|| caller.get_export("memory").and_then(|export| export.into_memory()));
    memory.ok_or_else(|| wasmtime::Error::msg("it called the host before its memory existed"))
}

/// Host work costs fuel too, or a loop over a callback would be cheaper than the work that it makes.
fn charge(caller: &mut Caller<'_, State>, fuel: u64) -> wasmtime::Result<()> {
    match caller.get_fuel()?.checked_sub(fuel) {
        Some(left) => caller.set_fuel(left),
        None => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

fn import_log(mut caller: Caller<'_, State>, level: u32, text: u32, len: u32) -> wasmtime::Result<()> {
    let shown = (len as usize).min(MAX_LOG_BYTES);
    charge(&mut caller, 1_000 + shown as u64)?;
    let (memory, state) = memory_of(&mut caller)?.data_and_store_mut(&mut caller);
    let start = text as usize;
    // The whole range must be there, but no more than the limit is looked at; one byte more marks the cut.
    let range = memory.get(start..start.saturating_add(len as usize));
    let bytes = range.ok_or_else(|| wasmtime::Error::msg("it gave `log` a text outside its memory"))?;
    let bytes = &bytes[..bytes.len().min(shown + 1)];
    if level >= 3 {
        state.last_words = text::printable(bytes, super::failure::MAX_ERROR_BYTES);
    }
    state.log.message(level, bytes);
    Ok(())
}

fn import_rand_fill(
    mut caller: Caller<'_, State>,
    scope: u32,
    stream: u32,
    offset: u64,
    kind: u32,
    out: u32,
    n: u32,
) -> wasmtime::Result<i32> {
    let request = Request { scope, stream, offset, kind, n: n as usize };
    let Some(bytes) = request.bytes() else { return Ok(status::E_ARG) };
    charge(&mut caller, u64::from(n) * if kind == rand_kind::NORMAL { 40 } else { 8 })?;
    let (memory, state) = memory_of(&mut caller)?.data_and_store_mut(&mut caller);
    let start = out as usize;
    let Some(out) = memory.get_mut(start..start.saturating_add(bytes)) else { return Ok(status::E_ARG) };
    streams::fill(&state.callbacks, &request, out);
    Ok(status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Block, tests::Guest};

    #[test]
    fn the_wall_clock_stops_what_fuel_lets_run() {
        let compiled =
            Compiled::new(&Guest::new().with_block("(loop $again (br $again)) (i32.const 0)").module(), 1 << 16);
        let limits = Limits { fuel: u64::MAX / 2, wall: Duration::from_millis(50), ..Limits::for_payload(0) };
        let setup = Setup {
            plugin: "guest",
            config: &[],
            callbacks: Callbacks { run_seed: 0, position: 0, round: 0, client: 0 },
            payload_elements: 0,
            rng: false,
            log: &Arc::new(Log::new("guest")),
        };
        let mut instance = WasmInstance::new(&compiled.unwrap(), &setup, limits).unwrap();
        let start = std::time::Instant::now();
        let failure = instance.block(34, &Block::default()).unwrap_err();
        assert_eq!(failure.message, "it ran longer than 0.05 s");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
