//! What is kept of clients between rounds: steps, residuals, and the client slots of plugins.
//!
//! Where in the flow: agents ask before a client trains and keep after its upload was accepted. Empty until a client
//! takes part. What it never does: say what a vector means.

use super::{ClientId, store::VectorStore};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub struct ClientStates {
    /// Steps taken so far, where iterators persist.
    steps: Mutex<BTreeMap<ClientId, u64>>,
    vectors: VectorStore<(Kept, ClientId)>,
}

/// A vector that is kept of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// Error-feedback residual of an uploaded vector, 0 being the update: what compression has withheld so far, P values.
    Residual(u32),
    Slot(SlotId),
}

/// A client slot of a plugin of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId {
    /// Position of the plugin among all plugins of the run.
    pub plugin: u8,
    /// Position of the slot in the manifest's `state`.
    pub slot: u8,
}

impl ClientStates {
    /// Vectors beyond `limit_bytes` of memory are kept in an unnamed file in `folder`. Its errors, `Kind::Io`, are those
    /// of the functions below.
    pub fn new(limit_bytes: u64, folder: PathBuf) -> Self {
        ClientStates { steps: Mutex::default(), vectors: VectorStore::new(limit_bytes, folder) }
    }

    pub fn steps(&self, client: ClientId) -> u64 {
        lock(&self.steps).get(&client).copied().unwrap_or(0)
    }

    pub fn add_steps(&self, client: ClientId, steps: u64) {
        *lock(&self.steps).entry(client).or_insert(0) += steps;
    }

    /// The residual of an uploaded vector (0: the update); zeros for a client that has none.
    pub fn residual(&self, vector: u32, client: ClientId, len: usize) -> Result<Vec<f32>> {
        let kept = self.vectors.get((Kept::Residual(vector), client))?;
        Ok(kept.unwrap_or_else(|| vec![0.0; len]))
    }

    pub fn keep_residual(&self, vector: u32, client: ClientId, residual: Vec<f32>) -> Result<()> {
        self.vectors.put((Kept::Residual(vector), client), residual)
    }

    /// The values of a slot; `None` for a client that has none yet.
    pub fn slot(&self, slot: SlotId, client: ClientId) -> Result<Option<Vec<f32>>> {
        self.vectors.get((Kept::Slot(slot), client))
    }

    pub fn keep_slot(&self, slot: SlotId, client: ClientId, values: Vec<f32>) -> Result<()> {
        self.vectors.put((Kept::Slot(slot), client), values)
    }
}

impl Default for ClientStates {
    /// All in memory.
    fn default() -> Self {
        ClientStates::new(u64::MAX, std::env::temp_dir())
    }
}

/// A panic while the lock was held stops the run anyway; what the map holds then no longer matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
