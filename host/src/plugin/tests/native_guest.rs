//! A native plugin without the SDK, so that the ABI's structs are written down a second time.
//! The tests compile it with `rustc --crate-type cdylib`; it is no module of the host.
//!
//! Blocks: REDUCE sums rows; APPLY fills `out` by `rand_fill(vector, unit, offset, k, out, n)`; ENCODE claims more
//! output than there is room; DECODE panics as the SDK reports it. Calls: SAVE echoes; LOAD replies too long;
//! ROUND_END logs its message.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

const MANIFEST: &[u8] = include_bytes!(env!("NATIVE_GUEST_MANIFEST"));

#[used]
#[cfg_attr(all(unix, not(target_vendor = "apple")), unsafe(link_section = ".colla.manifest"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__colla_manif"))]
#[cfg_attr(windows, unsafe(link_section = ".collam"))]
static SECTION: [u8; MANIFEST.len()] = *MANIFEST.first_chunk().unwrap();

#[repr(C)]
struct Host {
    size: u32,
    abi: u32,
    log: unsafe extern "C" fn(*mut c_void, u32, *const u8, usize),
    rand_fill: unsafe extern "C" fn(*mut c_void, u32, u32, u64, u32, *mut c_void, usize) -> i32,
}

#[repr(C)]
struct Slice {
    pointer: *const u8,
    len: usize,
}

#[repr(C)]
struct Block {
    size: u32,
    flags: u32,
    offset: u64,
    vector: u32,
    unit: u32,
    n: u32,
    k: u32,
    rows: *const *const f32,
    weights: *const f64,
    table: *const f64,
    base: *const f32,
    states: *const *mut f32,
    out: *mut f32,
    rows_out: *const *mut f32,
    mix_out: *mut f64,
    input: *const u8,
    output: *mut u8,
    counts: [u32; 6],
    output_len: u32,
    reserved: u32,
}

#[repr(C)]
struct Table {
    size: u32,
    abi: u32,
    create: unsafe extern "C" fn(*const u8, usize, *mut c_void, *mut *mut Context) -> i32,
    destroy: unsafe extern "C" fn(*mut Context),
    call: unsafe extern "C" fn(*mut Context, u32, *const u8, usize) -> i32,
    reply: unsafe extern "C" fn(*mut Context, *mut Slice),
    block: unsafe extern "C" fn(*mut Context, u32, *mut Block) -> i32,
    last_error: unsafe extern "C" fn(*mut Context, *mut Slice),
}

struct Context {
    host: *mut c_void,
    reply: Vec<u8>,
}

static mut HOST: *const Host = null();

unsafe extern "C" fn create(config: *const u8, len: usize, host: *mut c_void, out: *mut *mut Context) -> i32 {
    let config = unsafe { std::slice::from_raw_parts(config, len) };
    if config.is_empty() {
        return -2;
    }
    unsafe { *out = Box::into_raw(Box::new(Context { host, reply: config.to_vec() })) };
    0
}

unsafe extern "C" fn destroy(context: *mut Context) {
    drop(unsafe { Box::from_raw(context) });
}

unsafe extern "C" fn call(context: *mut Context, op: u32, text: *const u8, len: usize) -> i32 {
    let context = unsafe { &mut *context };
    context.reply = unsafe { std::slice::from_raw_parts(text, len) }.to_vec();
    match op {
        5 => unsafe { ((*HOST).log)(context.host, 2, text, len) },
        6 => {}
        7 => context.reply = vec![0; (1 << 20) + 1],
        _ => return -3,
    }
    0
}

unsafe extern "C" fn reply(context: *mut Context, out: *mut Slice) {
    let reply = unsafe { &(*context).reply };
    unsafe { *out = Slice { pointer: reply.as_ptr(), len: reply.len() } };
}

unsafe extern "C" fn block(context: *mut Context, op: u32, block: *mut Block) -> i32 {
    let b = unsafe { &mut *block };
    if b.size as usize != size_of::<Block>() || b.flags != 0 || b.reserved != 0 {
        return -1;
    }
    match op {
        34 => unsafe {
            for i in 0..b.n as usize {
                *b.out.add(i) = (0..b.k as usize).map(|k| *(*b.rows.add(k)).add(i)).sum();
            }
            0
        },
        36 => unsafe {
            ((*HOST).rand_fill)((*context).host, b.vector, b.unit, b.offset, b.k, b.out.cast(), b.n as usize)
        },
        39 => {
            b.output_len = b.counts[5] + 1;
            0
        }
        40 => -7,
        _ => -3,
    }
}

unsafe extern "C" fn last_error(context: *mut Context, out: *mut Slice) {
    let text: &[u8] = if context.is_null() { b"no parameters at all" } else { b"the \x1b[31mnative\nguest says no" };
    unsafe { *out = Slice { pointer: text.as_ptr(), len: text.len() } };
}

static TABLE: Table = Table {
    size: if cfg!(old_table) { 16 } else { size_of::<Table>() as u32 },
    abi: 1 << 16,
    create,
    destroy,
    call,
    reply,
    block,
    last_error,
};

#[cfg(not(no_symbol))]
#[unsafe(no_mangle)]
unsafe extern "C" fn colla_plugin_v1(host: *const Host) -> *const Table {
    if cfg!(refuses) || unsafe { (*host).abi } >> 16 != 1 {
        return null_mut();
    }
    unsafe { HOST = host };
    &TABLE
}
