//! Steps that launch the same operations each time, recorded once and replayed.
//!
//! A recorded step goes to the device as a whole: one launch through CUDA, and through wgpu commands that need no more
//! preparing. Where in the flow: around the steps of a window, each of which a stack takes with tensors of the same
//! shapes. What it never does: change what a step computes. A device that records nothing runs each step anew.

use burn::tensor::{Device, capture};
use std::cell::Cell;

/// Fewest steps that are worth a recording, which costs about as much as launching two or three of them.
pub const FEWEST_TO_RECORD: usize = 16;

/// Runs `step` `times` times, at least [`FEWEST_TO_RECORD`].
///
/// From its second call on, `step` must launch the same operations on tensors of the same shapes, read nothing from the
/// host, and write what it carries over to its next call into the same buffers.
///
/// Panics if the device gives up.
pub fn repeat(device: &Device, times: usize, mut step: impl FnMut()) {
    let calls = Cell::new(0);
    // Takes a few steps to have all buffers, and then either records one or, where nothing can be recorded, takes it.
    let mut graph = capture(device, || {
        calls.set(calls.get() + 1);
        step();
    });
    let recorded = usize::from(graph.is_hardware());
    let taken = calls.get() - recorded;
    assert!(taken <= times, "{taken} steps were taken to record one, of {times}");
    for _ in taken..times {
        // SAFETY: what the step works on is owned or borrowed by the closure, which the graph owns, and the graph keeps
        // the memory of everything between from others. All of it is launched from this one thread, in order.
        unsafe { graph.replay() };
    }
}
