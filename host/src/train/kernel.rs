//! Which numeric kernels a trainer runs: across machines, results agree where this string does.

/// Of a plan: what multiplies its matrices, and the widest vectors that it chooses at run time, e.g.
/// `plan, gemm avx512f`.
pub fn plan() -> String {
    format!("plan, gemm {}", vectors())
}

/// Of a Burn module: the backend, and the widest vectors that its products choose, e.g. `burn-flex avx512f`.
pub fn burn() -> String {
    format!("burn-flex {}", vectors())
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if std::is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    std::env::consts::ARCH
}
