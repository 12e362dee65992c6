//! What a compressor sends: bytes for each weight in the first round of a small experiment, which needs no file and is
//! the same on every machine. What it never does: write anything down.

use anyhow::{Context, Result, ensure};
use colla::config::{Config, Plugin};
use colla::record::{Observer, RoundRecord, RunInfo};
use colla::run::Experiment;

/// Ten clients with 382 or 383 rows of optdigits each, 55,210 weights.
const SETTINGS: [(&str, &str); 9] = [
    ("data.cache", "false"),
    ("partition.kind", "\"iid\""),
    ("partition.num-clients", "10"),
    ("partition.cache", "false"),
    ("model.hidden", "[200, 200]"),
    ("train.local-epochs", "1"),
    ("federation.num-server-rounds", "1"),
    ("federation.fraction-train", "1.0"),
    ("evaluate.clients", "\"never\""),
];

/// Uploaded bytes over uploaded weights, with the compressor's defaults.
pub fn bytes_a_weight(compressor: &str) -> Result<f64> {
    let settings: Vec<(String, String)> = SETTINGS.map(|(key, value)| (key.into(), value.into())).into();
    let mut config = Config::load(None, &settings)?;
    config.plugins.push(Plugin::shipped(compressor));
    let mut counted = Counted::default();
    Experiment::from_config(config)?.run(&mut counted).with_context(|| format!("a round with `{compressor}`"))?;
    ensure!(counted.weights > 0, "no client of the round with `{compressor}` sent anything");
    Ok(counted.bytes as f64 / counted.weights as f64)
}

#[derive(Default)]
struct Counted {
    model: usize,
    bytes: u64,
    weights: u64,
}

impl Observer for Counted {
    fn start(&mut self, info: &RunInfo) -> Result<()> {
        self.model = info.num_weights;
        Ok(())
    }

    fn round(&mut self, record: &RoundRecord) -> Result<()> {
        self.bytes += record.upload_bytes;
        self.weights += record.clients * self.model as u64;
        Ok(())
    }
}
