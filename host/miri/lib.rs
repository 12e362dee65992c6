//! The native loader without the rest of the host, for `cargo dev miri`: Miri interprets unsafe code step by step and
//! could follow neither wasmtime nor Burn, and would need their hundreds of crates first.
//!
//! The modules are the host's own files, in the host's own places (`crate::plugin::native` and what it stands on), with
//! their tests. Nothing uses this crate.
#![allow(dead_code)]

#[path = "../src/error.rs"]
pub mod error;
#[path = "../src/random.rs"]
pub mod random;

pub mod plugin;
