//! The transpose of bytes: sixteen samples side by side.
//!
//! Where in the flow: under [`SideBySide`](super::side_by_side::SideBySide), which turns samples this way before
//! their bytes become floats. What it never does: arithmetic.

use super::tile::WIDTH;
use crate::registers::Registers;

const HALF: usize = WIDTH / 2;
/// Bytes of a row of two squares, which a register of AVX2 holds.
pub const PAIR: usize = 2 * WIDTH;

/// Two squares of bytes, the second beside the first.
pub type Squares = [[u8; PAIR]; WIDTH];

/// Turns each of two squares by itself, sixteen samples at a time, and marks what is not blank in all of them.
///
/// Shapes: `samples` of one length, `turned` a place for every `PAIR` bytes of it, of which byte `b` of sample `s`
/// goes to `[b % 16][b / 16 · 16 + s]`; bytes that a sample lacks are zero. `marks` as long: a bit for each byte, 1
/// unless all samples have a zero there.
pub fn turn(registers: Registers, samples: &[&[u8]; WIDTH], turned: &mut [Squares], marks: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = registers.avx2() {
        return Registers::Avx2(avx2).run(
            #[inline(always)]
            || {
                turn_with(
                    #[inline(always)]
                    |rows| with_avx2::turned_and_marked(avx2, rows),
                    samples,
                    turned,
                    marks,
                );
            },
        );
    }
    registers.run(
        #[inline(always)]
        || turn_with(turned_and_marked, samples, turned, marks),
    );
}

/// Loops alone, since what a closure is passed to may be a function of its own, which would not run in the caller's
/// registers.
#[inline(always)]
fn turn_with(
    turned_and_marked: impl Fn(&Squares) -> (Squares, u32),
    samples: &[&[u8]; WIDTH],
    turned: &mut [Squares],
    marks: &mut [u32],
) {
    let mut pairs: [&[[u8; PAIR]]; WIDTH] = [&[]; WIDTH];
    let whole = samples[0].len() / PAIR;
    for lane in 0..WIDTH {
        pairs[lane] = &samples[lane].as_chunks().0[..whole];
    }
    let mut places = turned.iter_mut().zip(marks);
    for (at, (turned, marks)) in places.by_ref().take(whole).enumerate() {
        let mut rows = [[0; PAIR]; WIDTH];
        for lane in 0..WIDTH {
            rows[lane] = pairs[lane][at];
        }
        (*turned, *marks) = turned_and_marked(&rows);
    }
    if let Some((turned, marks)) = places.next() {
        let mut rows = [[0; PAIR]; WIDTH];
        for lane in 0..WIDTH {
            let rest = &samples[lane][whole * PAIR..];
            rows[lane][..rest.len()].copy_from_slice(rest);
        }
        (*turned, *marks) = turned_and_marked(&rows);
    }
}

/// Each square's transpose, and the marks of both.
#[inline(always)]
fn turned_and_marked(rows: &Squares) -> (Squares, u32) {
    let mut marks = 0;
    for byte in 0..PAIR {
        let any = rows.iter().fold(0, |any, row| any | row[byte]);
        marks |= u32::from(any != 0) << byte;
    }
    (zipped_four_times(rows), marks)
}

/// The transpose of each square. A round zips rows `i` and `i + 8` into rows `2i` and `2i + 1`; after four, the bytes
/// of a column stand side by side.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "`byte` counts bytes of two rows, from two others' halves")]
fn zipped_four_times(rows: &Squares) -> Squares {
    let mut rows = *rows;
    for _ in 0..WIDTH.ilog2() {
        let before = rows;
        for i in 0..HALF {
            for byte in 0..PAIR {
                let (square, j) = (byte / WIDTH * WIDTH, byte % WIDTH);
                let from = &before[i + j % 2 * HALF];
                (rows[2 * i][byte], rows[2 * i + 1][byte]) = (from[square + j / 2], from[square + HALF + j / 2]);
            }
        }
    }
    rows
}

#[cfg(target_arch = "x86_64")]
mod with_avx2 {
    use super::{HALF, Squares, WIDTH};
    use pulp::x86::V3;
    use std::arch::x86_64::__m256i;

    /// As its namesake. Nested calls, since the compiler keeps in memory what goes round a loop.
    #[inline(always)]
    pub fn turned_and_marked(simd: V3, rows: &Squares) -> (Squares, u32) {
        let rows: [__m256i; WIDTH] = pulp::cast(*rows);
        let mut any = rows[0];
        for row in &rows[1..] {
            any = simd.avx2._mm256_or_si256(any, *row);
        }
        let blank = simd.avx2._mm256_cmpeq_epi8(any, simd.avx._mm256_setzero_si256());
        let marks = !simd.avx2._mm256_movemask_epi8(blank).cast_unsigned();
        (pulp::cast(zipped(simd, zipped(simd, zipped(simd, zipped(simd, rows))))), marks)
    }

    #[inline(always)]
    fn zipped(simd: V3, rows: [__m256i; WIDTH]) -> [__m256i; WIDTH] {
        let mut zipped = rows;
        for i in 0..HALF {
            zipped[2 * i] = simd.avx2._mm256_unpacklo_epi8(rows[i], rows[i + HALF]);
            zipped[2 * i + 1] = simd.avx2._mm256_unpackhi_epi8(rows[i], rows[i + HALF]);
        }
        zipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::tests::all_registers;

    #[test]
    fn every_byte_finds_its_samples_lane_and_marks_its_place() {
        // Less than a square, a square and a rest, a pair, pairs and a rest.
        for width in [3usize, 21, 32, 101] {
            // Every third byte is zero in all samples, others in some.
            let byte = |at: usize, sample: usize| if at % 3 == 1 { 0 } else { ((sample * 37 + at) % 5 * 51) as u8 };
            let samples: Vec<Vec<u8>> =
                (0..WIDTH).map(|sample| (0..width).map(|at| byte(at, sample)).collect()).collect();
            let samples = std::array::from_fn(|sample| samples[sample].as_slice());
            for registers in all_registers() {
                let pairs = width.div_ceil(PAIR);
                let (mut turned, mut marks) = (vec![[[7; PAIR]; WIDTH]; pairs], vec![7; pairs]);
                turn(registers, &samples, &mut turned, &mut marks);
                for at in 0..pairs * PAIR {
                    let found = &turned[at / PAIR][at % WIDTH][at % PAIR / WIDTH * WIDTH..][..WIDTH];
                    let expected: Vec<u8> =
                        (0..WIDTH).map(|sample| if at < width { byte(at, sample) } else { 0 }).collect();
                    assert_eq!(found, expected, "{registers:?}, width {width}, byte {at}");
                    let is_marked = marks[at / PAIR] >> (at % PAIR) & 1 == 1;
                    let expected = expected.iter().any(|&byte| byte != 0);
                    assert_eq!(is_marked, expected, "{registers:?}, width {width}, mark {at}");
                }
            }
        }
    }
}
