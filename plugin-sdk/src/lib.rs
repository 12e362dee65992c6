//! The CollA plugin interface.

pub mod abi;
mod value;

pub use value::{Map, Value};
