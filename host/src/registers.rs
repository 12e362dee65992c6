//! The vector registers that inner loops run in: the widest of the processor.
//!
//! Where in the flow: below training and strategies; found once, and passed to whatever works on many values at once.
//! What it never does: change a result.

use pulp::{Arch, Simd, WithSimd};

/// What the processor has.
#[derive(Clone, Copy, Debug)]
pub enum Registers {
    /// As `pulp` finds it: AVX-512, NEON, or plain scalar code.
    Found(Arch),
    /// AVX2 with fused multiply-add. Asked for by itself, because the feature by which `pulp` would find it makes Burn's
    /// kernels twice as long to build, and they do not use it.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
}

impl Registers {
    /// The widest that this processor has.
    pub fn widest() -> Self {
        let found = Arch::new();
        #[cfg(target_arch = "x86_64")]
        if matches!(found, Arch::Scalar)
            && let Some(avx2) = pulp::x86::V3::try_new()
        {
            return Registers::Avx2(avx2);
        }
        Registers::Found(found)
    }

    /// AVX2, if these are its registers or wider ones: for shuffles of bytes, which the compiler makes slow code of.
    #[cfg(target_arch = "x86_64")]
    pub fn avx2(self) -> Option<pulp::x86::V3> {
        match self {
            Registers::Avx2(avx2) => Some(avx2),
            Registers::Found(Arch::V4(_)) => pulp::x86::V3::try_new(),
            Registers::Found(_) => None,
        }
    }

    /// Runs `op` in code that was compiled for these registers.
    #[inline(always)]
    pub fn dispatch<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            Registers::Found(arch) => arch.dispatch(op),
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2(avx2) => Simd::vectorize(avx2, op),
        }
    }

    /// Runs `f` in code that was compiled for these registers, if it is `#[inline(always)]` and so is what it calls: what
    /// stays a function of its own is compiled for those that every processor of the architecture has.
    #[inline(always)]
    pub fn run<R, F: FnMut() -> R>(self, f: F) -> R {
        self.dispatch(Inlined(f))
    }
}

/// Called as `FnMut`: what calls a closure that borrows as `FnOnce` is a function that nobody can ask to be inlined.
struct Inlined<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Inlined<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
