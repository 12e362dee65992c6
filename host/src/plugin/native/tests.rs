//! The loader and the SDK's export glue against each other in one process, without a library file.
//!
//! `forms.rs` loads real libraries; these tests are those that Miri can follow (`cargo dev miri`): the pointers here
//! cross the same borders, by the same functions.

use super::*;
use crate::plugin::{Block, Buffer, Done, Instance, PluginFailure, Span};
use colla_plugin_sdk::{
    Block as PluginBlock, Error, Map, Parameters, Plugin, Result as PluginResult,
    abi::{op, rand_kind, rand_scope},
    export::{self, Exported},
    log,
    random::{self, Scope},
    roles,
};

/// A plugin without the macro, whose operations do what their names promise and little more.
struct Probe {
    beta: f64,
}

impl Plugin for Probe {
    fn create(parameters: &Parameters) -> PluginResult<Self> {
        match parameters.f64("beta")? {
            beta if beta < 0.0 => Err(Error::config("beta is negative")),
            beta => Ok(Probe { beta }),
        }
    }

    fn round_begin(&mut self, message: &Map) -> PluginResult<Map> {
        log::info("a round begins");
        Ok(message.clone().with("beta", self.beta))
    }

    fn round_end(&mut self, _: &Map) -> PluginResult<Map> {
        panic!("at the end of the round")
    }
}

impl Exported for Probe {
    const MANIFEST: &'static [u8] = b"{}";

    fn answer(&mut self, operation: u32, message: &Map) -> PluginResult<Map> {
        roles::plugin::call(self, operation, message)
    }

    fn work(&mut self, operation: u32, block: &mut PluginBlock<'_>) -> PluginResult<()> {
        match operation {
            // out = Σ weightₖ·rowₖ + base, each state + 1, mix_out = table doubled.
            op::REDUCE => {
                let (out, weights) = (block.out.as_mut().expect("out"), block.weights.expect("weights"));
                out.copy_from_slice(block.base.expect("base"));
                for (row, &weight) in block.rows.iter().zip(weights) {
                    out.iter_mut().zip(*row).for_each(|(out, x)| *out += weight as f32 * x);
                }
                block.states.iter_mut().for_each(|state| state.iter_mut().for_each(|x| *x += 1.0));
                block.mix_out.iter_mut().zip(block.table).for_each(|(to, from)| *to = 2.0 * from);
                Ok(())
            }
            op::APPLY => random::uniform(Scope::Client, 3, block.offset, block.out.as_mut().expect("out")),
            op::ENCODE => block.output.put(block.input),
            _ => Err(roles::plugin::unsupported("data", operation)),
        }
    }
}

const CALLBACKS: Callbacks = Callbacks { run_seed: 42, position: 3, round: 7, client: 11 };

/// What the macro would export.
unsafe extern "C" fn entry(host: *const HostV1) -> *const PluginV1 {
    // SAFETY: passed on.
    unsafe { export::native::<Probe>(host) }
}

fn library() -> Library {
    // SAFETY: the SDK's own entry, whose table is static.
    unsafe { checked_table(entry, ABI_VERSION) }.expect("the SDK speaks this ABI")
}

fn try_start(beta: f64, rng: bool) -> Result<Box<dyn Instance>, CreateFailure> {
    let (config, log) = (Map::new().with("beta", beta).encode(), Arc::new(Log::new("probe")));
    let setup = Setup { plugin: "probe", config: &config, callbacks: CALLBACKS, payload_elements: 0, rng, log: &log };
    library().instantiate(&setup)
}

fn start() -> Box<dyn Instance> {
    try_start(0.5, true).unwrap_or_else(|failure| panic!("{failure:?}"))
}

#[track_caller]
fn failed<T>(result: Result<T, PluginFailure>, words: &str) {
    let failure = result.err().expect("a failure").to_string();
    assert!(failure.starts_with("plugin `probe`, ") && failure.contains(words), "{failure}\nlacks: {words}");
}

fn span(buffer: Buffer, start: usize, len: usize) -> Span {
    Span { buffer, start, len }
}

#[test]
fn a_block_of_every_kind_of_field_is_read_and_written_in_place() {
    let mut probe = start();
    let [floats, doubles, states] = [40, 48, 16].map(|bytes| probe.alloc(bytes).unwrap());
    probe.floats_mut(span(floats, 0, 6)).copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0]);
    probe.doubles_mut(span(doubles, 0, 4)).copy_from_slice(&[2.0, 3.0, 0.25, -1.0]);
    // The second row is the first again: what is only read may be the same memory.
    let rows = [span(floats, 0, 2), span(floats, 0, 2), span(floats, 8, 2)];
    let states = [span(states, 0, 2), span(states, 8, 2)];
    probe.doubles_mut(span(doubles, 0, 3)).copy_from_slice(&[2.0, 3.0, 0.5]);
    let block = Block {
        n: 2,
        rows: &rows,
        weights: Some(span(doubles, 0, 3)),
        table: Some(span(doubles, 16, 2)),
        base: Some(span(floats, 16, 2)),
        states: &states,
        out: Some(span(floats, 24, 2)),
        mix_out: Some(span(doubles, 32, 2)),
        ..Block::default()
    };
    for round in 1..=3 {
        assert_eq!(probe.block(op::REDUCE, &block).unwrap(), Done { skipped: false, output_len: 0 });
        // (2 + 3)·(1, 2) + 0.5·(3, 4) + (10, 20).
        assert_eq!(probe.floats(span(floats, 24, 2)), [16.5, 32.0]);
        assert_eq!(probe.doubles(span(doubles, 32, 2)), [1.0, -2.0]);
        assert_eq!(probe.floats(states[1]), [round as f32; 2]);
    }
}

#[test]
fn bytes_are_put_up_to_the_capacity() {
    let mut probe = start();
    let buffer = probe.alloc(16).unwrap();
    probe.bytes_mut(buffer)[..3].copy_from_slice(&[7, 8, 9]);
    let mut block = Block { input: Some(span(buffer, 0, 3)), output: Some(span(buffer, 3, 5)), ..Block::default() };
    assert_eq!(probe.block(op::ENCODE, &block).unwrap(), Done { skipped: false, output_len: 3 });
    assert_eq!(probe.bytes(buffer)[..8], [7, 8, 9, 7, 8, 9, 0, 0]);
    block.output = Some(span(buffer, 3, 2));
    failed(probe.block(op::ENCODE, &block), "the piece needs 3 bytes, the buffer has 2");
    block.output = None;
    failed(probe.block(op::ENCODE, &block), "the piece needs 3 bytes, the buffer has 0");
}

#[test]
fn messages_travel_both_ways_and_a_failed_create_tells_why() {
    let mut probe = start();
    let message = Map::new().with("round", 1i64);
    assert_eq!(probe.call(op::ROUND_BEGIN, &message).unwrap(), message.with("beta", 0.5));
    failed(probe.call(99, &Map::new()), "control operation 99 belongs to none");
    let failure = try_start(-1.0, true).err().expect("a refusal");
    assert!(failure.bad_parameters && failure.failure.message.contains("beta is negative"), "{failure:?}");
}

#[test]
fn a_panic_stops_its_instance_and_both_sides_clean_up() {
    let mut probe = start();
    let buffer = probe.alloc(8).unwrap();
    failed(probe.call(op::ROUND_END, &Map::new()), ": at the end of the round");
    failed(probe.call(op::SAVE, &Map::new()), "stopped at an earlier fault");
    failed(probe.block(op::REDUCE, &Block::default()), "stopped at an earlier fault");
    assert_eq!(probe.bytes(buffer), [0; 8]);
}

#[test]
fn draws_are_those_of_the_circumstances_and_need_the_manifests_word() {
    let draw = |probe: &mut dyn Instance| {
        let out = probe.alloc(20).unwrap();
        let block = Block { n: 5, offset: 2, out: Some(span(out, 0, 5)), ..Block::default() };
        probe.block(op::APPLY, &block).map(|_| probe.bytes(out).to_vec())
    };
    let mut probe = start();
    let request = Request { scope: rand_scope::CLIENT, stream: 3, offset: 2, kind: rand_kind::UNIFORM, n: 5 };
    for callbacks in [CALLBACKS, Callbacks { client: 12, ..CALLBACKS }] {
        probe.set_callbacks(callbacks);
        let mut expected = vec![0; 20];
        streams::fill(&callbacks, &request, &mut expected);
        assert_eq!(draw(&mut *probe).unwrap(), expected);
    }
    let mut silent = try_start(0.5, false).unwrap_or_else(|failure| panic!("{failure:?}"));
    failed(draw(&mut *silent), "does the manifest say `rng`?");
}

#[test]
fn instances_may_move_between_threads() {
    let threads: Vec<_> = (0..4i64)
        .map(|round| {
            let mut probe = start();
            std::thread::spawn(move || probe.call(op::ROUND_BEGIN, &Map::new().with("round", round)))
        })
        .collect();
    for (round, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap().unwrap().i64("round"), Some(round as i64));
    }
}

#[test]
fn tables_that_are_null_too_short_or_of_another_version_are_refused() {
    unsafe extern "C" fn none(_: *const HostV1) -> *const PluginV1 {
        std::ptr::null()
    }
    /// No more of a table than every version of the ABI has.
    unsafe extern "C" fn short(_: *const HostV1) -> *const PluginV1 {
        static HEAD: [u64; 1] = [(ABI_VERSION as u64) << 32 | 8];
        HEAD.as_ptr().cast()
    }
    let refused = |library: Entry, abi: u32, words: &str| {
        // SAFETY: each gives null, or a table that is as long as it says.
        let problem = unsafe { checked_table(library, abi) }.err().expect("a refusal");
        assert!(problem.contains(words), "{problem}");
    };
    refused(none, ABI_VERSION, "it refuses this host's ABI");
    refused(short, ABI_VERSION, "its table has 8 bytes for ABI 1.0");
    refused(entry, ABI_VERSION + 1, "its manifest says ABI 1.1");
}

#[test]
fn callbacks_take_nothing_for_granted() {
    let mut host = HostContext { callbacks: CALLBACKS, rng: true, log: Arc::new(Log::new("probe")) };
    let mut out = [0u32; 2];
    let (context, out): (*mut u8, *mut u8) = ((&raw mut host).cast(), out.as_mut_ptr().cast());
    // SAFETY: null, or this test's own context and memory of the length given.
    unsafe {
        host_log(std::ptr::null_mut(), 1, std::ptr::null(), 5);
        host_log(context, 1, std::ptr::null(), 5);
        host_log(context, 1, "heard".as_ptr(), 5);
        assert_eq!(host_rand_fill(std::ptr::null_mut(), 0, 0, 0, 0, out, 2), status::E_ARG);
        assert_eq!(host_rand_fill(context, 0, 0, 0, 9, out, 2), status::E_ARG);
        assert_eq!(host_rand_fill(context, 0, 0, 0, 0, std::ptr::null_mut(), 2), status::E_ARG);
        assert_eq!(host_rand_fill(context, 0, 0, 0, 0, std::ptr::null_mut(), 0), status::OK);
        assert_eq!(host_rand_fill(context, 0, 0, 0, 0, out, 2), status::OK);
    }
}
