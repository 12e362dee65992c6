//! One sandboxed instance: its buffers, its calls, and every check on what comes back.
//!
//! Where in the flow: behind [`Instance`], one for each thread.
//! What it never does: keep a pointer or slice into guest memory over a call; memory may grow and move meanwhile.

use super::{
    Compiled, State,
    limits::{Limiter, Limits, MIB, arm, explain},
};
use crate::plugin::{
    Block, Buffer, Callbacks, Done, Instance, PluginFailure, Span,
    failure::{self, ALLOC, CREATE, CreateFailure, DESTROY, MAX_ERROR_BYTES, MAX_REPLY_BYTES},
    operation_name,
    raw::{self, GUEST_BLOCK_BYTES, GUEST_OUTPUT_LEN},
    setup::Setup,
};
use colla_plugin_sdk::{Map, abi::status};
use std::{collections::BTreeMap, ops::Range};
use wasmtime::{Memory, Store, TypedFunc, WasmParams, WasmResults};

/// Alignment of buffers: a cache line, and more than any vector instruction wants.
const ALIGN: usize = 64;
/// What an allocator may need beside the bytes asked for.
const ALLOC_OVERHEAD: usize = 2 * ALIGN;
/// Scratch memory: results at 0, a message from here on.
const MESSAGE_AT: usize = 16;
const FIRST_SCRATCH_BYTES: usize = 4_096;

struct Exports {
    abi_version: TypedFunc<(), u32>,
    create: TypedFunc<(u32, u32, u32, u32), i32>,
    destroy: TypedFunc<u32, ()>,
    alloc: TypedFunc<(u32, u32), u32>,
    free: TypedFunc<(u32, u32, u32), ()>,
    call: TypedFunc<(u32, u32, u32, u32), i32>,
    reply: TypedFunc<(u32, u32), ()>,
    block: TypedFunc<(u32, u32, u32), i32>,
    last_error: TypedFunc<(u32, u32), ()>,
}

pub(super) struct WasmInstance {
    plugin: String,
    limits: Limits,
    payload_elements: u64,
    store: Store<State>,
    memory: Memory,
    exports: Exports,
    /// The guest's handle of the created plugin; 0 until then.
    context: u32,
    /// For blocks, messages and results, in guest memory.
    scratch: Range<usize>,
    buffers: Vec<Range<usize>>,
    /// All ranges that the guest gave, by start, to notice one given twice.
    given: BTreeMap<usize, usize>,
    /// Kept between calls so that a block call allocates nothing.
    pointers: Vec<u32>,
    stopped: bool,
}

impl WasmInstance {
    pub fn new(compiled: &Compiled, setup: &Setup<'_>, limits: Limits) -> Result<Self, CreateFailure> {
        let mut instance = Self::start(compiled, setup, limits)?;
        instance.check_abi_version(compiled.abi_version)?;
        instance.create(setup.config)
    }

    /// Memory and functions. The limits hold from the first instruction on, which may be one of a start function.
    fn start(compiled: &Compiled, setup: &Setup<'_>, limits: Limits) -> Result<Self, PluginFailure> {
        let fail = |message| PluginFailure { plugin: setup.plugin.into(), operation: CREATE, message, refusal: None };
        let state = State {
            callbacks: setup.callbacks,
            log: setup.log.clone(),
            limiter: Limiter { plugin_bytes: limits.memory_bytes, host_bytes: 0, refused: None },
            memory: None,
            last_words: String::new(),
        };
        let mut store = Store::new(compiled.pre.module().engine(), state);
        store.limiter(|state| &mut state.limiter);
        let payload_elements = setup.payload_elements as u64;
        arm(&mut store, &limits, payload_elements).map_err(fail)?;
        let instance = compiled.pre.instantiate(&mut store);
        let instance = instance.map_err(|e| fail(explain(&e, store.data(), &limits, payload_elements)))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| fail("it has no memory".into()))?;
        store.data_mut().memory = Some(memory);
        macro_rules! export {
            ($name:literal) => {
                instance
                    .get_typed_func(&mut store, $name)
                    .map_err(|e| fail(format!("its export `{}`: {e:#}", $name)))?
            };
        }
        let exports = Exports {
            abi_version: export!("colla_abi_version"),
            create: export!("colla_create"),
            destroy: export!("colla_destroy"),
            alloc: export!("colla_alloc"),
            free: export!("colla_free"),
            call: export!("colla_call"),
            reply: export!("colla_reply"),
            block: export!("colla_block"),
            last_error: export!("colla_last_error"),
        };
        Ok(WasmInstance {
            plugin: setup.plugin.into(),
            limits,
            payload_elements,
            store,
            memory,
            exports,
            context: 0,
            scratch: 0..0,
            buffers: Vec::new(),
            given: BTreeMap::new(),
            pointers: Vec::new(),
            stopped: false,
        })
    }

    fn check_abi_version(&mut self, declared: u32) -> Result<(), PluginFailure> {
        let version = self.enter(CREATE, 0, |e| e.abi_version.clone(), ())?;
        if version == declared {
            return Ok(());
        }
        let dotted = |version: u32| format!("{}.{}", version >> 16, version & 0xffff);
        Err(self.fail(
            CREATE,
            format!("its code answers ABI {}, its manifest says {}; rebuild it", dotted(version), dotted(declared)),
        ))
    }

    fn create(mut self, config: &[u8]) -> Result<Self, CreateFailure> {
        let (config, len) = self.put_message(CREATE, config)?;
        let out = self.scratch.start as u32;
        let code = self.enter(CREATE, 0, |e| e.create.clone(), (config, len, 0, out))?;
        if code != status::OK {
            // The context is 0 here, with which the ABI gives the message of a failed create.
            return Err(CreateFailure { bad_parameters: code == status::E_CONFIG, failure: self.status(CREATE, code) });
        }
        self.context = self.word_at(self.scratch.start);
        Ok(self)
    }

    /// Ends the plugin's life in good order. Dropping the instance frees its memory without asking it.
    pub fn destroy(mut self) -> Result<(), PluginFailure> {
        self.enter(DESTROY, 0, |e| e.destroy.clone(), self.context)
    }

    /// Runs an export under fresh limits. A trap stops the instance for good: its memory may be half written.
    fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        operation: &'static str,
        elements: u64,
        function: impl Fn(&Exports) -> TypedFunc<P, R>,
        arguments: P,
    ) -> Result<R, PluginFailure> {
        if self.stopped {
            return Err(self.fail(operation, failure::STOPPED));
        }
        let elements = elements.max(self.payload_elements);
        arm(&mut self.store, &self.limits, elements).map_err(|message| self.fail(operation, message))?;
        function(&self.exports).call(&mut self.store, arguments).map_err(|e| {
            self.stopped = true;
            self.fail(operation, explain(&e, self.store.data(), &self.limits, elements))
        })
    }

    fn fail(&self, operation: &'static str, message: impl Into<String>) -> PluginFailure {
        PluginFailure { plugin: self.plugin.clone(), operation, message: message.into(), refusal: None }
    }

    /// The failure that a status code and the plugin's own text make. Its text may be missing, the code is not.
    fn status(&mut self, operation: &'static str, code: i32) -> PluginFailure {
        let asked = self.enter(operation, 0, |e| e.last_error.clone(), (self.context, self.scratch.start as u32));
        let text = asked.ok().and_then(|()| {
            let range = self.slice_at(self.scratch.start)?;
            let memory = self.memory.data(&self.store).get(range)?;
            Some(memory[..memory.len().min(MAX_ERROR_BYTES)].to_vec())
        });
        let text = text.unwrap_or_default();
        let refusal = failure::refusal(code, &text);
        PluginFailure { refusal, ..self.fail(operation, failure::status_text(code, &text)) }
    }

    /// Memory of the guest's own allocator for the host's use, checked to be what was asked for.
    fn take(&mut self, operation: &'static str, bytes: usize) -> Result<Range<usize>, PluginFailure> {
        let padded = bytes.max(1).checked_next_multiple_of(ALIGN);
        let Some((padded, size)) = padded.and_then(|padded| Some((padded, u32::try_from(padded).ok()?))) else {
            return Err(self.fail(operation, format!("{bytes} bytes are beyond a guest's memory")));
        };
        let extra = padded + ALLOC_OVERHEAD;
        self.store.data_mut().limiter.host_bytes += extra;
        let start = self.enter(operation, padded as u64 / 4, |e| e.alloc.clone(), (size, ALIGN as u32))? as usize;
        if start == 0 {
            let limiter = &mut self.store.data_mut().limiter;
            limiter.host_bytes -= extra;
            let allowed = limiter.allowed() / MIB;
            return Err(
                self.fail(operation, format!("it gave no memory for {bytes} bytes; {allowed} MiB are allowed it"))
            );
        }
        let range = start..start + padded;
        let problem = if !start.is_multiple_of(ALIGN) {
            Some("is not aligned to 64")
        } else if range.end > self.memory.data_size(&self.store) {
            Some("lies outside its memory")
        } else if self.overlaps_given(&range) {
            Some("overlaps memory that the host holds already")
        } else {
            None
        };
        if let Some(problem) = problem {
            self.stopped = true;
            return Err(self.fail(operation, format!("the memory it gave for {bytes} bytes, at {start}, {problem}")));
        }
        self.given.insert(range.start, range.end);
        Ok(range)
    }

    fn overlaps_given(&self, range: &Range<usize>) -> bool {
        self.given.range(..range.end).next_back().is_some_and(|(_, &end)| end > range.start)
    }

    /// Makes the scratch memory at least so large. What was in it is lost.
    fn reserve_scratch(&mut self, operation: &'static str, bytes: usize) -> Result<(), PluginFailure> {
        if self.scratch.len() >= bytes {
            return Ok(());
        }
        let old = self.scratch.clone();
        self.scratch = self.take(operation, bytes.max(FIRST_SCRATCH_BYTES).next_power_of_two())?;
        if !old.is_empty() {
            self.given.remove(&old.start);
            self.store.data_mut().limiter.host_bytes -= old.len() + ALLOC_OVERHEAD;
            let arguments = (old.start as u32, old.len() as u32, ALIGN as u32);
            self.enter(operation, 0, |e| e.free.clone(), arguments)?;
        }
        Ok(())
    }

    /// Writes a message behind the result slot of the scratch memory; its address and length.
    fn put_message(&mut self, operation: &'static str, message: &[u8]) -> Result<(u32, u32), PluginFailure> {
        self.reserve_scratch(operation, MESSAGE_AT + message.len())?;
        let at = self.scratch.start + MESSAGE_AT;
        self.memory.data_mut(&mut self.store)[at..at + message.len()].copy_from_slice(message);
        Ok((at as u32, message.len() as u32))
    }

    /// Reads a word of the scratch memory, which was checked to be inside; memory never shrinks.
    fn word_at(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.memory.data(&self.store)[at..at + 4]);
        u32::from_le_bytes(word)
    }

    /// The range that a slice written by the guest names; it may be anywhere.
    fn slice_at(&self, at: usize) -> Option<Range<usize>> {
        let (start, len) = (self.word_at(at) as usize, self.word_at(at + 4) as usize);
        Some(start..start.checked_add(len)?)
    }

    fn read_reply(&mut self, operation: &'static str) -> Result<Map, PluginFailure> {
        self.enter(operation, 0, |e| e.reply.clone(), (self.context, self.scratch.start as u32))?;
        let range = self.slice_at(self.scratch.start).unwrap_or(0..usize::MAX);
        if range.len() > MAX_REPLY_BYTES {
            return Err(self.fail(operation, failure::reply_too_long(range.len())));
        }
        match self.memory.data(&self.store).get(range) {
            None => Err(self.fail(operation, "its reply lies outside its memory")),
            Some(bytes) => Map::decode(bytes).ok_or_else(|| self.fail(operation, failure::BAD_REPLY)),
        }
    }

    /// Writes block and pointer arrays into the scratch memory.
    fn put_block(&mut self, operation: &'static str, block: &Block<'_>) -> Result<(), PluginFailure> {
        let pointers = block.rows.len() + block.states.len() + block.rows_out.len();
        self.reserve_scratch(operation, GUEST_BLOCK_BYTES + pointers * 4)?;
        let lists = self.scratch.start + GUEST_BLOCK_BYTES;
        let resolve = |span: Span, bytes: usize| {
            let buffer = self.buffers.get(span.buffer.0)?;
            let inside = span.start.checked_add(bytes)? <= buffer.len();
            inside.then_some((buffer.start + span.start) as u32)
        };
        let array = |_: &[u32], first: usize| (lists + first * 4) as u32;
        let raw = raw::translate(block, 0, &mut self.pointers, resolve, array)
            .map_err(|problem| self.fail(operation, format!("the host made a wrong block: {problem}")))?;
        let memory = &mut self.memory.data_mut(&mut self.store)[self.scratch.clone()];
        memory[..GUEST_BLOCK_BYTES].copy_from_slice(&raw::guest_bytes(&raw));
        let lists = memory[GUEST_BLOCK_BYTES..].chunks_exact_mut(4);
        lists.zip(&self.pointers).for_each(|(to, pointer)| to.copy_from_slice(&pointer.to_le_bytes()));
        Ok(())
    }
}

impl Instance for WasmInstance {
    fn set_callbacks(&mut self, callbacks: Callbacks) {
        self.store.data_mut().callbacks = callbacks;
    }

    fn call(&mut self, op: u32, message: &Map) -> Result<Map, PluginFailure> {
        let operation = operation_name(op);
        let (message, len) = self.put_message(operation, &message.encode())?;
        let arguments = (self.context, op, message, len);
        match self.enter(operation, u64::from(len), |e| e.call.clone(), arguments)? {
            status::OK => self.read_reply(operation),
            status::SKIP => Ok(Map::new()),
            code => Err(self.status(operation, code)),
        }
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer, PluginFailure> {
        let range = self.take(ALLOC, bytes)?;
        self.memory.data_mut(&mut self.store)[range.clone()].fill(0);
        self.buffers.push(range.start..range.start + bytes);
        Ok(Buffer(self.buffers.len() - 1))
    }

    fn bytes(&self, buffer: Buffer) -> &[u8] {
        &self.memory.data(&self.store)[self.buffers[buffer.0].clone()]
    }

    fn bytes_mut(&mut self, buffer: Buffer) -> &mut [u8] {
        &mut self.memory.data_mut(&mut self.store)[self.buffers[buffer.0].clone()]
    }

    fn block(&mut self, op: u32, block: &Block<'_>) -> Result<Done, PluginFailure> {
        let operation = operation_name(op);
        self.put_block(operation, block)?;
        let at = self.scratch.start;
        let arguments = (self.context, op, at as u32);
        let skipped = match self.enter(operation, raw::elements(block), |e| e.block.clone(), arguments)? {
            status::OK => false,
            status::SKIP => true,
            code => return Err(self.status(operation, code)),
        };
        let written = if skipped { 0 } else { self.word_at(at + GUEST_OUTPUT_LEN) as usize };
        let capacity = block.output.map_or(0, |output| output.len);
        if written > capacity {
            return Err(self.fail(operation, failure::output_too_long(written, capacity)));
        }
        Ok(Done { skipped, output_len: written })
    }
}
