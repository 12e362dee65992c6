//! From the word in the configuration to a device that answers.
//!
//! Where in the flow: once, before the engine is built. What it never does: settle for another device than the one that
//! was asked for, or take a software rasterizer for a GPU unless it is named by its index.

use super::replay::records;
use super::{caught, root_cause};
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
    /// Whether steps are recorded and replayed: through CUDA, where that saves launches, as it does not through wgpu.
    pub(super) replays: bool,
    /// Bytes that training and resident data may take together.
    memory: usize,
}

/// What a device says of itself.
struct Properties {
    name: String,
    /// Bytes that it gives in one buffer.
    largest_buffer: usize,
}

/// Most clients of a stack: many more than fill a device, and few enough for the limits on what one launch enumerates.
const MOST_CLIENTS: usize = 4096;
/// Bytes of features in a window of batches, where an eighth of the memory allows it.
const WINDOW: usize = 32 << 20;
const MIB: usize = 1 << 20;
/// What an NVIDIA card is reached through.
const CUDA: &str = "CUDA";

impl Accelerator {
    /// Opens the device; `None` for the CPU, which needs no opening. `memory_mib`: the most that training may take of
    /// its memory.
    ///
    /// Errors: `Kind::Config` where this build cannot reach such devices, or for an index that no device has;
    /// `Kind::Data` where there is none, or it does not answer.
    pub fn open(choice: DeviceChoice, memory_mib: usize) -> Result<Option<Self>> {
        let (device, api) = match choice {
            DeviceChoice::Cpu => return Ok(None),
            DeviceChoice::Gpu(index) if cfg!(feature = "gpu") => graphics(index)?,
            DeviceChoice::Gpu(index) | DeviceChoice::Cuda(index) => cuda(index)?,
        };
        let failed = |why: String| {
            Fault::new(
                Kind::Data,
                format!(
                    "opening the device `{choice}` through {api} — {}; check its driver, or use `--device cpu`",
                    root_cause(&why)
                ),
            )
        };
        let properties = answer(&device).map_err(failed)?;
        let replays = api == CUDA && caught(|| records(&device)).map_err(failed)?;
        Ok(Some(Accelerator {
            device,
            name: format!("{} through {api}", properties.name),
            largest_tensor: properties.largest_buffer,
            replays,
            memory: memory_mib.saturating_mul(MIB),
        }))
    }

    /// The processor in the place of a GPU, for tests of what runs on either.
    #[cfg(test)]
    pub fn processor(memory_mib: usize) -> Self {
        Accelerator {
            device: Device::flex(),
            name: "the processor".into(),
            // What Vulkan guarantees for one buffer, and all that Mesa's software rasterizer gives.
            largest_tensor: 128 * MIB,
            replays: false,
            memory: memory_mib * MIB,
        }
    }

    /// The processor, and the GPU that [`gpu_for_tests`](Self::gpu_for_tests) finds; where that must be there, the GPU alone, as a
    /// build without GPUs tests the processor.
    #[cfg(test)]
    pub fn all_for_tests(memory_mib: usize) -> Vec<Self> {
        let processor = (!gpu_is_required()).then(|| Accelerator::processor(memory_mib));
        processor.into_iter().chain(Accelerator::gpu_for_tests(memory_mib)).collect()
    }

    /// In a build that reaches GPUs the first adapter that there is, software or not.
    ///
    /// Where a GPU must be there, `COLLA_REQUIRE_GPU` says so and its absence fails.
    #[cfg(test)]
    pub fn gpu_for_tests(memory_mib: usize) -> Option<Self> {
        let opened = match Accelerator::open(DeviceChoice::Gpu(Some(0)), memory_mib) {
            _ if !cfg!(feature = "gpu") => Err(anyhow::anyhow!("this build has no feature `gpu`")),
            opened => opened,
        };
        let adapter = match opened {
            Ok(adapter) => adapter,
            Err(error) if gpu_is_required() => panic!("COLLA_REQUIRE_GPU is set, but {error}"),
            Err(error) => {
                eprintln!("no test on a GPU: {error}");
                None
            }
        };
        // Recorded through wgpu too, so that this is tested where there is no CUDA.
        adapter.map(|adapter| Accelerator { replays: records(&adapter.device), ..adapter })
    }

    /// The device as it names itself, and what it is reached through.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that each part of the data may take: a quarter of the memory.
    pub(super) fn for_data(&self) -> usize {
        (self.memory / 4).min(self.largest_tensor)
    }

    /// Bytes of features that may go up before the steps that use them: an eighth of the memory at most.
    pub(super) fn for_window(&self) -> usize {
        WINDOW.min(self.memory / 8).min(self.largest_tensor)
    }

    /// Bytes that clients of a stack, or the rows of an evaluation, may take: what data and window leave.
    pub(super) fn for_clients(&self) -> usize {
        self.memory / 8 * 3
    }

    /// How many clients train together that take `client` bytes each and share tensors of `tensor` bytes each.
    ///
    /// Errors: `Kind::Config` if not even one fits.
    pub(super) fn clients(&self, batch_size: usize, client: usize, tensor: usize) -> Result<usize> {
        let fit = self.for_clients() / client.max(1);
        if fit == 0 {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "config `host.device-memory = {}`: one client with batches of {batch_size} takes about {} MiB beside \
                     the data; use at least {}, or a smaller `train.batch-size`",
                    self.memory / MIB,
                    client.div_ceil(MIB),
                    (client.div_ceil(3).saturating_mul(8)).div_ceil(MIB)
                ),
            ));
        }
        let in_a_buffer = self.largest_tensor / tensor.max(1);
        if in_a_buffer == 0 {
            return Err(Fault::new(
                Kind::Config,
                format!(
                    "training on {} — one client with batches of {batch_size} needs a buffer of {} MiB, the device's hold \
                     {}; use a smaller `train.batch-size`, or `--device cpu`",
                    self.name,
                    tensor.div_ceil(MIB),
                    self.largest_tensor / MIB
                ),
            ));
        }
        Ok(fit.min(in_a_buffer).min(MOST_CLIENTS))
    }
}

/// An adapter that wgpu reaches. Without an index: the first that is no software rasterizer.
#[cfg(feature = "gpu")]
fn graphics(index: Option<usize>) -> Result<(Device, &'static str)> {
    use burn::tensor::DeviceType;
    let adapters = devices(DeviceType::Wgpu)?;
    let found = match index {
        Some(index) => adapters.get(index),
        None => adapters.iter().find(|device| !is_software(device)),
    };
    match found {
        Some(device) => Ok((device.clone(), "wgpu")),
        None => Err(no_adapter(index, &adapters)),
    }
}

#[cfg(not(feature = "gpu"))]
fn graphics(index: Option<usize>) -> Result<(Device, &'static str)> {
    Err(crate::config::not_built(DeviceChoice::Gpu(index)))
}

#[cfg(feature = "gpu")]
fn is_software(device: &Device) -> bool {
    *device == Device::wgpu(burn::tensor::DeviceKind::Cpu)
}

/// That none of the adapters is the one that was asked for, and which there are.
#[cfg(feature = "gpu")]
fn no_adapter(index: Option<usize>, adapters: &[Device]) -> anyhow::Error {
    let name =
        |device: &Device| answer(device).map_or_else(|why| root_cause(&why).to_owned(), |properties| properties.name);
    let label = |(index, device): (usize, &Device)| match is_software(device) {
        true => format!("`gpu:{index}` ({}, software, slower than `cpu`)", name(device)),
        false => format!("`gpu:{index}` ({})", name(device)),
    };
    let list = adapters.iter().enumerate().map(label).collect::<Vec<_>>().join(", ");
    match index {
        Some(index) if !list.is_empty() => Fault::new(
            Kind::Config,
            format!("config `host.device = \"gpu:{index}\"`: no adapter has this index; there is {list}"),
        ),
        None if !list.is_empty() => Fault::new(
            Kind::Data,
            format!(
                "no GPU was found through Vulkan, Metal, DirectX 12 or OpenGL, but only {list}; name it, or use \
                 `--device cpu`"
            ),
        ),
        _ => Fault::new(
            Kind::Data,
            "no GPU was found through Vulkan, Metal, DirectX 12 or OpenGL; install its driver, or use `--device cpu`",
        ),
    }
}

/// An NVIDIA card by its index among those that the driver shows; the first without one.
#[cfg(feature = "cuda")]
fn cuda(index: Option<usize>) -> Result<(Device, &'static str)> {
    use burn::tensor::DeviceType;
    let cards = devices(DeviceType::Cuda)?;
    match (cards.get(index.unwrap_or(0)), index) {
        (Some(card), _) => Ok((card.clone(), CUDA)),
        (None, Some(index)) if !cards.is_empty() => Err(Fault::new(
            Kind::Config,
            format!("config `host.device = \"cuda:{index}\"`: the driver's last card is `cuda:{}`", cards.len() - 1),
        )),
        (None, _) => {
            Err(Fault::new(Kind::Data, "no CUDA device was found; install NVIDIA's driver, or use `--device cpu`"))
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: Option<usize>) -> Result<(Device, &'static str)> {
    Err(crate::config::not_built(DeviceChoice::Cuda(index)))
}

/// The devices that a kind of driver shows, in its order.
#[cfg(any(feature = "gpu", feature = "cuda"))]
fn devices(kind: burn::tensor::DeviceType) -> Result<Vec<Device>> {
    let what = format!("listing devices through {kind:?}");
    caught(|| Device::enumerate(kind).into_vec()).map_err(|why| {
        Fault::new(Kind::Data, format!("{what} — {}; check the drivers, or use `--device cpu`", root_cause(&why)))
    })
}

/// Computes e⁰ + e⁰ there: exponentials are what CUDA wants a file of its toolkit for. What the device says of itself, or
/// why there is no answer.
fn answer(device: &Device) -> Result<Properties, String> {
    let sum = || -> Result<Vec<f32>, String> {
        let sum = Tensor::<1>::zeros([2], device).exp().sum();
        let sum = sum.try_into_data().map_err(|error| error.to_string())?;
        sum.try_into_vec_as::<f32>().map_err(|error| format!("{error:?}"))
    };
    let sum = caught(sum)??;
    // Not every driver's exponential is exact.
    if !matches!(sum[..], [sum] if (sum - 2.0).abs() < 1e-3) {
        return Err(format!("e⁰ + e⁰ came out as {sum:?}"));
    }
    Ok(properties(device))
}

#[cfg(any(feature = "gpu", feature = "cuda"))]
fn properties(device: &Device) -> Properties {
    use burn::backend::DispatchDevice;
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => {
            let client = device.client();
            let properties = client.properties();
            // Beyond 4 GiB, places in a tensor would need more than 32 bits.
            let largest_buffer = properties.memory.max_page_size.min(u32::MAX.into());
            Properties {
                name: properties.identity.name.clone(),
                largest_buffer: usize::try_from(largest_buffer).unwrap_or(usize::MAX),
            }
        }
        other => unreachable!("a device of a driver is CubeCL's, this is {other:?}"),
    }
}

#[cfg(not(any(feature = "gpu", feature = "cuda")))]
fn properties(_device: &Device) -> Properties {
    unreachable!("this build opens no device")
}

#[cfg(test)]
fn gpu_is_required() -> bool {
    std::env::var_os("COLLA_REQUIRE_GPU").is_some()
}
