//! CollA: a federated-learning simulator whose every method is a plugin.
//!
//! Data flows one way, and the modules stand in that order:
//! config → data → partition → client → schedule → train → stages → wire → strategy → evaluate → record;
//! [`run`] is the only file that knows it.

pub mod cli;
pub mod run;

pub mod config;
pub mod data;
pub mod partition;

pub mod client;
pub mod schedule;
pub mod train;

pub mod stages;
pub mod wire;

pub mod evaluate;
pub mod strategy;

pub mod record;

pub mod apply;
pub mod check;
pub mod compare;

pub mod error;
pub mod executor;
mod finite;
pub mod plugin;
mod prefetch;
pub mod privacy;
pub mod random;
pub mod registers;
