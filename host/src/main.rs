//! The `colla-host` program; see [`colla::cli`].

/// Training allocates many small tensors: with the system's allocator the same work takes up to twice as long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    colla::cli::main()
}
