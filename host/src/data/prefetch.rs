//! Asks the memory for values before they are read.
//!
//! Where in the flow: while one batch is gathered, for the rows of the next, which may lie anywhere in memory. What it never
//! does: change a result.

/// Bytes that come from memory together.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Lets `values` come to the first-level cache while the processor goes on. Without effect where stable Rust offers no such
/// instruction.
#[inline(always)]
pub fn prefetch(values: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for byte in values.iter().step_by(LINE).chain(values.last()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing that a program could see, and faults at no address; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
