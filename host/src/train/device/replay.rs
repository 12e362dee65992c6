//! Steps that launch the same operations each time, recorded once and replayed: through CUDA one launch a step.
//!
//! Where in the flow: around the steps of a window, on devices that record. What it never does: change what a step
//! computes, recorded or not.

use burn::tensor::{Device, Tensor, capture};
use std::cell::Cell;

/// Fewest steps that are worth a recording: three are taken before it, each waited for.
pub const FEWEST_TO_RECORD: usize = 16;

/// Whether the device records, tried with a step that adds a number.
pub fn records(device: &Device) -> bool {
    let mut sum = Tensor::<1>::zeros([1], device);
    capture(device, || sum.inplace(|sum| sum.add_scalar(1.0))).is_hardware()
}

/// Takes `step` `times` times, at least [`FEWEST_TO_RECORD`]. `state`: all that a step changes.
///
/// Returns whether a step was recorded. Where that fails, all steps are launched, with the same result: they begin
/// again from a clone of the state, since what a failed recording was to write can no longer be read.
///
/// Panics if the device gives up.
///
/// # Safety
///
/// A replay writes to the memory that the recorded step wrote to. From its second call on, `step` must launch the same
/// operations on tensors of the same shapes and change the state where it lies. A tensor of which somebody else holds a
/// clone does not change where it lies, so the first call, during which there is one, may move it. What a step reads
/// must live as long as this call; what it takes from the host keeps it from being recorded, or is the same each time.
pub unsafe fn repeat<S: Clone>(device: &Device, times: usize, state: &mut S, mut step: impl FnMut(&mut S)) -> bool {
    let start = state.clone();
    let calls = Cell::new(0);
    let mut graph = capture(device, || {
        calls.set(calls.get() + 1);
        step(state);
    });
    if !graph.is_hardware() {
        drop(graph);
        *state = start;
        (0..times).for_each(|_| step(state));
        return false;
    }
    drop(start);
    // The last call was recorded and not taken.
    let taken = calls.get() - 1;
    assert!(taken <= times, "{taken} steps were taken to record one, of {times}");
    for _ in taken..times {
        // SAFETY: the caller keeps alive what the step reads, and the step changes in place what it writes. The graph keeps the
        // memory of all between from others. All of it is launched from this one thread, in order.
        unsafe { graph.replay() };
    }
    true
}
