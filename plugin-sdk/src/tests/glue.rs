//! The export glue: panics, errors and malformed calls end in a status and a message, never in the host.

use crate::abi::{ABI_VERSION, HostV1, RawBlock, op, status};
use crate::export::{self, Exported};
use crate::random::{self, Scope};
use crate::testing::{Fields, HOST, Testbed};
use crate::{Block, Error, Map, Parameters, Plugin, Result, roles};
use std::ptr::null_mut;

/// Does what its parameter `act` and the operation say.
struct Probe {
    act: String,
}

impl Plugin for Probe {
    fn create(parameters: &Parameters) -> Result<Self> {
        match parameters.choice("act")? {
            "refuse" => Err(Error::config("refused")),
            "panic" => panic!("in create"),
            act => Ok(Probe { act: act.into() }),
        }
    }

    fn round_begin(&mut self, _message: &Map) -> Result<Map> {
        panic!("round {}", self.act)
    }

    fn round_end(&mut self, message: &Map) -> Result<Map> {
        crate::log::warning(&format!("round {} is over", message.i64("round").unwrap_or(0)));
        let mut drawn = [0u32; 2];
        random::u32s(Scope::Round, 0, 0, &mut drawn)?;
        Ok(Map::new().with("drawn", drawn[0]))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(self.act != "drop", "in drop");
    }
}

impl Exported for Probe {
    const MANIFEST: &'static [u8] = br#"{"params": [{"name": "act", "type": "choice", "default": "work"}]}"#;

    fn answer(&mut self, operation: u32, message: &Map) -> Result<Map> {
        roles::plugin::call(self, operation, message)
    }

    fn work(&mut self, _: u32, block: &mut Block<'_>) -> Result<()> {
        block.output.put(&[1, 2, 3])
    }
}

fn probe(act: &str) -> Result<Testbed<Probe>> {
    Testbed::try_new(&[("act", act.into())])
}

#[test]
fn a_failed_create_leaves_its_message() {
    assert_eq!(probe("refuse").err(), Some(Error::config("refused")));
    let panicked = probe("panic").err().unwrap();
    assert_eq!(panicked.code, status::E_PANIC);
    assert!(panicked.message.starts_with("panicked at ") && panicked.message.ends_with(": in create"), "{panicked}");
}

#[test]
fn a_panic_ends_its_instance_and_no_other() {
    let (mut broken, mut other) = (probe("work").unwrap(), probe("work").unwrap());
    let error = broken.call(op::ROUND_BEGIN, &Map::new()).unwrap_err();
    assert_eq!(error.code, status::E_PANIC);
    assert!(error.message.contains("glue.rs") && error.message.ends_with(": round work"), "{error}");
    assert_eq!(broken.call(op::SAVE, &Map::new()).unwrap_err().code, status::E_STATE);
    assert_eq!(other.call(op::SAVE, &Map::new()), Ok(Map::new()));
    drop(probe("drop").unwrap());
}

#[test]
fn callbacks_reach_the_host_of_the_instance_that_runs_on_any_thread() {
    // Miri, which watches for races, is a thousand times slower.
    const CALLS: usize = if cfg!(miri) { 3 } else { 100 };
    let works = |client: i64| {
        let mut probe = probe("work").unwrap();
        probe.circumstances(client as u64, 0);
        let drawn = (0..CALLS)
            .map(|_| probe.call(op::ROUND_END, &Map::new().with("round", client)).unwrap().i64("drawn").unwrap());
        let drawn: Vec<i64> = drawn.collect();
        assert!(drawn.iter().all(|&first| first == drawn[0]));
        assert_eq!(probe.log(), vec![(2, format!("round {client} is over")); CALLS]);
        drawn[0]
    };
    let threads: Vec<_> = (0..8).map(|client| std::thread::spawn(move || works(client))).collect();
    let drawn: Vec<i64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
    assert_eq!(distinct.len(), 8, "each round its own numbers: {drawn:?}");
}

#[test]
fn nothing_is_drawn_or_logged_outside_a_call() {
    crate::log::info("nobody hears this");
    assert_eq!(random::u32s(Scope::Run, 0, 0, &mut [0]).unwrap_err().code, status::E_STATE);
}

#[test]
fn a_foreign_operation_is_unsupported_and_a_foreign_message_an_argument_error() {
    let mut probe = probe("work").unwrap();
    let error = probe.call(99, &Map::new()).unwrap_err();
    assert_eq!(error.code, status::E_UNSUPPORTED);
    assert_eq!(error.message, "control operation 99 belongs to none of this plugin's roles");
    // SAFETY: as the host would call, with a message that is no map.
    let code = unsafe {
        let table = &*export::native::<Probe>(&HOST);
        let mut context = null_mut();
        let config = Map::new().with("act", "work").encode();
        assert_eq!((table.create)(config.as_ptr(), config.len(), null_mut(), &mut context), status::OK);
        let code = (table.call)(context, op::SAVE, [7u8].as_ptr(), 1);
        (table.destroy)(context);
        code
    };
    assert_eq!(code, status::E_ARG);
}

#[test]
fn output_is_reported_or_refused_for_capacity() {
    let mut probe = probe("work").unwrap();
    let done = probe.block(op::ENCODE, Fields { output: vec![0; 5], ..Fields::default() }).unwrap();
    assert_eq!(done.output, [1, 2, 3]);
    let error = probe.block(op::ENCODE, Fields { output: vec![0; 2], ..Fields::default() }).unwrap_err();
    assert_eq!(error, Error::capacity("the piece needs 3 bytes, the buffer has 2"));
}

#[test]
fn a_host_of_another_major_or_with_a_short_table_gets_null() {
    let native = |host: &HostV1| {
        // SAFETY: the table is whole and static enough; nothing is created.
        unsafe { export::native::<Probe>(host) }.is_null()
    };
    assert!(!native(&HOST));
    assert!(!native(&HostV1 { abi: ABI_VERSION + 7, ..HOST }));
    assert!(native(&HostV1 { abi: ABI_VERSION + (1 << 16), ..HOST }));
    assert!(native(&HostV1 { size: HOST.size - 1, ..HOST }));
    // SAFETY: null is allowed.
    assert!(unsafe { export::native::<Probe>(std::ptr::null()) }.is_null());
}

#[test]
fn malformed_blocks_are_refused_with_their_reason() {
    let mut floats = [0.0f32; 8];
    let floats: *mut u8 = floats.as_mut_ptr().cast();
    let check = |change: &dyn Fn(&mut RawBlock<*mut u8>), expected: &str| {
        let mut raw = empty_block();
        change(&mut raw);
        // SAFETY: what is not refused for its numbers points to `floats`, for less than its length.
        let error = unsafe { Block::from_raw(&raw) }.unwrap_err();
        assert_eq!(error, Error::argument(expected));
    };
    check(&|raw| raw.size = 100, "the block has 100 bytes, ABI 1.0 has 144");
    check(&|raw| raw.table_len = 3, "`table` is null but has 3 elements");
    check(&|raw| raw.n_states = 2, "`states` is null but has 2 vectors");
    check(&|raw| (raw.n, raw.out) = (2, floats.wrapping_add(1)), "`out` with 2 elements is misaligned or too long");
    check(
        &|raw| (raw.k, raw.weights) = (2, floats.wrapping_add(1)),
        "`weights` with 2 elements is misaligned or too long",
    );
    let mut rows = [floats, null_mut()];
    let rows: *mut u8 = rows.as_mut_ptr().cast();
    check(&|raw| (raw.n, raw.k, raw.rows) = (2, 2, rows), "`rows[1]` is null");
    // SAFETY: refused before anything is read.
    let error = unsafe { Block::from_raw(std::ptr::null()) }.unwrap_err();
    assert_eq!(error, Error::argument("the block pointer is null or misaligned"));
}

/// The host may give one range twice where it is only read; under Miri this fails if the glue makes a `&mut` of either.
#[test]
fn what_is_only_read_may_be_the_same_memory() {
    let (mut floats, mut out) = ([1.0f32, 2.0], [0.0f32; 2]);
    let (floats, out): (*mut u8, *mut u8) = (floats.as_mut_ptr().cast(), out.as_mut_ptr().cast());
    let rows = [floats, floats];
    let mut raw = empty_block();
    // The list itself is not to be written either.
    (raw.n, raw.k, raw.rows) = (2, 2, rows.as_ptr().cast_mut().cast());
    (raw.base, raw.out) = (floats, out);
    (raw.input, raw.input_len) = (floats, 8);
    // SAFETY: all of it is there, and `out` overlaps nothing.
    let mut block = unsafe { Block::from_raw(&raw) }.unwrap();
    let out = block.out.as_mut().unwrap();
    for (out, (a, b)) in out.iter_mut().zip(block.rows[0].iter().zip(block.rows[1])) {
        *out = a + b;
    }
    assert_eq!(block.out.as_deref(), Some(&[2.0, 4.0][..]));
    assert_eq!((block.base, block.input[..4].to_vec()), (Some(&[1.0, 2.0][..]), 1.0f32.to_ne_bytes().to_vec()));
}

#[test]
fn alloc_fails_cleanly_for_impossible_requests() {
    for (size, align) in [(0, 8), (8, 0), (8, 3), (usize::MAX, 8), (isize::MAX as usize, 64)] {
        assert!(export::alloc(size, align).is_null(), "size {size}, alignment {align}");
    }
    let pointer = export::alloc(100, 64);
    assert!(!pointer.is_null() && pointer.addr().is_multiple_of(64));
    // SAFETY: what `alloc` gave, with its size and alignment; null is allowed.
    unsafe {
        export::free(pointer, 100, 64);
        export::free(null_mut(), 100, 64);
    }
}

fn empty_block() -> RawBlock<*mut u8> {
    RawBlock {
        size: size_of::<RawBlock<*mut u8>>() as u32,
        flags: 0,
        offset: 0,
        vector: 0,
        unit: 0,
        n: 0,
        k: 0,
        rows: null_mut(),
        weights: null_mut(),
        table: null_mut(),
        base: null_mut(),
        states: null_mut(),
        out: null_mut(),
        rows_out: null_mut(),
        mix_out: null_mut(),
        input: null_mut(),
        output: null_mut(),
        table_len: 0,
        n_states: 0,
        n_rows_out: 0,
        mix_len: 0,
        input_len: 0,
        output_cap: 0,
        output_len: 0,
        state_n: 0,
    }
}
