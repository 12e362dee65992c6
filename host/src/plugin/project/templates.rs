//! The files of a new project, as they lie in `plugin-sdk/templates/` and `plugin-sdk/src/`.
//!
//! Where in the flow: compiled in, so that the binary alone can make a project. `{{name}}` and `{{role}}` are filled in.
//! What it never does: hold text of its own. What an author gets is what the tests compile.

pub mod assemblyscript;

/// A small working method of one role.
pub struct Template {
    /// The word on the command line.
    pub kind: &'static str,
    pub manifest: &'static str,
    pub source: &'static str,
}

macro_rules! template {
    ($kind:literal) => {
        Template {
            kind: $kind,
            manifest: include_str!(concat!("../../../../plugin-sdk/templates/", $kind, "/manifest.json")),
            source: include_str!(concat!("../../../../plugin-sdk/templates/", $kind, "/lib.rs")),
        }
    };
}

pub static TEMPLATES: &[Template] = &[
    template!("client"),
    template!("normalize"),
    template!("compress"),
    template!("aggregate"),
    template!("aggregate-rows"),
    template!("aggregate-gram"),
    template!("mix"),
    template!("attack"),
    template!("server-step"),
    template!("post"),
    template!("select"),
];

macro_rules! project_file {
    ($place:literal, $file:literal) => {
        ($place, include_str!(concat!("../../../../plugin-sdk/templates/", $file)))
    };
}

/// Place in the project, and content, of the files that all kinds share; `Cargo.lock` is [`LOCK`].
pub static COMMON: &[(&str, &str)] = &[
    project_file!("Cargo.toml", "project/Cargo.toml"),
    project_file!("README.md", "project/README.md"),
    project_file!("rust-toolchain.toml", "project/rust-toolchain.toml"),
    project_file!(".cargo/config.toml", "project/config.toml"),
    project_file!(".gitignore", "project/gitignore"),
    project_file!("sdk/Cargo.toml", "sdk/Cargo.toml"),
];

/// The versions of all dependencies, those that the host itself is built with.
pub static LOCK: &str = include_str!("../../../../plugin-sdk/templates/project/Cargo.lock");

macro_rules! sdk_sources {
    ($($file:literal),+ $(,)?) => {
        &[$((concat!("sdk/src/", $file), include_str!(concat!("../../../../plugin-sdk/src/", $file)))),+]
    };
}

/// The SDK, less its own tests.
pub static SDK: &[(&str, &str)] = sdk_sources![
    "abi.rs",
    "bits.rs",
    "block.rs",
    "codec.rs",
    "cohort.rs",
    "error.rs",
    "export.rs",
    "host.rs",
    "kinds.rs",
    "layout.rs",
    "lib.rs",
    "log.rs",
    "macros.rs",
    "math/mod.rs",
    "math/sorted.rs",
    "parameters.rs",
    "plan.rs",
    "random.rs",
    "robust.rs",
    "roles/aggregate.rs",
    "roles/attack.rs",
    "roles/client.rs",
    "roles/compress.rs",
    "roles/mix.rs",
    "roles/mod.rs",
    "roles/normalize.rs",
    "roles/plugin.rs",
    "roles/post.rs",
    "roles/select.rs",
    "roles/server_step.rs",
    "scan.rs",
    "sparse.rs",
    "testing.rs",
    "testing/vectors.rs",
    "value.rs",
];
