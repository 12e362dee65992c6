//! The one macro: it makes a `.wasm` module and a native library of the same type.

/// Exports a plugin: `colla_plugin!(FedProx: client);`, `colla_plugin!(Scaffold: client, server_step);`.
///
/// The type implements [`Plugin`](crate::Plugin) and the trait of each role named, which must be those that `kinds` of the
/// manifest names. The file `manifest.json` beside the
/// plugin's `Cargo.toml` is embedded where the host reads it without running anything. Use it once per crate, whose
/// `crate-type` is `cdylib`.
#[macro_export]
macro_rules! colla_plugin {
    ($plugin:ty : $($role:ident),+ $(,)?) => {
        #[cfg(all(not(target_family = "wasm"), not(panic = "unwind")))]
        compile_error!("a native CollA plugin needs `panic = \"unwind\"`: its panics must not end the host");

        const _: () = assert!(
            $crate::roles::at_most_one(&[$($crate::roles::$role::IS_STAGE),+]),
            "normalize, compress and post share operations: a plugin can be only one of them",
        );
        const _: () = assert!(
            $crate::roles::at_most_one(&[$($crate::roles::$role::DECIDES),+]),
            "mix and aggregate share operations: a plugin can be only one of them",
        );

        // The host believes the manifest, the code answers for the macro's roles: they must not part.
        const _: () = {
            const MANIFEST: &[u8] = <$plugin as $crate::export::Exported>::MANIFEST;

            $(assert!(
                $crate::kinds::has(MANIFEST, $crate::roles::$role::KIND),
                concat!(
                    "`colla_plugin!` names the role `", stringify!($role), "`, but `kinds` in manifest.json does not; \
                     add it there, with `-` for `_`, or remove it from `colla_plugin!`",
                ),
            );)+
            assert!(
                $crate::kinds::are_all_in(MANIFEST, &[$($crate::roles::$role::KIND),+]),
                "`kinds` in manifest.json names a role that `colla_plugin!` does not; implement its trait and add it to \
                 `colla_plugin!`, with `_` for `-`, or remove it from `kinds`",
            );
        };

        impl $crate::export::Exported for $plugin {
            const MANIFEST: &'static [u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json"));

            fn answer(&mut self, operation: u32, message: &$crate::Map) -> $crate::Result<$crate::Map> {
                $(if let Some(reply) = $crate::roles::$role::call(self, operation, message) {
                    return reply;
                })+
                $crate::roles::plugin::call(self, operation, message)
            }

            fn work(&mut self, operation: u32, block: &mut $crate::Block<'_>) -> $crate::Result<()> {
                $(if let Some(done) = $crate::roles::$role::block(self, operation, block) {
                    return done;
                })+
                Err($crate::roles::plugin::unsupported("data", operation))
            }
        }

        const _: () = {
            const MANIFEST: &[u8] = <$plugin as $crate::export::Exported>::MANIFEST;

            // A copy, not a reference: the section must hold the bytes themselves.
            #[used]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "colla.manifest"))]
            #[cfg_attr(
                all(unix, not(target_vendor = "apple"), not(target_family = "wasm")),
                unsafe(link_section = ".colla.manifest")
            )]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__colla_manif"))]
            #[cfg_attr(windows, unsafe(link_section = ".collam"))]
            static SECTION: [u8; MANIFEST.len()] = *MANIFEST.first_chunk().unwrap();

            $crate::colla_exports!($plugin);
        };
    };
}

/// The exports of WASM, or the one symbol of a native library. An implementation detail of [`colla_plugin!`].
#[doc(hidden)]
#[macro_export]
#[cfg(target_family = "wasm")]
macro_rules! colla_exports {
    ($plugin:ty) => {
        use $crate::abi::{ABI_VERSION, RawBlock, RawSlice};
        use $crate::export;

        #[unsafe(no_mangle)]
        extern "C" fn colla_abi_version() -> u32 {
            ABI_VERSION
        }
        #[unsafe(no_mangle)]
        extern "C" fn colla_alloc(size: usize, align: usize) -> *mut u8 {
            export::alloc(size, align)
        }
        // SAFETY of all below: the host keeps the contract of `export`.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_free(pointer: *mut u8, size: usize, align: usize) {
            unsafe { export::free(pointer, size, align) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_create(config: *const u8, len: usize, host: *mut u8, out: *mut *mut u8) -> i32 {
            unsafe { export::create::<$plugin>(config, len, host, out) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_destroy(context: *mut u8) {
            unsafe { export::destroy::<$plugin>(context) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_call(context: *mut u8, operation: u32, message: *const u8, len: usize) -> i32 {
            unsafe { export::call::<$plugin>(context, operation, message, len) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_reply(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
            unsafe { export::reply::<$plugin>(context, out) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_block(context: *mut u8, operation: u32, block: *mut RawBlock<*mut u8>) -> i32 {
            unsafe { export::block::<$plugin>(context, operation, block) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_last_error(context: *mut u8, out: *mut RawSlice<*const u8, usize>) {
            unsafe { export::last_error::<$plugin>(context, out) }
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(target_family = "wasm"))]
macro_rules! colla_exports {
    ($plugin:ty) => {
        // SAFETY: the host keeps the contract of `export`.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn colla_plugin_v1(host: *const $crate::abi::HostV1) -> *const $crate::abi::PluginV1 {
            unsafe { $crate::export::native::<$plugin>(host) }
        }
    };
}
