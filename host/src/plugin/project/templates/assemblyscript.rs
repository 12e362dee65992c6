//! The files of a new AssemblyScript project, as they lie in `plugin-sdk/assemblyscript/`.
//!
//! Where in the flow: as [`super`]. A template's manifest is that of the Rust template of its kind: the same method.

/// A small working method of one role.
pub struct Template {
    /// The word on the command line.
    pub kind: &'static str,
    pub manifest: &'static str,
    pub source: &'static str,
    pub test: &'static str,
}

macro_rules! template {
    ($kind:literal) => {
        Template {
            kind: $kind,
            manifest: include_str!(concat!("../../../../../plugin-sdk/templates/", $kind, "/manifest.json")),
            source: include_str!(concat!("../../../../../plugin-sdk/assemblyscript/templates/", $kind, "/index.ts")),
            test: include_str!(concat!(
                "../../../../../plugin-sdk/assemblyscript/templates/",
                $kind,
                "/plugin.test.mjs"
            )),
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
        ($place, include_str!(concat!("../../../../../plugin-sdk/assemblyscript/templates/", $file)))
    };
}

/// Place in the project, and content, of the files that all kinds share.
pub static COMMON: &[(&str, &str)] = &[
    project_file!("package.json", "project/package.json"),
    project_file!("package-lock.json", "project/package-lock.json"),
    project_file!("asconfig.json", "project/asconfig.json"),
    project_file!("assembly/tsconfig.json", "project/tsconfig.json"),
    project_file!("README.md", "project/README.md"),
    project_file!(".gitignore", "project/gitignore"),
    project_file!("sdk/package.json", "sdk/package.json"),
];

macro_rules! sdk_sources {
    ($($file:literal),+ $(,)?) => {
        &[$((concat!("sdk/", $file), include_str!(concat!("../../../../../plugin-sdk/assemblyscript/", $file)))),+]
    };
}

/// The SDK, less its own tests.
pub static SDK: &[(&str, &str)] = sdk_sources![
    "assembly/abi.ts",
    "assembly/abort.ts",
    "assembly/block.ts",
    "assembly/codec.ts",
    "assembly/cohort.ts",
    "assembly/error.ts",
    "assembly/exports.ts",
    "assembly/heap.ts",
    "assembly/host.ts",
    "assembly/index.ts",
    "assembly/log.ts",
    "assembly/math/index.ts",
    "assembly/math/mean.ts",
    "assembly/math/scale.ts",
    "assembly/math/sorted.ts",
    "assembly/parameters.ts",
    "assembly/plan.ts",
    "assembly/plugin.ts",
    "assembly/postcard.ts",
    "assembly/random.ts",
    "assembly/roles/aggregate.ts",
    "assembly/roles/attack.ts",
    "assembly/roles/client.ts",
    "assembly/roles/compress.ts",
    "assembly/roles/decide.ts",
    "assembly/roles/mix.ts",
    "assembly/roles/normalize.ts",
    "assembly/roles/post.ts",
    "assembly/roles/role.ts",
    "assembly/roles/select.ts",
    "assembly/roles/server_step.ts",
    "assembly/roles/stage.ts",
    "assembly/scan.ts",
    "assembly/utf8.ts",
    "assembly/value.ts",
    "assembly/views.ts",
    "testing/codec.mjs",
    "testing/host.mjs",
    "testing/index.mjs",
    "testing/scan.mjs",
    "transform.mjs",
];
