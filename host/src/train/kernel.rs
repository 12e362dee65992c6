//! Which numeric kernels this process runs: across machines, results agree where this string does.

/// Backend and the widest vector instructions that its matrix products choose at run time, e.g. `burn-flex avx512f`.
pub fn kernel() -> String {
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
