//! Asks the memory for values before they are read.
//!
//! Where in the flow: beside [`registers`](crate::registers), for whoever knows what is read next where no hardware can tell:
//! rows of a batch, or of a weight that not all inputs meet. What it never does: change a result.

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Lets the line of memory that holds the beginning of `value` come to the first-level cache while the processor goes on.
/// Without effect where stable Rust offers no such instruction.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing that a program could see, and faults at no address; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The same for all lines of some bytes.
#[inline(always)]
pub fn prefetch_all(bytes: &[u8]) {
    bytes.iter().step_by(LINE).chain(bytes.last()).for_each(prefetch);
}
