//! Guests that load and then misbehave.

use super::*;
use colla_plugin_sdk::{Value, abi::op};

fn sum_of_two_rows(instance: &mut dyn Instance) -> Result<Vec<f32>, PluginFailure> {
    let rows = instance.alloc(32)?;
    let out = instance.alloc(16)?;
    instance.floats_mut(span(rows, 0, 8)).copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
    let rows = [span(rows, 0, 4), span(rows, 16, 4)];
    let done =
        instance.block(op::REDUCE, &Block { n: 4, rows: &rows, out: Some(span(out, 0, 4)), ..Block::default() })?;
    assert_eq!(done, Done { skipped: false, output_len: 0 });
    Ok(instance.floats(span(out, 0, 4)).to_vec())
}

/// What a block call over nothing gives.
fn empty_block(guest: &Guest) -> Result<Done, PluginFailure> {
    guest.start().block(op::REDUCE, &Block::default())
}

#[test]
fn blocks_work_on_resident_buffers_and_calls_answer() {
    let mut instance = Guest::new().start();
    assert_eq!(sum_of_two_rows(&mut *instance).unwrap(), [11.0, 22.0, 33.0, 44.0]);
    let message = Map::new().with("round", 3i64).with("text", "x".repeat(100_000));
    assert_eq!(instance.call(op::ROUND_BEGIN, &message).unwrap(), message);
    assert_eq!(sum_of_two_rows(&mut *instance).unwrap(), [11.0, 22.0, 33.0, 44.0]);
    let (input, output) = (instance.alloc(5).unwrap(), instance.alloc(9).unwrap());
    instance.bytes_mut(input).copy_from_slice(b"bytes");
    let block = Block { input: Some(span(input, 0, 5)), output: Some(span(output, 0, 9)), ..Block::default() };
    assert_eq!(instance.block(op::DECODE, &block).unwrap().output_len, 5);
    assert_eq!(instance.bytes(output), b"bytes\0\0\0\0");
}

#[test]
fn every_way_to_stop_has_its_words_and_stops_the_instance_for_good() {
    let cases = [
        ("(loop $again (br $again)) (i32.const 0)", "REDUCE: it used more than its 1002000000 units of fuel"),
        ("(call $colla_block (local.get 0) (local.get 1) (local.get 2))", "deeper than 512 KiB of stack"),
        ("unreachable", "it stopped itself, as after a panic"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "it divided by zero"),
        ("(i32.load (i32.const -4))", "it reached outside its memory"),
        ("(i32.store (i32.const 0x7fffffff) (i32.const 1)) (i32.const 0)", "it reached outside its memory"),
        ("(i32.trunc_f32_s (f32.const nan))", "it trapped: invalid conversion to integer"),
    ];
    for (body, words) in cases {
        let mut instance = Guest::new().with_block(body).start();
        failed(instance.block(op::REDUCE, &Block::default()), words);
        failed(instance.block(op::REDUCE, &Block::default()), "stopped at an earlier fault and cannot be used again");
        failed(instance.call(op::SAVE, &Map::new()), "stopped at an earlier fault");
        failed(instance.alloc(1), "stopped at an earlier fault");
    }
}

#[test]
fn a_guest_that_grows_until_refused_gets_no_more_than_its_limit() {
    let grow = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) ";
    // Refused growth is an answer, not a crime ...
    assert!(empty_block(&Guest::new().with_block(&format!("{grow} (i32.const 0)"))).is_ok());
    // ... but when the guest gives up over it, the message says why.
    let dies = Guest::new().with_block(&format!("{grow} unreachable"));
    failed(empty_block(&dies), "it asked for more than its 64 MiB of memory (");
}

#[test]
fn what_the_host_allocates_does_not_count_against_the_plugin() {
    let mut instance = Guest::new().start();
    for _ in 0..20 {
        instance.alloc(16 << 20).unwrap();
    }
    failed(instance.alloc(2 << 30), "it gave no memory for 2147483648 bytes; 384 MiB are allowed it");
    failed(instance.alloc(usize::MAX), "bytes are beyond a guest's memory");
    // A refusal leaves the instance usable.
    assert_eq!(sum_of_two_rows(&mut *instance).unwrap(), [11.0, 22.0, 33.0, 44.0]);
}

#[test]
fn memory_that_an_allocator_makes_up_is_refused() {
    // The first allocation, the host's scratch memory, is honest; the second is not.
    let lying = |answer: &str| {
        let honest = Guest::new().functions["colla_alloc"].clone();

        Guest::new()
            .more(&format!("(func $honest {honest}) (global $times (mut i32) (i32.const 0))"))
            .with(
                "colla_alloc",
                format!(
                    "(param i32 i32) (result i32) (global.set $times (i32.add (global.get $times) (i32.const 1)))
                     (if (result i32) (i32.eq (global.get $times) (i32.const 1))
                       (then (call $honest (local.get 0) (local.get 1))) (else {answer}))"
                ),
            )
            .start()
    };
    failed(lying("(i32.const 0)").alloc(64), "ALLOC: it gave no memory for 64 bytes; 64 MiB are allowed it");
    failed(lying("(i32.const 8200)").alloc(64), "the memory it gave for 64 bytes, at 8200, is not aligned to 64");
    failed(lying("(i32.const 65472)").alloc(128), "at 65472, lies outside its memory");
    failed(lying("(i32.const -64)").alloc(64), "at 4294967232, lies outside its memory");
    failed(lying("(i32.const 1088)").alloc(64), "overlaps memory that the host holds already");
    let mut twice = lying("(i32.const 8192)");
    twice.alloc(64).unwrap();
    failed(twice.alloc(64), "at 8192, overlaps memory that the host holds already");
    failed(twice.alloc(64), "stopped at an earlier fault");
}

#[test]
fn replies_are_bounded_in_place_length_and_depth() {
    let reply = |pointer: &str, len: &str| {
        let body = format!(
            "(param i32 i32) (i32.store (local.get 1) (i32.const {pointer}))
             (i32.store offset=4 (local.get 1) (i32.const {len}))"
        );
        Guest::new().with("colla_reply", body).start().call(op::SAVE, &Map::new())
    };
    failed(reply("0", "1048577"), "SAVE: its reply has 1048577 bytes; at most 1048576 are allowed");
    failed(reply("-1", "-1"), "its reply has 4294967295 bytes");
    failed(reply("0x7fffffff", "8"), "its reply lies outside its memory");
    failed(reply("-4", "8"), "its reply lies outside its memory");
    failed(reply("64", "17"), "its reply is not an encoded map of at most 16 levels");
    assert_eq!(reply("-1", "0").map_err(|e| e.message).unwrap_or_default(), Map::new());

    let deep = (0..17).fold(Value::Bool(true), |inner, _| Value::List(vec![inner]));
    let echoed = Guest::new().start().call(op::SAVE, &Map(vec![("deep".into(), deep)]));
    failed(echoed, "at most 16 levels");
}

#[test]
fn failures_carry_the_plugins_own_words_made_printable() {
    let fails = Guest::new().with_block("(i32.const -5)");
    failed(empty_block(&fails), "E_NUMERIC, a number is not finite or out of its domain: the guest says no");
    let mut instance = fails.start();
    let _ = instance.block(op::REDUCE, &Block::default());
    assert!(instance.call(op::SAVE, &Map::new()).is_ok(), "a reported failure is no fault of the instance");

    let shouts = fails.clone().more(r#"(data (i32.const 64) "\1b[2J\07 red\nalert\ff ")"#);
    failed(empty_block(&shouts), "domain: [2J red alert\u{fffd}");
    let lost =
        "(param i32 i32) (i32.store (local.get 1) (i32.const -8)) (i32.store offset=4 (local.get 1) (i32.const 99))";
    failed(empty_block(&fails.clone().with("colla_last_error", lost)), "it failed with E_NUMERIC");
    failed(empty_block(&fails.with("colla_last_error", "(param i32 i32) unreachable")), "it failed with E_NUMERIC");
    failed(
        empty_block(&Guest::new().with_block("(i32.const 2)")),
        "it returned the status 2, which ABI 1 does not define",
    );
    assert_eq!(empty_block(&Guest::new().with_block("(i32.const 1)")).unwrap(), Done { skipped: true, output_len: 0 });
}

#[test]
fn an_output_longer_than_its_buffer_is_a_failure() {
    let guest = Guest::new().with_block("(i32.store offset=96 (local.get 2) (i32.const 1000000)) (i32.const 0)");
    failed(empty_block(&guest), "it claims 1000000 bytes of output in a buffer of 0");
    let mut instance = guest.start();
    let output = instance.alloc(16).unwrap();
    let block = Block { output: Some(span(output, 0, 16)), ..Block::default() };
    failed(instance.block(op::ENCODE, &block), "it claims 1000000 bytes of output in a buffer of 16");
}

#[test]
fn buffers_stay_right_when_memory_grows_during_a_call() {
    let grows = Guest::new().functions["colla_block"].replacen("(if", "(drop (memory.grow (i32.const 100))) (if", 1);
    let mut instance = Guest::new().with("colla_block", grows).start();
    for _ in 0..3 {
        assert_eq!(sum_of_two_rows(&mut *instance).unwrap(), [11.0, 22.0, 33.0, 44.0]);
    }
}

#[test]
fn instances_share_nothing() {
    // Writes to the bottom of memory and answers with what was there: 0 in each new instance.
    let guest = Guest::new().with_block(
        "(i32.store (i32.const 0) (i32.add (i32.const 1) (i32.load (i32.const 0)))) (i32.eq (i32.const 2) (i32.load (i32.const 0)))",
    );
    let plugin = guest.load().unwrap();
    let mut first = plugin.instantiate(0, 1, 0).unwrap();
    assert!(!first.block(op::REDUCE, &Block::default()).unwrap().skipped);
    assert!(first.block(op::REDUCE, &Block::default()).unwrap().skipped);
    let mut second = plugin.clone().instantiate(0, 1, 0).unwrap();
    assert!(!second.block(op::REDUCE, &Block::default()).unwrap().skipped);
}

#[test]
fn a_block_that_the_host_made_wrongly_is_caught_before_the_plugin_sees_it() {
    let mut instance = Guest::new().start();
    let buffer = instance.alloc(16).unwrap();
    let wrong = Block { n: 4, out: Some(span(buffer, 4, 4)), ..Block::default() };
    failed(
        instance.block(op::REDUCE, &wrong),
        "the host made a wrong block: a range of floats is not `n` long or leaves",
    );
    let foreign = Block { n: 4, out: Some(span(Buffer(9), 0, 4)), ..Block::default() };
    failed(instance.block(op::REDUCE, &foreign), "the host made a wrong block");
}

const LOG: &str = r#"(import "colla_v1" "log" (func $log (param i32 i32 i32)))"#;

#[test]
fn an_endless_log_ends_with_its_fuel_and_a_text_outside_memory_is_a_failure() {
    let log = |body: &str| empty_block(&Guest::new().imports(LOG).with_block(&format!("{body} (i32.const 0)")));
    let call = |len: u32| format!("(call $log (i32.const 1) (i32.const 64) (i32.const {len}))");
    assert!(log(&call(17)).is_ok());
    failed(log(&format!("(loop $again {} (br $again))", call(17))), "it used more than its 1002000000 units of fuel");
    failed(log(&call(u32::MAX)), "it gave `log` a text outside its memory");
    let panics = r#"(call $log (i32.const 3) (i32.const 64) (i32.const 17)) unreachable"#;
    failed(log(panics), "it stopped itself, as after a panic: the guest says no");
}
