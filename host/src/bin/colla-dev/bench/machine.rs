//! On what was measured: processor, its measured peak, operating system, commit.

use anyhow::{Context, Result, ensure};
use colla::registers::Registers;
use pulp::{Simd, WithSimd};
use serde::{Deserialize, Serialize};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Most that one core reaches with fused multiplications and additions of `f32`, two operations each; the best of
    /// several short tries.
    pub fma_gflops: f64,
    pub system: String,
    /// Of the checkout, with `+changes` if its files differ from it.
    pub commit: String,
}

impl Machine {
    pub fn of(root: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()),
            cores: cores(),
            fma_gflops: fma_peak(),
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim_end().to_owned(),
            commit: commit(root)?,
        })
    }

    /// Whether times of both may stand in one table.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.cpu, self.cores, &self.system) == (&other.cpu, other.cores, &other.system)
    }
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn commit(root: &Path) -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().context("starting git")?;
        ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Ok(if changed { commit + "+changes" } else { commit })
}

/// Best of many short tries: on a busy machine some of them run undisturbed.
fn fma_peak() -> f64 {
    let rate = |_| {
        let start = Instant::now();
        let operations = Registers::widest().dispatch(Chains);
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    (0..200).map(rate).fold(0.0, f64::max)
}

/// Independent chains: enough to hide the latency of two units, few enough for sixteen registers.
const CHAINS: usize = 12;
const LENGTH: usize = 40_000;

struct Chains;

impl WithSimd for Chains {
    /// Operations done.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (factor, term) = (simd.splat_f32s(black_box(0.5)), simd.splat_f32s(black_box(0.25)));
        let mut chains = [term; CHAINS];
        for _ in 0..LENGTH {
            for chain in &mut chains {
                *chain = simd.mul_add_e_f32s(*chain, factor, term);
            }
        }
        black_box(chains);
        (2 * S::F32_LANES * CHAINS * LENGTH) as f64
    }
}
