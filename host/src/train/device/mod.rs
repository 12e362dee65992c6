//! Training on a GPU: several clients at once, their weights stacked along a leading axis.
//!
//! ```text
//! start ──▶ [G, …] on the device ──▶ [ G batches ▶ forward ▶ loss ▶ backward ▶ update ] × steps ──▶ G × P on the host
//! ```
//! A client's batches are too small to fill a GPU, and each operation costs the launch of a kernel however small it is.
//! So the clients of a stack take their steps together: every operation of a step is launched once for all of them. A
//! client with fewer steps, or fewer rows in a batch, is masked, and its result is that of training alone within
//! rounding. Models that are lists of layers train this way ([`LayerStack`]); a user's own Burn module trains one client
//! after another, its weights on the device ([`ModuleStack`]).
//!
//! Where in the flow: below the device engine, which forms the stacks and lets agents do the rest of each client's round.
//! The code is the same for every device of Burn's, so that tests run it on the CPU as well. What it never does: train on
//! the CPU in the place of a GPU, or promise the same bits on two devices.

mod accelerator;
mod convolution;
mod descent;
mod loss;
mod module_stack;
mod network;
mod replay;
mod rows;
mod stack;
#[cfg(test)]
mod tests;
mod window;

pub use accelerator::Accelerator;
pub(super) use descent::{Correction, Descent};
pub(super) use module_stack::ModuleStack;
pub(super) use stack::LayerStack;

use super::{LocalReport, LocalTask, Part, Score};
use crate::error::{Fault, Kind};
use anyhow::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Weights, their gradients, momentum, two temporary copies, or what they were before a window whose first steps are being
/// recorded, and what the allocator keeps beside.
const COPIES: usize = 6;

/// A built model on a device that trains several clients together. Results depend on the arguments alone, but for
/// rounding, which may differ with the other clients of a stack.
pub trait StackTrainer: Send {
    /// Most clients with batches of at most `batch_size` rows that fit the memory together, by an estimate.
    ///
    /// `terms`: whether any of them has terms. Errors: `Kind::Config` if not even one fits.
    fn capacity(&self, batch_size: usize, terms: bool) -> Result<usize>;

    /// Trains clients that start from the same weights (P) and writes each one's local weights into its place of `out`.
    ///
    /// Shapes: as many places as tasks, P values each. Every task's `start` is `start`.
    /// Errors: `Kind::Data` if the device gives up, for want of memory, say.
    fn train(&mut self, start: &[f32], tasks: &[LocalTask<'_>], out: &mut [Vec<f32>]) -> Result<Vec<LocalReport>>;

    /// Loss and hits of `weights` on several lists of rows, in their order.
    fn evaluate(&mut self, weights: &[f32], lists: &[(Part, &[u32])]) -> Result<Vec<Score>>;

    /// What happened since the last call that a user should know of, a line each.
    fn warnings(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What computes, for records, e.g. `stacks, wgpu (NVIDIA H100)`.
    fn kernel(&self) -> String;
}

/// Runs `work` on the device. One that gives up becomes an error.
fn guarded<T>(accelerator: &Accelerator, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let why = match caught(work) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) if error.is::<Fault>() => return Err(error),
        Ok(Err(error)) => error.root_cause().to_string(),
        Err(why) => why,
    };
    let message = format!(
        "computing on {} — {}; if it ran out of memory, lower `host.device-memory` or `train.batch-size`",
        accelerator.name(),
        root_cause(&why)
    );
    Err(Fault::new(Kind::Data, message))
}

/// The innermost of the causes that Burn lists, without the backtrace behind it.
fn root_cause(text: &str) -> &str {
    let cause = text.rsplit("Caused by:").next().unwrap_or(text);
    cause.split("Backtrace:").next().unwrap_or(cause).trim()
}

/// Burn tells of a device that gave up, or of a driver that cannot be loaded, by a panic, which is not our bug.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".into())
    })
}
