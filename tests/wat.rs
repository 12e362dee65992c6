//! Small WebAssembly plugins by hand: whole in form, and wrong in at most one thing.

use colla_plugin_sdk::{Map, abi::op};

/// A module with a valid manifest whose operations do what `call` and `block` (WAT function bodies) say.
pub fn plugin(manifest: &str, call: &str, block: &str) -> Vec<u8> {
    module(manifest, OK, call, block)
}

/// The same with a body for `create`, whose configuration is in the locals `$config` and `$len`.
pub fn module(manifest: &str, create: &str, call: &str, block: &str) -> Vec<u8> {
    assemble("", manifest, create, call, block)
}

/// A plugin that answers CLIENT_BEGIN with `plan` and other calls with nothing.
pub fn planning_plugin(manifest: &str, plan: &Map, block: &str) -> Vec<u8> {
    replying_plugin(manifest, &[(op::CLIENT_BEGIN, plan.clone())], block)
}

/// A plugin that answers every control operation with `reply`.
pub fn answering_plugin(manifest: &str, reply: &Map, block: &str) -> Vec<u8> {
    let (data, answer) = reply_at(REPLIES_AT, reply);
    assemble(&data, manifest, OK, &(answer + OK), block)
}

/// A plugin that can call `$draw`: scope, stream, offset, kind, out, n.
pub fn drawing_plugin(manifest: &str, call: &str, block: &str) -> Vec<u8> {
    let import = r#"(import "colla_v1" "rand_fill" (func $draw (param i32 i32 i64 i32 i32 i32) (result i32)))"#;
    assemble(import, manifest, OK, call, block)
}

/// A plugin that logs `text` at the end of each round.
pub fn talking_plugin(manifest: &str, text: &str) -> Vec<u8> {
    let first = format!(
        r#"(import "colla_v1" "log" (func $log (param i32 i32 i32))) (data (i32.const {REPLIES_AT}) "{text}")"#
    );
    let say = format!("(call $log (i32.const 1) (i32.const {REPLIES_AT}) (i32.const {}))", text.len());
    let call = format!("(if (i32.eq (local.get $op) (i32.const {})) (then {say})) {OK}", op::ROUND_END);
    assemble(&first, manifest, OK, &call, OK)
}

/// A plugin that answers control operations with these maps, and others with an empty one.
pub fn replying_plugin(manifest: &str, replies: &[(u32, Map)], block: &str) -> Vec<u8> {
    let (mut data, mut call, mut at) = (String::new(), String::new(), REPLIES_AT);
    call += "(global.set $reply (i32.const 0)) (global.set $reply_len (i32.const 0))";
    for (op, reply) in replies {
        let (segment, answer) = reply_at(at, reply);
        data += &segment;
        call += &format!("(if (i32.eq (local.get $op) (i32.const {op})) (then {answer}))");
        at += reply.encode().len();
    }
    assemble(&data, manifest, OK, &(call + OK), block)
}

/// A data segment with the reply, and what makes it the answer.
fn reply_at(at: usize, reply: &Map) -> (String, String) {
    let bytes = reply.encode();
    assert!(at + bytes.len() < FIRST_ALLOCATION, "the replies fit below what is allocated");
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let len = bytes.len();
    (
        format!("(data (i32.const {at}) \"{escaped}\")"),
        format!("(global.set $reply (i32.const {at})) (global.set $reply_len (i32.const {len}))"),
    )
}

/// Where in memory replies stand, and where allocation begins.
const REPLIES_AT: usize = 1024;
const FIRST_ALLOCATION: usize = 4096;

/// `first`: what stands before the rest, imports above all.
fn assemble(first: &str, manifest: &str, create: &str, call: &str, block: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
          {first}
          (memory (export "memory") 4)
          (global $top (mut i32) (i32.const {FIRST_ALLOCATION}))
          (global $reply (mut i32) (i32.const 0))
          (global $reply_len (mut i32) (i32.const 0))
          (func (export "colla_abi_version") (result i32) (i32.const 65536))
          (func (export "colla_alloc") (param $size i32) (param $align i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 63)) (i32.const -64)))
            (global.set $top (i32.add (local.get $at) (local.get $size)))
            (block $fits
              (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
              (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
            (local.get $at))
          (func (export "colla_free") (param i32 i32 i32))
          (func (export "colla_create") (param $config i32) (param $len i32) (param $host i32) (param $out i32) (result i32)
            (i32.store (local.get $out) (i32.const 1)) {create})
          (func (export "colla_destroy") (param i32))
          (func (export "colla_call") (param $ctx i32) (param $op i32) (param $message i32) (param $len i32) (result i32) {call})
          (func (export "colla_reply") (param $ctx i32) (param $out i32)
            (i32.store (local.get $out) (global.get $reply))
            (i32.store offset=4 (local.get $out) (global.get $reply_len)))
          (func (export "colla_block") (param $ctx i32) (param $op i32) (param $block i32) (result i32) (local $i i32) {block})
          (func (export "colla_last_error") (param $ctx i32) (param $out i32)
            (i32.store (local.get $out) (i32.const 0)) (i32.store offset=4 (local.get $out) (i32.const 0))))"#
    );
    let mut module = wat::parse_str(wat).expect("the module assembles");
    let name = b"colla.manifest";
    let length = 1 + name.len() + manifest.len();
    module.push(0);
    module.extend(leb128(length));
    module.push(name.len() as u8);
    module.extend(name);
    module.extend(manifest.as_bytes());
    module
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 127) as u8;
        value >>= 7;
        bytes.push(if value > 0 { byte | 128 } else { byte });
        if value == 0 {
            return bytes;
        }
    }
}

/// A manifest of one role, with more fields.
pub fn manifest(kind: &str, more: &str) -> String {
    format!(r#"{{"abi":"1.0","name":"hostile","version":"0.1.0","kinds":["{kind}"],"summary":"does wrong"{more}}}"#)
}

/// The field of an aggregation over rows.
pub const ROWS: &str = r#","reduce":["rows"]"#;
/// The field of a sum that is weighed after training.
pub const SUM_AFTER: &str = r#","reduce":["sum-after"]"#;
/// The field of an aggregation by distances.
pub const GRAM: &str = r#","reduce":["gram"]"#;
/// A body that does nothing and says that all is well.
pub const OK: &str = "(i32.const 0)";
/// Fills `out` (pointer at offset 52, count at 24) with one bit pattern.
pub const FILL_NAN: &str = "(block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get $block))))
    (i32.store (i32.add (i32.load offset=52 (local.get $block)) (i32.shl (local.get $i) (i32.const 2))) (i32.const 0x7fc00000))
    (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next))) (i32.const 0)";

/// Writes one `f32` at the start of `out`.
pub fn first_of_out(value: &str) -> String {
    format!("(f32.store (i32.load offset=52 (local.get $block)) {value}) (i32.const 0)")
}

/// Sets all of `out` to zero.
pub const FILL_ZERO: &str = "(memory.fill (i32.load offset=52 (local.get $block)) (i32.const 0)
    (i32.shl (i32.load offset=24 (local.get $block)) (i32.const 2))) (i32.const 0)";

/// Copies the first row to `out`.
pub const COPY_FIRST_ROW: &str = "(memory.copy (i32.load offset=52 (local.get $block))
    (i32.load (i32.load offset=32 (local.get $block)))
    (i32.shl (i32.load offset=24 (local.get $block)) (i32.const 2))) (i32.const 0)";

/// `then` for one operation, nothing and a success for all others.
pub fn only(op: u32, then: &str) -> String {
    format!("(if (result i32) (i32.eq (local.get $op) (i32.const {op})) (then {then}) (else {OK}))")
}

/// Stores `value` (an f64 that may use `$i`, the place) in each of `mix_out`.
pub fn fill_mix_out(value: &str) -> String {
    format!(
        "(block $done (loop $next
          (br_if $done (i32.ge_u (local.get $i) (i32.load offset=84 (local.get $block))))
          (f64.store (i32.add (i32.load offset=60 (local.get $block)) (i32.shl (local.get $i) (i32.const 3))) {value})
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next))) (i32.const 0)"
    )
}

/// Stores `value` (an f32 that may use `$i`, the place) in each of `out`.
pub fn fill_out(value: &str) -> String {
    format!(
        "(block $done (loop $next
          (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get $block))))
          (f32.store (i32.add (i32.load offset=52 (local.get $block)) (i32.shl (local.get $i) (i32.const 2))) {value})
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next))) (i32.const 0)"
    )
}

/// Runs `body` for each element of the block; its index is `$i`.
pub fn each_element(body: &str) -> String {
    format!(
        "(block $done (loop $next
           (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get $block))))
           {body}
           (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next)))"
    )
}

/// The address of the current element of entry `index` of a list of vectors: `rows`, `states` or `rows_out`.
pub fn of_list(list: &str, index: usize) -> String {
    let field = match list {
        "rows" => 32,
        "states" => 48,
        _ => 56,
    };
    format!(
        "(i32.add (i32.load offset={} (i32.load offset={field} (local.get $block))) (i32.shl (local.get $i) (i32.const 2)))",
        4 * index
    )
}

/// The address of the current element of a vector: `base` or `out`.
pub fn of(vector: &str) -> String {
    let field = if vector == "base" { 44 } else { 52 };
    format!("(i32.add (i32.load offset={field} (local.get $block)) (i32.shl (local.get $i) (i32.const 2)))")
}

/// A body that does `body` for one operation, and nothing, with the status SKIP, for all others.
pub fn for_operations(operations: &[(u32, &str)]) -> String {
    operations.iter().fold(String::new(), |all, (op, body)| {
        all + &format!("(if (i32.eq (local.get $op) (i32.const {op})) (then {body} (return (i32.const 0))))")
    }) + "(i32.const 1)"
}
/// Sets the first coefficient to 1 and all others to 0: the first result is the first row.
pub const FIRST_ROW_ONLY: &str = "(memory.fill (i32.load offset=60 (local.get $block)) (i32.const 0)
    (i32.shl (i32.load offset=84 (local.get $block)) (i32.const 3)))
    (f64.store (i32.load offset=60 (local.get $block)) (f64.const 1)) (i32.const 0)";

/// Column `column` of client `$i` in WEIGH's table after training (pointer at offset 40), which has seven columns.
pub fn column_after(column: u32) -> String {
    format!(
        "(f64.load offset={} (i32.add (i32.load offset=40 (local.get $block)) (i32.mul (local.get $i) (i32.const 56))))",
        8 * column
    )
}

/// `out` becomes minus `base` (pointer at offset 44).
pub fn negate_base() -> String {
    fill_out(
        "(f32.neg (f32.load (i32.add (i32.load offset=44 (local.get $block)) (i32.shl (local.get $i) (i32.const 2)))))",
    )
}
