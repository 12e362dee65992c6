//! Promises, one module each, kept by the real binary and the built plugin files.
//! One test binary, because each binary costs a link.

mod apply;
mod assemblyscript;
mod author;
mod bad_input;
mod bench;
mod client_state;
mod closed_form;
mod compare;
mod composition;
mod conformance;
mod determinism;
mod forms;
mod hostile_plugins;
mod label_flip;
mod laws;
mod layering;
mod methods;
mod norms;
mod oracles;
mod outside_plugin;
mod personal_tensors;
mod privacy;
mod published;
mod requirements;
mod run_directory;
mod stages;
mod stragglers;
mod strategies;
mod support;
mod wat;
