//! One native instance: its buffers, its calls, and the checks on what comes back.
//!
//! Where in the flow: behind [`Instance`], one for each thread. The contract that its SAFETY comments rest on stands in
//! `native.rs`.
//! What it never does: limit time or memory. There is no way to stop code that runs in the host.

use super::{HostContext, foreign};
use crate::plugin::{
    Block, Buffer, Callbacks, Done, Instance, PluginFailure, Span,
    failure::{self, ALLOC, CREATE, CreateFailure, MAX_ERROR_BYTES, MAX_REPLY_BYTES},
    operation_name, raw,
    setup::Setup,
};
use colla_plugin_sdk::{
    Map,
    abi::{PluginV1, RawSlice, status},
};
use std::{alloc::Layout, ptr::NonNull};

/// Zeroed memory aligned to 64, at least one byte, owned by raw pointer because the plugin writes it by raw pointer.
struct HostBuffer {
    start: NonNull<u8>,
    layout: Layout,
    bytes: usize,
}

impl HostBuffer {
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(1), 64).ok()?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(HostBuffer { start, layout, bytes })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: allocated with at least `bytes` zeroed bytes; borrows of the buffer follow those of the instance.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

pub(super) struct NativeInstance {
    plugin: String,
    table: &'static PluginV1,
    context: *mut u8,
    /// Made by `Box::into_raw`; the plugin holds a copy of this pointer until `destroy`.
    host: NonNull<HostContext>,
    buffers: Vec<HostBuffer>,
    /// Kept between calls so that a block call allocates nothing.
    pointers: Vec<*mut u8>,
    stopped: bool,
}

// SAFETY: the ABI lets a context move between threads as long as one uses it at a time, which `&mut self` sees to;
// the other pointers are to memory that this value owns.
unsafe impl Send for NativeInstance {}

impl NativeInstance {
    pub fn new(table: &'static PluginV1, setup: &Setup<'_>) -> Result<Self, CreateFailure> {
        let host = Box::new(HostContext { callbacks: setup.callbacks, rng: setup.rng, log: setup.log.clone() });
        let mut instance = NativeInstance {
            plugin: setup.plugin.into(),
            table,
            context: std::ptr::null_mut(),
            host: NonNull::from(Box::leak(host)),
            buffers: Vec::new(),
            pointers: Vec::new(),
            stopped: false,
        };
        let mut context = std::ptr::null_mut();
        // SAFETY: the configuration is readable for its length, `context` is writable, the host's side outlives it.
        let code = unsafe {
            (table.create)(setup.config.as_ptr(), setup.config.len(), instance.host.as_ptr().cast(), &mut context)
        };
        if code != status::OK {
            let failure = instance.status(CREATE, code);
            return Err(CreateFailure { bad_parameters: code == status::E_CONFIG, failure });
        }
        instance.context = context;
        Ok(instance)
    }

    fn fail(&self, operation: &'static str, message: impl Into<String>) -> PluginFailure {
        PluginFailure { plugin: self.plugin.clone(), operation, message: message.into(), refusal: None }
    }

    fn check_alive(&self, operation: &'static str) -> Result<(), PluginFailure> {
        if self.stopped { Err(self.fail(operation, failure::STOPPED)) } else { Ok(()) }
    }

    /// The failure of a status code. A panic stops the instance, as a trap does the WASM form.
    fn status(&mut self, operation: &'static str, code: i32) -> PluginFailure {
        let mut text = RawSlice { ptr: std::ptr::null(), len: 0 };
        // SAFETY: the context is live or null, which the ABI allows after a failed create; `text` is writable.
        unsafe { (self.table.last_error)(self.context, &mut text) };
        text.len = text.len.min(MAX_ERROR_BYTES);
        // SAFETY: the plugin's text stays until the next call on this context.
        let text = unsafe { foreign(&text) };
        let (message, refusal) = (failure::status_text(code, text), failure::refusal(code, text));
        self.stopped |= code == status::E_PANIC;
        PluginFailure { refusal, ..self.fail(operation, message) }
    }

    fn read_reply(&mut self, operation: &'static str) -> Result<Map, PluginFailure> {
        let mut reply = RawSlice { ptr: std::ptr::null(), len: 0 };
        // SAFETY: the context is live, `reply` is writable.
        unsafe { (self.table.reply)(self.context, &mut reply) };
        if reply.len > MAX_REPLY_BYTES {
            return Err(self.fail(operation, failure::reply_too_long(reply.len)));
        }
        // SAFETY: the reply stays until the next call on this context.
        Map::decode(unsafe { foreign(&reply) }).ok_or_else(|| self.fail(operation, failure::BAD_REPLY))
    }
}

impl Instance for NativeInstance {
    fn set_callbacks(&mut self, callbacks: Callbacks) {
        // SAFETY: made by `new`, freed by `drop`; the plugin does not run now, so nobody reads it.
        unsafe { (*self.host.as_ptr()).callbacks = callbacks };
    }

    fn call(&mut self, op: u32, message: &Map) -> Result<Map, PluginFailure> {
        let operation = operation_name(op);
        self.check_alive(operation)?;
        let message = message.encode();
        // SAFETY: the context is live, the message readable for its length.
        match unsafe { (self.table.call)(self.context, op, message.as_ptr(), message.len()) } {
            status::OK => self.read_reply(operation),
            status::SKIP => Ok(Map::new()),
            code => Err(self.status(operation, code)),
        }
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer, PluginFailure> {
        let buffer = HostBuffer::new(bytes);
        self.buffers.push(buffer.ok_or_else(|| self.fail(ALLOC, format!("there is no memory for {bytes} bytes")))?);
        Ok(Buffer(self.buffers.len() - 1))
    }

    fn bytes(&self, buffer: Buffer) -> &[u8] {
        self.buffers[buffer.0].bytes()
    }

    fn bytes_mut(&mut self, buffer: Buffer) -> &mut [u8] {
        self.buffers[buffer.0].bytes_mut()
    }

    fn block(&mut self, op: u32, block: &Block<'_>) -> Result<Done, PluginFailure> {
        let operation = operation_name(op);
        self.check_alive(operation)?;
        let mut pointers = std::mem::take(&mut self.pointers);
        let resolve = |span: Span, bytes: usize| {
            let buffer = self.buffers.get(span.buffer.0)?;
            let inside = span.start.checked_add(bytes)? <= buffer.bytes;
            // SAFETY: inside the buffer's allocation.
            inside.then(|| unsafe { buffer.start.add(span.start).as_ptr() })
        };
        // The list is complete and does not move from here to the end of the call.
        let array = |list: &[*mut u8], first: usize| list[first..].as_ptr().cast_mut().cast();
        let raw = raw::translate(block, std::ptr::null_mut(), &mut pointers, resolve, array);
        let raw = raw.map_err(|problem| self.fail(operation, format!("the host made a wrong block: {problem}")));
        let code = raw.map(|mut raw| {
            // SAFETY: the context is live; every pointer was checked to have its elements behind it, and no range
            // that is written overlaps another.
            let code = unsafe { (self.table.block)(self.context, op, &mut raw) };
            (code, raw.output_len as usize)
        });
        self.pointers = pointers;
        let (skipped, written) = match code? {
            (status::OK, written) => (false, written),
            (status::SKIP, _) => (true, 0),
            (code, _) => return Err(self.status(operation, code)),
        };
        let capacity = block.output.map_or(0, |output| output.len);
        if written > capacity {
            return Err(self.fail(operation, failure::output_too_long(written, capacity)));
        }
        Ok(Done { skipped, output_len: written })
    }
}

impl Drop for NativeInstance {
    fn drop(&mut self) {
        if !self.context.is_null() {
            // SAFETY: the context is live and not used again.
            unsafe { (self.table.destroy)(self.context) };
        }
        // SAFETY: made by `Box::leak` in `new`; the plugin, which held the only other copy, has been destroyed.
        drop(unsafe { Box::from_raw(self.host.as_ptr()) });
    }
}
