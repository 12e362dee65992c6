//! A data-plane call as safe Rust: slices instead of the pointers of [`RawBlock`].
//!
//! Where in the flow: the export glue makes a [`Block`] from the host's struct, [`crate::roles`] takes from it what an
//! operation needs and hands the author typed arguments. It never outlives the call.

use crate::abi::RawBlock;
use crate::codec::Output;
use crate::{Error, Result};
use std::mem::size_of;

/// One range of a vector and what belongs to it. Absent fields are empty, or `None` where an empty range is meaningful.
#[derive(Debug)]
pub struct Block<'a> {
    /// Index of the range's first element in its vector.
    pub offset: u64,
    /// Which vector: 0 is the update.
    pub vector: u32,
    /// Frame, tensor or shard number.
    pub unit: u32,
    /// Elements in the range; every `f32` slice below is this long.
    pub n: usize,
    /// Rows, or clients where an operation has clients but no rows.
    pub k: usize,
    pub rows: Vec<&'a [f32]>,
    /// One per row.
    pub weights: Option<&'a [f64]>,
    pub table: &'a [f64],
    pub base: Option<&'a [f32]>,
    /// The one exception: these may have a length of their own.
    pub states: Vec<&'a mut [f32]>,
    pub out: Option<&'a mut [f32]>,
    pub rows_out: Vec<&'a mut [f32]>,
    pub mix_out: &'a mut [f64],
    pub input: &'a [u8],
    pub output: Output<'a>,
}

impl<'a> Block<'a> {
    /// Checks size, nulls, alignment and lengths, and borrows what the block names.
    ///
    /// Errors: `E_ARG` for a struct that is null, misaligned or shorter than ABI 1.0's, a null field with a count,
    /// a misaligned pointer, or a length that no memory can have.
    ///
    /// # Safety
    /// If `raw` is not null, it and every non-null pointer in it must be readable (`states`, `out`, `rows_out`,
    /// `mix_out`, `output` also writable) for the lengths given, for `'a`; what is written overlaps nothing else.
    pub unsafe fn from_raw(raw: *const RawBlock<*mut u8>) -> Result<Self> {
        if raw.is_null() || !raw.is_aligned() {
            return Err(Error::argument("the block pointer is null or misaligned"));
        }
        // SAFETY: not null and aligned; the caller vouches for the memory. `size` is in every version of the struct,
        // and only a struct that is long enough is read further.
        let size = unsafe { (&raw const (*raw).size).read() } as usize;
        if size < size_of::<RawBlock<*mut u8>>() {
            let known = size_of::<RawBlock<*mut u8>>();
            return Err(Error::argument(format!("the block has {size} bytes, ABI 1.0 has {known}")));
        }
        // SAFETY: as above.
        let raw = unsafe { raw.read() };
        let (n, k) = (raw.n as usize, raw.k as usize);
        let state_n = if raw.state_n == 0 { n } else { raw.state_n as usize };
        // SAFETY: the caller vouches for every field; null, alignment and length are checked in the functions. What is
        // written is `exclusive`, the rest `shared`.
        unsafe {
            Ok(Block {
                offset: raw.offset,
                vector: raw.vector,
                unit: raw.unit,
                n,
                k,
                rows: vectors(raw.rows, if raw.rows.is_null() { 0 } else { k }, n, "rows", shared)?,
                weights: shared(raw.weights, k, "weights")?,
                table: counted(raw.table, raw.table_len, "table", shared)?,
                base: shared(raw.base, n, "base")?,
                states: vectors(raw.states, raw.n_states as usize, state_n, "states", exclusive)?,
                out: exclusive(raw.out, n, "out")?,
                rows_out: vectors(raw.rows_out, raw.n_rows_out as usize, n, "rows_out", exclusive)?,
                mix_out: counted(raw.mix_out, raw.mix_len, "mix_out", exclusive)?,
                input: counted(raw.input, raw.input_len, "input", shared)?,
                output: Output::new(counted(raw.output, raw.output_cap, "output", exclusive)?),
            })
        }
    }
}

/// [`shared`] or [`exclusive`]: how a field's pointer becomes a slice of the kind `S`.
type Borrow<S> = unsafe fn(*mut u8, usize, &str) -> Result<Option<S>>;

/// A field with its own count: null only if the count is zero.
///
/// # Safety
/// As for [`Block::from_raw`].
unsafe fn counted<S: Default>(pointer: *mut u8, len: u32, field: &str, borrow: Borrow<S>) -> Result<S> {
    if pointer.is_null() && len > 0 {
        return Err(Error::argument(format!("`{field}` is null but has {len} elements")));
    }
    // SAFETY: passed on.
    Ok(unsafe { borrow(pointer, len as usize, field) }?.unwrap_or_default())
}

/// A field that is read; null means absent. Two such fields may be the same memory, so this must never be a `&mut`.
///
/// # Safety
/// As for [`Block::from_raw`].
unsafe fn shared<'a, T>(pointer: *mut u8, len: usize, field: &str) -> Result<Option<&'a [T]>> {
    let start = checked::<T>(pointer, len, field)?;
    // SAFETY: not null, aligned, of possible length; the memory is the caller's promise.
    Ok(start.map(|start| unsafe { std::slice::from_raw_parts(start, len) }))
}

/// A field that is written; null means absent.
///
/// # Safety
/// As for [`Block::from_raw`].
unsafe fn exclusive<'a, T>(pointer: *mut u8, len: usize, field: &str) -> Result<Option<&'a mut [T]>> {
    let start = checked::<T>(pointer, len, field)?;
    // SAFETY: not null, aligned, of possible length; memory and exclusiveness are the caller's promise.
    Ok(start.map(|start| unsafe { std::slice::from_raw_parts_mut(start, len) }))
}

/// The start of `len` elements, if the field is there and they can be.
fn checked<T>(pointer: *mut u8, len: usize, field: &str) -> Result<Option<*mut T>> {
    let pointer = pointer.cast::<T>();
    if pointer.is_null() {
        return Ok(None);
    }
    if !pointer.is_aligned() || len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::argument(format!("`{field}` with {len} elements is misaligned or too long")));
    }
    Ok(Some(pointer))
}

/// A list of `count` pointers to `n` floats each.
///
/// # Safety
/// As for [`Block::from_raw`].
unsafe fn vectors<V>(list: *mut u8, count: usize, n: usize, field: &str, borrow: Borrow<V>) -> Result<Vec<V>> {
    if list.is_null() && count > 0 {
        return Err(Error::argument(format!("`{field}` is null but has {count} vectors")));
    }
    // SAFETY: passed on; a list of pointers is an array like any other, and it is only read.
    let pointers: Option<&[*mut u8]> = unsafe { shared(list, count, field) }?;
    let each = pointers.unwrap_or_default().iter().enumerate().map(|(index, &pointer)| {
        // SAFETY: passed on.
        unsafe { borrow(pointer, n, field) }?.ok_or_else(|| Error::argument(format!("`{field}[{index}]` is null")))
    });
    each.collect()
}
