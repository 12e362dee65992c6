//! Steps that launch the same operations each time, recorded once and replayed: through CUDA one launch a step.
//!
//! Where in the flow: around the steps of a window, on devices that record. What it never does: change what a step computes.

use burn::tensor::{Device, Tensor, capture};
use std::cell::Cell;

/// Fewest steps that are worth a recording: three are taken before it, each waited for.
pub const FEWEST_TO_RECORD: usize = 16;

/// Whether the device records, tried with a step that adds a number.
pub fn records(device: &Device) -> bool {
    let mut sum = Tensor::<1>::zeros([1], device);
    capture(device, || sum.inplace(|sum| sum.add_scalar(1.0))).is_hardware()
}

/// Runs `step` `times` times, at least [`FEWEST_TO_RECORD`], on a device that [`records`].
///
/// Panics if the device gives up, also when it does not record this step.
///
/// # Safety
///
/// A replay writes to the memory that the recorded step wrote to. From its second call on, `step` must launch the same
/// operations on tensors of the same shapes, read nothing from the host, and change what it carries over to its next call
/// where that lies. A tensor of which somebody else holds a clone does not change where it lies. What it reads must live as long
/// as this call.
pub unsafe fn repeat(device: &Device, times: usize, mut step: impl FnMut()) {
    let calls = Cell::new(0);
    let mut graph = capture(device, || {
        calls.set(calls.get() + 1);
        step();
    });
    // Else the last call was neither taken nor recorded.
    assert!(graph.is_hardware(), "a step could not be recorded");
    let taken = calls.get() - 1;
    assert!(taken <= times, "{taken} steps were taken to record one, of {times}");
    for _ in taken..times {
        // SAFETY: the caller keeps alive what the step reads, and the step changes in place what it writes. The graph keeps the
        // memory of all between from others. All of it is launched from this one thread, in order.
        unsafe { graph.replay() };
    }
}
