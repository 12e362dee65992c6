//! Where to train, as the word in the configuration says it.

use crate::error::{Fault, Kind};
use anyhow::Result;
use std::fmt;

/// `cpu`, `gpu`, `cuda`, the last two with an index where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    Cpu,
    /// Through Vulkan, Metal, DirectX 12 or OpenGL; through CUDA in a build that has CUDA alone.
    Gpu(Option<usize>),
    Cuda(Option<usize>),
}

impl DeviceChoice {
    /// Errors: `Kind::Config` for another word, or for a device that this build cannot reach.
    pub fn parse(text: &str) -> Result<Self> {
        let choice = Self::read(text).ok_or_else(|| {
            Fault::new(
                Kind::Config,
                format!(
                    "config `host.device = \"{text}\"`: unknown device; use `cpu`, `gpu` or `cuda`, the last two with an \
                     index if there are several, such as `gpu:1`"
                ),
            )
        })?;
        let built = match choice {
            DeviceChoice::Cpu => true,
            DeviceChoice::Gpu(_) => cfg!(any(feature = "gpu", feature = "cuda")),
            DeviceChoice::Cuda(_) => cfg!(feature = "cuda"),
        };
        if built { Ok(choice) } else { Err(not_built(choice)) }
    }

    fn read(text: &str) -> Option<Self> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse::<u16>().ok()?.into())),
            None => (text, None),
        };
        match (name, index) {
            ("cpu", None) => Some(DeviceChoice::Cpu),
            ("gpu", index) => Some(DeviceChoice::Gpu(index)),
            ("cuda", index) => Some(DeviceChoice::Cuda(index)),
            _ => None,
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, index) = match self {
            DeviceChoice::Cpu => ("cpu", None),
            DeviceChoice::Gpu(index) => ("gpu", *index),
            DeviceChoice::Cuda(index) => ("cuda", *index),
        };
        f.write_str(name)?;
        index.map_or(Ok(()), |index| write!(f, ":{index}"))
    }
}

/// That this build lacks the feature that reaches the device.
pub(crate) fn not_built(choice: DeviceChoice) -> anyhow::Error {
    let feature = match choice {
        DeviceChoice::Cuda(_) => "cuda",
        _ => "gpu",
    };
    Fault::new(
        Kind::Config,
        format!(
            "config `host.device = \"{choice}\"`: this build of colla has no support for it; build one with \
             `cargo run --release --features {feature} -- …`, or use `cpu`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_word_with_an_index_where_it_matters() {
        let cases = [
            ("cpu", Some(DeviceChoice::Cpu)),
            ("gpu", Some(DeviceChoice::Gpu(None))),
            ("gpu:0", Some(DeviceChoice::Gpu(Some(0)))),
            ("cuda:12", Some(DeviceChoice::Cuda(Some(12)))),
        ];
        for (text, choice) in cases {
            assert_eq!(DeviceChoice::read(text), choice);
            assert_eq!(choice.unwrap().to_string(), text);
        }
        for text in ["", "tpu", "cpu:0", "gpu:", "gpu:-1", "gpu:1:2", "GPU", "gpu:65536"] {
            assert_eq!(DeviceChoice::read(text), None, "{text}");
        }
    }

    #[cfg(not(any(feature = "gpu", feature = "cuda")))]
    #[test]
    fn a_build_without_gpus_says_how_to_get_one_with_them() {
        for (text, feature) in [("gpu:0", "gpu"), ("cuda", "cuda")] {
            let message = DeviceChoice::parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("cargo run --release --features {feature} --")), "{message}");
            assert!(message.contains(&format!("`host.device = \"{text}\"`")), "{message}");
        }
    }
}
