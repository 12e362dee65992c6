//! What a WASM module may look like, checked before the compiler sees it.
//!
//! Where in the flow: between the manifest and compilation. First the limits, then what can be said in the plugin
//! author's words (imports, exports, memories), then WebAssembly's own validation of every function.
//! What it never does: compile. A module of 60,000 functions in 500 kB takes the compiler nine seconds, this file
//! milliseconds.

use super::text;
use colla_plugin_sdk::abi::IMPORT_MODULE;
use std::collections::BTreeMap;
use std::fmt::Write;
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures};

/// Most functions.
const MAX_FUNCTIONS: u32 = 20_000;
/// Longest function body. The compiler's time grows faster than the body.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Most local variables of one function, declared in a few bytes but paid for by the compiler.
const MAX_LOCALS: u32 = 5_000;
/// Most elements of the one table.
pub(super) const MAX_TABLE_ELEMENTS: usize = 10_000;

/// Core WebAssembly 2.0 without references other than to functions: SIMD, bulk memory, multiple values, sign extension
/// and saturating conversions. No relaxed SIMD (its results depend on the machine), threads, 64-bit or several
/// memories, tail calls, exceptions, garbage collection.
const FEATURES: WasmFeatures = WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES);

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;

type Signature = (&'static str, &'static [ValType], &'static [ValType]);

/// What a plugin may import, by name in the one allowed module.
const IMPORTS: [Signature; 2] =
    [("log", &[I32, I32, I32], &[]), ("rand_fill", &[I32, I32, I64, I32, I32, I32], &[I32])];

/// What a plugin must export, besides its `memory`.
const EXPORTS: [Signature; 9] = [
    ("colla_abi_version", &[], &[I32]),
    ("colla_alloc", &[I32, I32], &[I32]),
    ("colla_free", &[I32, I32, I32], &[]),
    ("colla_create", &[I32, I32, I32, I32], &[I32]),
    ("colla_destroy", &[I32], &[]),
    ("colla_call", &[I32, I32, I32, I32], &[I32]),
    ("colla_reply", &[I32, I32], &[]),
    ("colla_block", &[I32, I32, I32], &[I32]),
    ("colla_last_error", &[I32, I32], &[]),
];

/// Checks a whole module. Errors: what is wrong, ready to stand behind the file's name.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut outline = Outline::default();
    for payload in Parser::new(0).parse_all(bytes) {
        outline.read(payload.map_err(damaged)?)?;
    }
    outline.check()?;
    Validator::new_with_features(FEATURES).validate_all(bytes).map_err(|e| {
        format!(
            "it is no valid module of the WebAssembly that plugins may use, at byte {}: {}",
            e.offset(),
            e.message()
        )
    })?;
    Ok(())
}

fn damaged(e: wasmparser::BinaryReaderError) -> String {
    format!("it is truncated or damaged at byte {}: {}", e.offset(), e.message())
}

/// What the messages below need to know of a module.
#[derive(Default)]
struct Outline {
    types: Vec<FuncType>,
    /// Type index of each function, imported ones first.
    functions: Vec<u32>,
    memories: u32,
    tables: u32,
    exports: BTreeMap<String, (ExternalKind, u32)>,
}

impl Outline {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), String> {
        match payload {
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    self.types.push(ty.map_err(damaged)?);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(damaged)?;
                    self.functions.push(self.check_import(&import)?);
                }
            }
            Payload::FunctionSection(functions) => {
                limit("functions", functions.count() as usize, MAX_FUNCTIONS as usize)?;
                for ty in functions {
                    self.functions.push(ty.map_err(damaged)?);
                }
            }
            Payload::TableSection(tables) => {
                self.tables += tables.count();
                for table in tables {
                    let elements = table.map_err(damaged)?.ty.initial;
                    limit("table elements", usize::try_from(elements).unwrap_or(usize::MAX), MAX_TABLE_ELEMENTS)?;
                }
            }
            Payload::MemorySection(memories) => {
                self.memories += memories.count();
                for memory in memories {
                    if memory.map_err(damaged)?.memory64 {
                        return Err("its memory has 64-bit addresses; build it for wasm32-unknown-unknown".into());
                    }
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(damaged)?;
                    self.exports.insert(export.name.into(), (export.kind, export.index));
                }
            }
            Payload::CodeSectionEntry(body) => {
                limit("bytes in one function", body.as_bytes().len(), MAX_BODY_BYTES)?;
                let mut locals = 0u32;
                for group in body.get_locals_reader().map_err(damaged)? {
                    locals = locals.saturating_add(group.map_err(damaged)?.0);
                }
                limit("local variables in one function", locals as usize, MAX_LOCALS as usize)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Type index of an allowed import.
    fn check_import(&self, import: &wasmparser::Import<'_>) -> Result<u32, String> {
        let name = format!("`{}.{}`", text::line(import.module), text::line(import.name));
        let allowed = IMPORTS.iter().find(|(allowed, ..)| import.module == IMPORT_MODULE && import.name == *allowed);
        let Some((_, parameters, results)) = allowed else {
            let hint = match import.module {
                "wasi_snapshot_preview1" | "wasi_unstable" => "build it for wasm32-unknown-unknown, without WASI",
                _ => "it may import only `colla_v1.log` and `colla_v1.rand_fill`",
            };
            return Err(format!("it imports {name}; {hint}"));
        };
        let TypeRef::Func(index) = import.ty else { return Err(format!("it imports {name}, but not as a function")) };
        self.check_type(&format!("its import {name}"), index, parameters, results).map(|()| index)
    }

    fn check(&self) -> Result<(), String> {
        if self.memories != 1 {
            return Err(format!(
                "it has {} memories; a plugin has exactly one, and exports it as `memory`",
                self.memories
            ));
        }
        if self.tables > 1 {
            return Err(format!("it has {} tables; a plugin may have one", self.tables));
        }
        match self.exports.get("memory") {
            Some((ExternalKind::Memory, _)) => {}
            Some(_) => return Err("its export `memory` is not a memory".into()),
            None => return Err("it does not export its `memory`; build it with the SDK".into()),
        }
        for (name, parameters, results) in EXPORTS {
            let index = match self.exports.get(name) {
                Some((ExternalKind::Func, index)) => *index,
                Some(_) => return Err(format!("its export `{name}` is not a function")),
                None => return Err(format!("it does not export `{name}`; build it with the SDK")),
            };
            let ty = self.functions.get(index as usize).ok_or(format!("its export `{name}` names no function"))?;
            self.check_type(&format!("its export `{name}`"), *ty, parameters, results)?;
        }
        Ok(())
    }

    fn check_type(&self, what: &str, index: u32, parameters: &[ValType], results: &[ValType]) -> Result<(), String> {
        match self.types.get(index as usize) {
            Some(ty) if ty.params() == parameters && ty.results() == results => Ok(()),
            Some(ty) => Err(format!(
                "{what} has the type {}, and ABI 1 has {}; build it with the SDK",
                signature(ty.params(), ty.results()),
                signature(parameters, results)
            )),
            None => Err(format!("{what} has no type")),
        }
    }
}

fn limit(what: &str, found: usize, most: usize) -> Result<(), String> {
    if found <= most {
        return Ok(());
    }
    Err(format!("it has {found} {what}; at most {most} are allowed"))
}

/// `(i32, i64) -> i32`, at most eight types long.
fn signature(parameters: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| {
        let mut out = String::new();
        for (i, ty) in types.iter().take(8).enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}{ty}", if i == 0 { "" } else { ", " });
        }
        out + if types.len() > 8 { ", …" } else { "" }
    };
    match results {
        [] => format!("({})", list(parameters)),
        [one] => format!("({}) -> {one}", list(parameters)),
        _ => format!("({}) -> ({})", list(parameters), list(results)),
    }
}
