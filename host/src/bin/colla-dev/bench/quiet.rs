//! How busy the machine is: processor time of all processes, and waiting until there is little of it. Linux; elsewhere
//! nothing is known, and every run counts as disturbed.

use super::{machine::cores, run::DISTURBED};
use std::fs;
use std::time::{Duration, Instant};

/// Ticks of a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Seconds of processor time used by the whole machine since it started.
pub fn busy() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).map_while(|t| t.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    Some((ticks.iter().take(8).sum::<f64>() - ticks.get(3)? - ticks.get(4)?) / TICKS)
}

/// Seconds used by this process and the children that it has waited for; the second alone.
pub fn own() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    let children = ticks(13)? + ticks(14)?;
    Some(((ticks(11)? + ticks(12)? + children) / TICKS, children / TICKS))
}

/// Largest resident memory so far of a running process, MiB.
pub fn peak_memory(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kibibytes| kibibytes / 1024.0)
}

/// Load average of the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Waits, at most so long, for a second in which other processes hardly run.
pub fn wait(most: Duration) {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    while start.elapsed() < most {
        let Some(before) = busy() else { return };
        std::thread::sleep(second);
        if busy().is_some_and(|after| after - before <= DISTURBED * cores() as f64) {
            return;
        }
    }
}
