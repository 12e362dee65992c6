//! Whether what may be kept of clients finds room, asked before the run.
//!
//! Where in the flow: once, when plugins, model and partition are known. What it never does: reserve anything.

use crate::error::{Fault, Kind};
use anyhow::Result;

/// The most that a run may keep: so many values for each of so many clients.
#[derive(Clone, Copy, Debug)]
pub struct WorstCase {
    pub values: usize,
    pub clients: usize,
}

impl WorstCase {
    pub fn bytes(&self) -> u64 {
        [self.values, self.clients].iter().fold(4, |bytes, &n| bytes.saturating_mul(n as u64))
    }

    /// `limit_bytes`: how much of it stays in memory. Where the system does not say how much is available, nothing is
    /// checked. Errors: `Kind::Data` with the numbers.
    pub fn check(&self, limit_bytes: u64) -> Result<()> {
        self.check_against(limit_bytes, available_bytes())
    }

    fn check_against(&self, limit_bytes: u64, available: Option<u64>) -> Result<()> {
        let in_memory = self.bytes().min(limit_bytes);
        match available {
            Some(available) if in_memory > available => {
                let WorstCase { values, clients } = self;
                Err(Fault::new(
                    Kind::Data,
                    format!(
                        "client state — up to {values} values for each of {clients} clients, {in_memory} bytes of it in memory, \
                         where {available} are available; lower `host.state-memory`, beyond which state goes to a file"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// `MemAvailable` of `/proc/meminfo`, which other systems than Linux do not have.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    #[test]
    fn what_stays_in_memory_is_held_against_what_is_available() {
        // 2000 · 100 · 4 bytes = 800,000.
        let worst = WorstCase { values: 2000, clients: 100 };
        assert_eq!(worst.bytes(), 800_000);
        worst.check_against(u64::MAX, Some(800_000)).unwrap();
        worst.check_against(1000, Some(1000)).unwrap();
        worst.check_against(u64::MAX, None).unwrap();
        let error = worst.check_against(u64::MAX, Some(799_999)).unwrap_err();
        assert_eq!(exit_code(&error), 4);
        for part in ["2000 values", "100 clients", "800000 bytes", "799999", "`host.state-memory`"] {
            assert!(error.to_string().contains(part), "{part} is not in {error}");
        }
        let endless = WorstCase { values: usize::MAX, clients: 3 };
        assert_eq!(endless.bytes(), u64::MAX);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn available_memory_is_known_on_linux() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
