//! Inner products of all pairs of rows over a short range, in vector registers.
//!
//! Rows stand in blocks of eight, element by element, so that one pair of blocks is an 8 × 8 tile of sums held in
//! registers. Every sum adds its products one after another in index order, whatever the width of the registers; so the
//! bits are the same on every machine.
//!
//! Fused multiply-add: a product of two `f32` has at most 48 significant bits and is exact in `f64`, so fusing it with the
//! addition changes nothing, and it is fused where the processor can. Differences of `f32` are not so short; with a common
//! origin the product is rounded before it is added ([`Products::Rounded`]).

use crate::registers::Registers;
use pulp::{Simd, WithSimd};

/// Rows of a block.
pub const BLOCK: usize = 8;
/// Elements of a chunk: the blocks of a hundred rows stay in the second-level cache.
pub const CHUNK: usize = 256;

/// Whether the products of two values are exact in `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    Exact,
    Rounded,
}

/// A chunk of all rows: block by block, element by element, eight rows side by side.
pub struct Panel {
    values: Vec<f64>,
    blocks: usize,
    elements: usize,
}

impl Panel {
    pub fn new(rows: usize) -> Self {
        let blocks = rows.div_ceil(BLOCK);
        Panel { values: vec![0.0; blocks * BLOCK * CHUNK], blocks, elements: 0 }
    }

    /// Fills block `block` with elements `range` of its rows, at most eight, each minus `origin`.
    ///
    /// Shapes: `rows` are as long as each other; `origin` is empty or as long as they are.
    pub fn fill(&mut self, block: usize, rows: &[&[f32]], origin: &[f32]) {
        self.elements = rows[0].len();
        let values = &mut self.values[block * BLOCK * CHUNK..][..BLOCK * self.elements];
        if let (&[a, b, c, d, e, f, g, h], []) = (rows, origin) {
            let (a, b, c, d) = (a.iter(), b.iter(), c.iter(), d.iter());
            let columns = a.zip(b).zip(c.zip(d)).zip(e.iter().zip(f).zip(g.iter().zip(h)));
            for (out, (((a, b), (c, d)), ((e, f), (g, h)))) in values.chunks_exact_mut(BLOCK).zip(columns) {
                out.copy_from_slice(&[a, b, c, d, e, f, g, h].map(|&x| f64::from(x)));
            }
            return;
        }
        for (element, out) in values.chunks_exact_mut(BLOCK).enumerate() {
            let origin = origin.get(element).map_or(0.0, |&x| f64::from(x));
            for (lane, out) in out.iter_mut().enumerate() {
                *out = rows.get(lane).map_or(0.0, |row| f64::from(row[element]) - origin);
            }
        }
    }

    fn block(&self, block: usize) -> &[f64] {
        &self.values[block * BLOCK * CHUNK..][..BLOCK * self.elements]
    }
}

/// Tiles of a panel: pairs of blocks (i, j) with i ≤ j, row by row.
pub fn tiles(rows: usize) -> usize {
    let blocks = rows.div_ceil(BLOCK);
    blocks * (blocks + 1) / 2
}

/// Adds the panel's inner products to `sums`, [`tiles`] · 64 values.
pub fn add_products(registers: Registers, panel: &Panel, products: Products, sums: &mut [f64]) {
    match products {
        Products::Exact => registers.dispatch(Tiles::<true> { panel, sums }),
        Products::Rounded => registers.dispatch(Tiles::<false> { panel, sums }),
    }
}

struct Tiles<'a, const FUSED: bool> {
    panel: &'a Panel,
    sums: &'a mut [f64],
}

impl<const FUSED: bool> WithSimd for Tiles<'_, FUSED> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut sums = self.sums.chunks_exact_mut(BLOCK * BLOCK);
        for i in 0..self.panel.blocks {
            for j in i..self.panel.blocks {
                let (Some(sums), left, right) = (sums.next(), self.panel.block(i), self.panel.block(j)) else { return };
                // As many sums as the registers hold: at least eight vectors hide the latency of an addition.
                match S::F64_LANES {
                    8 => tile::<S, FUSED, 8, 1>(simd, left, right, sums),
                    4 => tile::<S, FUSED, 4, 2>(simd, left, right, sums),
                    2 => tile::<S, FUSED, 4, 4>(simd, left, right, sums),
                    _ => tile::<S, FUSED, 2, 8>(simd, left, right, sums),
                }
            }
        }
    }
}

/// One 8 × 8 tile, `ROWS` of its rows at a time, in `VECTORS` vectors each.
#[inline(always)]
fn tile<S: Simd, const FUSED: bool, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    left: &[f64],
    right: &[f64],
    sums: &mut [f64],
) {
    for (part, sums) in sums.chunks_exact_mut(ROWS * BLOCK).enumerate() {
        let mut products = [[simd.splat_f64s(0.0); VECTORS]; ROWS];
        for (left, right) in left.as_chunks::<BLOCK>().0.iter().zip(right.as_chunks::<BLOCK>().0) {
            let right: &[S::f64s] = S::as_simd_f64s(right).0;
            for row in 0..ROWS {
                let left = simd.splat_f64s(left[part * ROWS + row]);
                for vector in 0..VECTORS {
                    let (sum, right) = (products[row][vector], right[vector]);
                    products[row][vector] = if FUSED {
                        simd.mul_add_e_f64s(left, right, sum)
                    } else {
                        simd.add_f64s(sum, simd.mul_f64s(left, right))
                    };
                }
            }
        }
        for (sums, products) in sums.chunks_exact_mut(BLOCK).zip(&products) {
            for (sum, product) in S::as_mut_simd_f64s(sums).0.iter_mut().zip(products) {
                *sum = simd.add_f64s(*sum, *product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use pulp::Scalar;

    /// The machine's widest registers and plain scalar code must agree bit for bit, fused or not.
    #[test]
    fn every_width_of_registers_gives_the_same_bits() {
        let mut stream = Stream::new(1, Purpose::Cohort, 0, 0);
        let rows: Vec<Vec<f32>> = (0..19).map(|_| (0..CHUNK).map(|_| stream.normal() as f32).collect()).collect();
        let origin = rows[3].clone();
        for (products, origin) in [(Products::Exact, &[][..]), (Products::Rounded, &origin[..])] {
            let mut panel = Panel::new(rows.len());
            for (block, rows) in rows.chunks(BLOCK).enumerate() {
                panel.fill(block, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), origin);
            }
            let mut wide = vec![0.5; tiles(rows.len()) * BLOCK * BLOCK];
            let mut narrow = wide.clone();
            add_products(Registers::widest(), &panel, products, &mut wide);
            match products {
                Products::Exact => Tiles::<true> { panel: &panel, sums: &mut narrow }.with_simd(Scalar),
                Products::Rounded => Tiles::<false> { panel: &panel, sums: &mut narrow }.with_simd(Scalar),
            }
            assert_eq!(wide, narrow);
            // Rows 1 and 9: block pair (0, 1) is the second tile; element by element in index order.
            let at = |row: usize, i: usize| f64::from(rows[row][i]) - origin.get(i).map_or(0.0, |&x| f64::from(x));
            let by_hand = (0..CHUNK).fold(0.0, |sum, i| sum + at(1, i) * at(9, i)) + 0.5;
            assert_eq!(wide[64 + 8 + 1], by_hand);
        }
    }
}
