//! What a product's sums begin with and what becomes of them.
//!
//! Where in the flow: a type parameter of each product, so that no tile asks. What it never does: touch memory.

use pulp::Simd;

/// What a sum begins with, and what becomes of it. A type each, so that no tile asks which.
pub trait Sum: Copy {
    /// Begins with what its place holds, so that one chain goes on; else with zero.
    const CONTINUES: bool = false;
    /// Meets what its place holds when it is complete; else overwrites it.
    const MEETS: bool = false;

    /// What a place will hold. `before`: what it holds, or anything if nothing is met.
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s;
}

/// From zero; overwrites its place.
#[derive(Clone, Copy, Debug)]
pub struct Fresh;
/// From what its place holds.
#[derive(Clone, Copy, Debug)]
pub struct Continued;
/// From zero; added to its place when it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Added;
/// From zero; when it is complete, its product with this rate is taken from its place.
#[derive(Clone, Copy, Debug)]
pub struct Descended(pub f32);

impl Sum for Fresh {
    #[inline(always)]
    fn end<S: Simd>(self, _simd: S, _before: S::f32s, sum: S::f32s) -> S::f32s {
        sum
    }
}

impl Sum for Continued {
    const CONTINUES: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, _simd: S, _before: S::f32s, sum: S::f32s) -> S::f32s {
        sum
    }
}

impl Sum for Added {
    const MEETS: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s {
        simd.add_f32s(before, sum)
    }
}

impl Sum for Descended {
    const MEETS: bool = true;

    #[inline(always)]
    fn end<S: Simd>(self, simd: S, before: S::f32s, sum: S::f32s) -> S::f32s {
        simd.sub_f32s(before, simd.mul_f32s(simd.splat_f32s(self.0), sum))
    }
}
