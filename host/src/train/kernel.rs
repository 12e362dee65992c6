//! Which numeric kernels a trainer runs: across machines, results agree where this string does.

/// Of a plan: its own products, whose sums have one fixed order on every processor. The number changes when that order,
/// or anything else that a weight depends on, does.
pub fn plan() -> String {
    "plan, ordered fma 3".to_owned()
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
