//! From a [`Block`] of spans to the ABI's [`RawBlock`] of pointers, the same for guest and host pointers.
//!
//! Where in the flow: inside every data-plane call, hence no allocation once the pointer list has grown.
//! What it never does: look at elements. It makes sure that every pointer has as many elements behind it as the block
//! says, and that nothing that the plugin writes overlaps anything else, which Rust plugins rely on.

use super::{Block, Span};
use colla_plugin_sdk::abi::RawBlock;
use std::mem::{offset_of, size_of};

/// Bytes of the block that a WASM plugin reads.
pub(super) const GUEST_BLOCK_BYTES: usize = size_of::<RawBlock<u32>>();
/// Where in it the plugin writes how much output it made.
pub(super) const GUEST_OUTPUT_LEN: usize = offset_of!(RawBlock<u32>, output_len);

const F32: usize = 4;
const F64: usize = 8;

/// The three pointer arrays, `rows`, `states`, `rows_out`, stand one after the other in `pointers`;
/// `array(i)` is the address that entry `i` of it will have. `resolve(span, bytes)` is the address of a span, checked
/// to lie in its buffer with this many bytes.
///
/// Errors: which part of the block contradicts which other. That is a bug of the host, not of the plugin.
pub(super) fn translate<P: Copy>(
    block: &Block<'_>,
    null: P,
    pointers: &mut Vec<P>,
    resolve: impl Fn(Span, usize) -> Option<P>,
    array: impl Fn(&[P], usize) -> P,
) -> Result<RawBlock<P>, &'static str> {
    let (n, k) = (block.n, if block.rows.is_empty() { block.k } else { block.rows.len() });
    if block.k != k && block.k != 0 {
        return Err("`k` is not the number of rows");
    }
    if block.weights.is_some_and(|weights| weights.len != k) {
        return Err("there is not one weight for each row");
    }
    if written_overlaps(block) {
        return Err("a written range overlaps another range");
    }
    let at = |span: Span, size: usize| {
        resolve(span, span.len.checked_mul(size)?).filter(|_| span.start.is_multiple_of(size))
    };
    let floats = |span: Span| {
        at(span, F32).filter(|_| span.len == n).ok_or("a range of floats is not `n` long or leaves its buffer")
    };
    let others = |span: Span, size| at(span, size).ok_or("a range leaves its buffer");
    let float = |span: Option<Span>| span.map_or(Ok(null), floats);
    let other = |span: Option<Span>, size| span.map_or(Ok(null), |span| others(span, size));

    let state_n = block.states.first().map_or(n, |state| state.len);
    if block.states.iter().any(|state| state.len != state_n) || state_n == 0 && !block.states.is_empty() {
        return Err("the states are not of one length");
    }
    pointers.clear();
    for &span in block.rows {
        pointers.push(floats(span)?);
    }
    for &span in block.states {
        pointers.push(others(span, F32)?);
    }
    for &span in block.rows_out {
        pointers.push(floats(span)?);
    }
    let list = |first: usize, len: usize| if len == 0 { null } else { array(pointers, first) };
    Ok(RawBlock {
        size: size_of::<RawBlock<P>>() as u32,
        flags: 0,
        offset: block.offset,
        vector: block.vector,
        unit: block.unit,
        n: count(n)?,
        k: count(k)?,
        rows: list(0, block.rows.len()),
        weights: other(block.weights, F64)?,
        table: other(block.table, F64)?,
        base: float(block.base)?,
        states: list(block.rows.len(), block.states.len()),
        out: float(block.out)?,
        rows_out: list(block.rows.len() + block.states.len(), block.rows_out.len()),
        mix_out: other(block.mix_out, F64)?,
        input: other(block.input, 1)?,
        output: other(block.output, 1)?,
        table_len: count(length(block.table))?,
        n_states: count(block.states.len())?,
        n_rows_out: count(block.rows_out.len())?,
        mix_len: count(length(block.mix_out))?,
        input_len: count(length(block.input))?,
        output_cap: count(length(block.output))?,
        output_len: 0,
        state_n: if state_n == n { 0 } else { count(state_n)? },
    })
}

/// Elements that a block names in all, the measure of a call's fuel.
pub(super) fn elements(block: &Block<'_>) -> u64 {
    let vectors = block.rows.len() + block.rows_out.len() + 2;
    let states: usize = block.states.iter().map(|state| state.len).sum();
    let others = states + length(block.table) + length(block.mix_out) + length(block.input) + length(block.output);
    (block.n as u64).saturating_mul(vectors as u64).saturating_add(others as u64)
}

/// The bytes of a guest block, little-endian, field by field in the ABI's order.
pub(super) fn guest_bytes(block: &RawBlock<u32>) -> [u8; GUEST_BLOCK_BYTES] {
    let offset = [block.offset as u32, (block.offset >> 32) as u32];
    let words = [
        block.size,
        block.flags,
        offset[0],
        offset[1],
        block.vector,
        block.unit,
        block.n,
        block.k,
        block.rows,
        block.weights,
        block.table,
        block.base,
        block.states,
        block.out,
        block.rows_out,
        block.mix_out,
        block.input,
        block.output,
        block.table_len,
        block.n_states,
        block.n_rows_out,
        block.mix_len,
        block.input_len,
        block.output_cap,
        block.output_len,
        block.state_n,
    ];
    let mut bytes = [0; GUEST_BLOCK_BYTES];
    bytes.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
    bytes
}

fn length(span: Option<Span>) -> usize {
    span.map_or(0, |span| span.len)
}

fn count(n: usize) -> Result<u32, &'static str> {
    u32::try_from(n).map_err(|_| "a length does not fit 32 bits")
}

fn written_overlaps(block: &Block<'_>) -> bool {
    let single = |span: Option<Span>, size| span.into_iter().map(move |span| (span, size));
    let written = || {
        let vectors = block.states.iter().chain(block.rows_out).map(|&span| (span, F32));
        vectors.chain(single(block.out, F32)).chain(single(block.mix_out, F64)).chain(single(block.output, 1))
    };
    let read = || {
        let vectors = block.rows.iter().map(|&span| (span, F32)).chain(single(block.base, F32));
        vectors.chain(single(block.weights, F64)).chain(single(block.table, F64)).chain(single(block.input, 1))
    };
    written()
        .enumerate()
        .any(|(i, w)| read().any(|r| overlap(w, r)) || written().skip(i + 1).any(|other| overlap(w, other)))
}

fn overlap((a, a_size): (Span, usize), (b, b_size): (Span, usize)) -> bool {
    let end = |span: Span, size: usize| span.start.saturating_add(span.len.saturating_mul(size));
    a.buffer == b.buffer && a.start < end(b, b_size) && b.start < end(a, a_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Buffer;

    fn span(buffer: usize, start: usize, len: usize) -> Span {
        Span { buffer: Buffer(buffer), start, len }
    }

    /// Buffers of 1000 bytes at 1000, 2000, …; pointer arrays at 100.
    fn translated(block: &Block<'_>) -> Result<(RawBlock<u32>, Vec<u32>), &'static str> {
        let mut pointers = Vec::new();
        let resolve = |span: Span, bytes: usize| {
            let inside = span.start.checked_add(bytes)? <= 1000;
            inside.then_some((1000 * (span.buffer.0 + 1) + span.start) as u32)
        };
        let raw = translate(block, 0, &mut pointers, resolve, |_, i| 100 + 4 * i as u32)?;
        Ok((raw, pointers))
    }

    #[test]
    fn spans_become_pointers_in_the_abis_layout() {
        let rows = [span(0, 0, 10), span(0, 40, 10)];
        let states = [span(1, 0, 10)];
        let block = Block {
            offset: 1 << 33 | 5,
            vector: 7,
            unit: 8,
            n: 10,
            rows: &rows,
            weights: Some(span(2, 8, 2)),
            states: &states,
            out: Some(span(3, 4, 10)),
            output: Some(span(4, 3, 9)),
            ..Block::default()
        };
        let (raw, pointers) = translated(&block).unwrap();
        assert_eq!(pointers, [1000, 1040, 2000]);
        let bytes = guest_bytes(&raw);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        macro_rules! field {
            ($field:ident, $value:expr) => {
                assert_eq!(word(offset_of!(RawBlock<u32>, $field)), $value, stringify!($field));
            };
        }
        field!(size, 104);
        field!(flags, 0);
        field!(offset, 5);
        assert_eq!(word(offset_of!(RawBlock<u32>, offset) + 4), 2);
        field!(vector, 7);
        field!(unit, 8);
        field!(n, 10);
        field!(k, 2);
        field!(rows, 100);
        field!(weights, 3008);
        field!(table, 0);
        field!(base, 0);
        field!(states, 108);
        field!(out, 4004);
        field!(rows_out, 0);
        field!(mix_out, 0);
        field!(input, 0);
        field!(output, 5003);
        field!(table_len, 0);
        field!(n_states, 1);
        field!(n_rows_out, 0);
        field!(mix_len, 0);
        field!(input_len, 0);
        field!(output_cap, 9);
        field!(output_len, 0);
        field!(state_n, 0);
        assert_eq!(elements(&block), 10 * 5 + 9);
    }

    #[test]
    fn blocks_that_contradict_themselves_are_caught() {
        let row = [span(0, 0, 10)];
        let fine = Block { n: 10, rows: &row, out: Some(span(0, 40, 10)), ..Block::default() };
        assert!(translated(&fine).is_ok());
        let wrong = [
            (Block { n: 9, ..fine.clone() }, "not `n` long"),
            (Block { k: 2, ..fine.clone() }, "`k` is not the number of rows"),
            (Block { weights: Some(span(1, 0, 2)), ..fine.clone() }, "one weight for each row"),
            (Block { out: Some(span(0, 36, 10)), ..fine.clone() }, "overlaps"),
            (Block { states: &[span(0, 76, 10)], ..fine.clone() }, "overlaps"),
            (Block { out: Some(span(0, 964, 10)), ..fine.clone() }, "leaves its buffer"),
            (Block { out: Some(span(0, 42, 10)), ..fine.clone() }, "leaves its buffer"),
            (Block { table: Some(span(1, 4, 1)), ..fine.clone() }, "leaves its buffer"),
            (Block { table: Some(span(1, 0, usize::MAX / 4)), ..fine.clone() }, "leaves its buffer"),
        ];
        for (block, words) in wrong {
            let message = translated(&block).unwrap_err();
            assert!(message.contains(words), "{message} for {block:?}");
        }
    }
    /// The vector was written by a script that knows the prose of the ABI, not this code.
    #[test]
    fn guest_blocks_have_the_bytes_of_the_committed_vector() {
        let text = include_str!("../../../tests/vectors/abi/blocks.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let block = RawBlock {
            size: 104,
            flags: 0,
            offset: 0x0102_0304_0506_0708,
            vector: 0x1111_1111,
            unit: 0x1212_1212,
            n: 0x1313_1313,
            k: 0x1414_1414,
            rows: 0xa1,
            weights: 0xa2,
            table: 0xa3,
            base: 0xa4,
            states: 0xa5,
            out: 0xa6,
            rows_out: 0xa7,
            mix_out: 0xa8,
            input: 0xa9,
            output: 0xaa,
            table_len: 0x2121_2121,
            n_states: 0x2222_2222,
            n_rows_out: 0x2323_2323,
            mix_len: 0x2424_2424,
            input_len: 0x2525_2525,
            output_cap: 0x2626_2626,
            output_len: 0x2727_2727,
            state_n: 0x2828_2828,
        };
        let hex: String = guest_bytes(&block).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, vectors["block32"]["hex"].as_str().unwrap());
    }
}
