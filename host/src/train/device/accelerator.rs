//! From the word in the configuration to a device that answers.
//!
//! Where in the flow: once, before the engine is built. What it never does: settle for another device than the one that
//! was asked for, or take a software rasterizer for a GPU unless it is named by its index.

use crate::config::DeviceChoice;
use crate::error::{Fault, Kind};
use anyhow::Result;
use burn::tensor::{Device, Tensor};

/// A device that has computed something.
#[derive(Clone, Debug)]
pub struct Accelerator {
    pub(in crate::train) device: Device,
    name: String,
    /// Bytes of the largest tensor that may be made.
    pub(super) largest_tensor: usize,
    /// Bytes that training and resident data may take together.
    pub(super) memory: usize,
}

/// Bytes of one buffer that every GPU of the last ten years gives.
#[cfg(any(feature = "gpu", feature = "cuda"))]
const GPU_BUFFER: usize = 1 << 30;
/// What Vulkan guarantees for one buffer, and all that Mesa's software rasterizer gives.
#[cfg(any(feature = "gpu", test))]
const GUARANTEED_BUFFER: usize = 128 << 20;

impl Accelerator {
    /// Opens the device; `None` for the CPU, which needs no opening. `memory_mib`: the most that training may take of
    /// its memory.
    ///
    /// Errors: `Kind::Config` where this build cannot reach such devices, or for an index that no device has;
    /// `Kind::Data` where there is none, or it does not answer.
    pub fn open(choice: DeviceChoice, memory_mib: usize) -> Result<Option<Self>> {
        let (device, api, largest_tensor) = match choice {
            DeviceChoice::Cpu => return Ok(None),
            DeviceChoice::Gpu(index) if cfg!(feature = "gpu") => graphics(index)?,
            DeviceChoice::Gpu(index) | DeviceChoice::Cuda(index) => cuda(index)?,
        };
        let name = match answers(&device) {
            Ok(Some(name)) => format!("{name} through {api}"),
            Ok(None) => api.to_owned(),
            Err(why) => {
                return Err(Fault::new(
                    Kind::Data,
                    format!(
                        "opening the device `{choice}` through {api} — {why}; check its driver, or use `--device cpu`"
                    ),
                ));
            }
        };
        Ok(Some(Accelerator { device, name, largest_tensor, memory: memory_mib << 20 }))
    }

    /// The processor in the place of a GPU, for tests of what runs on either.
    #[cfg(test)]
    pub fn processor(memory_mib: usize) -> Self {
        Accelerator {
            device: Device::flex(),
            name: "the processor".into(),
            largest_tensor: GUARANTEED_BUFFER,
            memory: memory_mib << 20,
        }
    }

    /// The device as it names itself, and what it is reached through.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// An adapter that wgpu reaches. Without an index: the first that is no software rasterizer.
#[cfg(feature = "gpu")]
fn graphics(index: Option<usize>) -> Result<(Device, &'static str, usize)> {
    use burn::tensor::{DeviceKind, DeviceType};
    let adapters = Device::enumerate(DeviceType::Wgpu).into_vec();
    let is_software = |device: &Device| *device == Device::wgpu(DeviceKind::Cpu);
    let found = match index {
        Some(index) => adapters.get(index),
        None => adapters.iter().find(|device| !is_software(device)),
    };
    let Some(device) = found else {
        let list = |(index, device): (usize, &Device)| match is_software(device) {
            true => format!("`gpu:{index}` (software, slower than `cpu`)"),
            false => format!("`gpu:{index}`"),
        };
        let list: Vec<String> = adapters.iter().enumerate().map(list).collect();
        return Err(match (index, list.is_empty()) {
            (Some(index), false) => Fault::new(
                Kind::Config,
                format!(
                    "config `host.device = \"gpu:{index}\"`: no adapter has this index; there is {}",
                    list.join(", ")
                ),
            ),
            (None, false) => Fault::new(
                Kind::Data,
                format!(
                    "no GPU was found through Vulkan, Metal or DirectX 12, but only {}; name it, or use `cpu`",
                    list.join(", ")
                ),
            ),
            (_, true) => Fault::new(
                Kind::Data,
                "no GPU was found through Vulkan, Metal or DirectX 12; install its driver, or use `--device cpu`",
            ),
        });
    };
    let largest = if is_software(device) { GUARANTEED_BUFFER } else { GPU_BUFFER };
    Ok((device.clone(), "wgpu", largest))
}

#[cfg(not(feature = "gpu"))]
fn graphics(index: Option<usize>) -> Result<(Device, &'static str, usize)> {
    Err(crate::config::not_built(DeviceChoice::Gpu(index)))
}

/// An NVIDIA card by its index among those that the driver shows; the first without one.
#[cfg(feature = "cuda")]
fn cuda(index: Option<usize>) -> Result<(Device, &'static str, usize)> {
    use burn::tensor::DeviceType;
    let cards = Device::enumerate(DeviceType::Cuda).into_vec();
    match (cards.get(index.unwrap_or(0)), index) {
        (Some(card), _) => Ok((card.clone(), "CUDA", GPU_BUFFER)),
        (None, Some(index)) if !cards.is_empty() => Err(Fault::new(
            Kind::Config,
            format!("config `host.device = \"cuda:{index}\"`: the driver shows {} cards, counted from 0", cards.len()),
        )),
        (None, _) => {
            Err(Fault::new(Kind::Data, "no CUDA device was found; install NVIDIA's driver, or use `--device cpu`"))
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: Option<usize>) -> Result<(Device, &'static str, usize)> {
    Err(crate::config::not_built(DeviceChoice::Cuda(index)))
}

/// Computes 1 + 1 there. The device's name, if it tells one, or why there is no answer.
fn answers(device: &Device) -> Result<Option<String>, String> {
    let probe = || -> Result<(Vec<f32>, Option<String>), String> {
        let sum = Tensor::<1>::ones([2], device).sum().try_into_data().map_err(|error| error.to_string())?;
        Ok((sum.try_into_vec_as::<f32>().map_err(|error| format!("{error:?}"))?, name(device)))
    };
    // Drivers that cannot be loaded make Burn panic.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(probe));
    match answer.unwrap_or_else(|_| Err("it could not be initialised".into()))? {
        (sum, name) if sum == [2.0] => Ok(name),
        (sum, _) => Err(format!("1 + 1 came out as {sum:?}")),
    }
}

#[cfg(any(feature = "gpu", feature = "cuda"))]
fn name(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

#[cfg(not(any(feature = "gpu", feature = "cuda")))]
fn name(_device: &Device) -> Option<String> {
    None
}
