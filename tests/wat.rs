//! Small WebAssembly plugins by hand: whole in form, and wrong in exactly one thing, or so small that their results are
//! known by heart.

use colla_plugin_sdk::Map;

/// A module with a valid manifest whose operations do what `call` and `block` (WAT function bodies) say.
pub fn plugin(manifest: &str, call: &str, block: &str) -> Vec<u8> {
    module(manifest, OK, call, block)
}

/// The same with a body for `create`, whose configuration is in the locals `$config` and `$len`.
pub fn module(manifest: &str, create: &str, call: &str, block: &str) -> Vec<u8> {
    assemble("", manifest, create, call, block, None)
}

/// A plugin that answers `reply` to the control operation `op`, and an empty map to the others.
pub fn replying_plugin(manifest: &str, op: u32, reply: &Map, block: &str) -> Vec<u8> {
    assemble("", manifest, OK, OK, block, Some((op, reply)))
}

/// A plugin that can call `$draw`: scope, stream, offset, kind, out, n.
pub fn drawing_plugin(manifest: &str, call: &str, block: &str) -> Vec<u8> {
    let import = r#"(import "colla_v1" "rand_fill" (func $draw (param i32 i32 i64 i32 i32 i32) (result i32)))"#;
    assemble(import, manifest, OK, call, block, None)
}

fn assemble(
    imports: &str,
    manifest: &str,
    create: &str,
    call: &str,
    block: &str,
    reply: Option<(u32, &Map)>,
) -> Vec<u8> {
    let (op, bytes) = reply.map_or((0, Vec::new()), |(op, map)| (op, map.encode()));
    let (length, data) = (bytes.len(), bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>());
    let wat = format!(
        r#"(module
          {imports}
          (memory (export "memory") 4)
          (global $top (mut i32) (i32.const 4096))
          (global $asked (mut i32) (i32.const 0))
          (data (i32.const 2048) "{data}")
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
          (func (export "colla_call") (param $ctx i32) (param $op i32) (param $message i32) (param $len i32) (result i32)
            (global.set $asked (local.get $op)) {call})
          (func (export "colla_reply") (param $ctx i32) (param $out i32)
            (i32.store (local.get $out) (i32.const 2048))
            (i32.store offset=4 (local.get $out)
              (select (i32.const {length}) (i32.const 0) (i32.eq (global.get $asked) (i32.const {op})))))
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

/// Sets the first coefficient to 1 and all others to 0: the first result is the first row.
pub const FIRST_ROW_ONLY: &str = "(memory.fill (i32.load offset=60 (local.get $block)) (i32.const 0)
    (i32.shl (i32.load offset=84 (local.get $block)) (i32.const 3)))
    (f64.store (i32.load offset=60 (local.get $block)) (f64.const 1)) (i32.const 0)";

/// Fills `mix_out` (pointer at offset 60, count at 84); `value` may use the index `$i`.
pub fn fill_mix(value: &str) -> String {
    format!(
        "(block $done (loop $next
           (br_if $done (i32.ge_u (local.get $i) (i32.load offset=84 (local.get $block))))
           (f64.store (i32.add (i32.load offset=60 (local.get $block)) (i32.shl (local.get $i) (i32.const 3))) {value})
           (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next))) (i32.const 0)"
    )
}

/// Column `column` of client `$i` in WEIGH's table after training (pointer at offset 40), which has seven columns.
pub fn column_after(column: u32) -> String {
    format!(
        "(f64.load offset={} (i32.add (i32.load offset=40 (local.get $block)) (i32.mul (local.get $i) (i32.const 56))))",
        8 * column
    )
}

/// `out` becomes minus `base` (pointer at offset 44).
pub const NEGATE_BASE: &str = "(block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (i32.load offset=24 (local.get $block))))
    (f32.store (i32.add (i32.load offset=52 (local.get $block)) (i32.shl (local.get $i) (i32.const 2)))
      (f32.neg (f32.load (i32.add (i32.load offset=44 (local.get $block)) (i32.shl (local.get $i) (i32.const 2))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $next))) (i32.const 0)";
