//! What a guest may use, and the words for what stopped it.
//!
//! Where in the flow: set before each entry into a guest, asked by wasmtime during it, told to the user after it.
//! What it never does: depend on the machine. The same plugin on the same data stops at the same instruction, except
//! for the wall clock.

use super::{State, TICK};
use crate::plugin::{module::MAX_TABLE_ELEMENTS, text};
use serde::Serialize;
use std::time::Duration;
use wasmtime::{ResourceLimiter, Store, Trap};

pub(super) const MIB: usize = 1 << 20;

/// The policy, the same on every machine, for [`Limits`] and for people who ask for it.
pub(in crate::plugin) const SANDBOX: Sandbox = Sandbox {
    memory_bytes: 64 * MIB,
    memory_bytes_per_element: 16,
    memory_bytes_added: 16 * MIB,
    memory_bytes_in_all: 2 << 30,
    stack_bytes: 512 << 10,
    fuel_per_call: 1_000_000_000,
    fuel_per_element: 2_000,
    seconds_per_call: 60,
};

/// What a plugin in the sandbox may use; an element is one value of the vectors that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    /// Memory that the plugin may use for itself, beside what the host allocates in it...
    pub memory_bytes: usize,
    /// ...or so much for each element of its payload...
    pub memory_bytes_per_element: usize,
    /// ...and this added, where that is more.
    pub memory_bytes_added: usize,
    /// Top of guest memory, whatever the plugin and the host put there.
    pub memory_bytes_in_all: usize,
    /// Guest stack. The shadow stack of Rust's plugins lies in their memory, not here.
    pub stack_bytes: usize,
    /// Fuel, about one unit an instruction.
    pub fuel_per_call: u64,
    /// On top, for each element of the call's payload.
    pub fuel_per_element: u64,
    pub seconds_per_call: u64,
}

/// What one instance may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Fuel, about one unit an instruction, of any call, plus `fuel_per_element` for each element of its payload.
    pub fuel: u64,
    pub fuel_per_element: u64,
    /// Longest call. Fuel is the limit that acts first; this one is for instructions that are slow for their fuel.
    pub wall: Duration,
    /// Memory that the plugin may use for itself, beside what the host allocates in it.
    pub memory_bytes: usize,
}

impl Limits {
    /// Fuel 10⁹ + 2,000 an element, 60 s, memory max(64 MiB, 4 × payload + 16 MiB).
    pub fn for_payload(elements: usize) -> Self {
        let of_payload = elements.saturating_mul(SANDBOX.memory_bytes_per_element);
        let wanted = of_payload.saturating_add(SANDBOX.memory_bytes_added);
        Limits {
            fuel: SANDBOX.fuel_per_call,
            fuel_per_element: SANDBOX.fuel_per_element,
            wall: Duration::from_secs(SANDBOX.seconds_per_call),
            memory_bytes: wanted.clamp(SANDBOX.memory_bytes, SANDBOX.memory_bytes_in_all),
        }
    }

    pub fn fuel_for(&self, elements: u64) -> u64 {
        self.fuel.saturating_add(self.fuel_per_element.saturating_mul(elements))
    }
}

/// Fresh limits for the next call.
pub(super) fn arm(store: &mut Store<State>, limits: &Limits, elements: u64) -> Result<(), String> {
    store.set_fuel(limits.fuel_for(elements)).map_err(|e| format!("the engine gives no fuel: {e:#}"))?;
    store.set_epoch_deadline((limits.wall.as_millis() / TICK.as_millis()) as u64 + 1);
    let state = store.data_mut();
    state.limiter.refused = None;
    state.last_words.clear();
    Ok(())
}

/// Why a guest stopped, for people.
pub(super) fn explain(error: &wasmtime::Error, state: &State, limits: &Limits, elements: u64) -> String {
    let memory = state.limiter.refused.map(|bytes| {
        format!("it asked for more than its {} MiB of memory ({bytes} bytes in all)", state.limiter.allowed() / MIB)
    });
    let words = match state.last_words.as_str() {
        "" => String::new(),
        words => format!(": {words}"),
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            format!("it used more than its {} units of fuel; it may loop for ever", limits.fuel_for(elements))
        }
        Some(Trap::Interrupt) => format!("it ran longer than {} s", limits.wall.as_secs_f64()),
        Some(Trap::StackOverflow) => {
            format!("it nested its calls deeper than {} KiB of stack", SANDBOX.stack_bytes >> 10)
        }
        Some(Trap::MemoryOutOfBounds) => "it reached outside its memory".into(),
        Some(Trap::IntegerDivisionByZero) => "it divided by zero".into(),
        // Plugins end so after a panic and when their allocator has nothing left.
        Some(Trap::UnreachableCodeReached) => match memory {
            Some(memory) => format!("{memory}{words}"),
            None => format!("it stopped itself, as after a panic{words}"),
        },
        Some(trap) => format!("it trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        None => memory.unwrap_or_else(|| text::line(&error.root_cause().to_string())),
    }
}

/// Bounds what a guest may allocate.
pub(super) struct Limiter {
    pub plugin_bytes: usize,
    /// Allocated in the guest by the host, on top.
    pub host_bytes: usize,
    /// Size that was asked for in vain during this call.
    pub refused: Option<usize>,
}

impl Limiter {
    pub fn allowed(&self) -> usize {
        self.plugin_bytes.saturating_add(self.host_bytes).min(SANDBOX.memory_bytes_in_all)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fine = desired <= self.allowed();
        if !fine {
            self.refused = Some(desired);
        }
        Ok(fine)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_payload() {
        let small = Limits::for_payload(0);
        assert_eq!((small.memory_bytes, small.fuel_for(0)), (64 * MIB, 1_000_000_000));
        // 25 million weights: 4 × 100 MB + 16 MiB, and 51 billion units of fuel.
        let large = Limits::for_payload(25_000_000);
        assert_eq!((large.memory_bytes, large.fuel_for(25_000_000)), (400_000_000 + 16 * MIB, 51_000_000_000));
        assert_eq!(Limits::for_payload(usize::MAX).memory_bytes, 2 << 30);
        assert_eq!(Limits::for_payload(0).fuel_for(u64::MAX), u64::MAX);
    }
}
