//! Whether error feedback can do its work with a compressor: it must lose less than it is given.
//!
//! What an upload loses is added to the next one. With E‖x − C(x)‖² < ‖x‖² that stays bounded (Karimireddy et al.,
//! arXiv:1901.09847, assumption A); otherwise it grows from round to round. Codecs that are unbiased are often of the
//! second kind: rand-k that multiplies by n/k loses n/k − 1 times the square of what it is given.
//! Where in the flow: before round 1. A compressor whose manifest does not say that it never lengthens a vector is tried
//! on one, with instances of its own. What it never does: refuse a run, or touch what is kept of clients.

use super::{StageSpec, Upload, compress::Compressor, measures::squared_norm};
use crate::{
    client::{ClientId, ClientStates},
    error::short,
    plugin::NormEffect,
    random::{Purpose, Stream},
    train::Layout,
};
use anyhow::Result;

/// Deviation of the values that are tried, about that of an update's.
const DEVIATION: f64 = 1.0 / 1024.0;

/// What to know of the compressor's error feedback before the run; `None` where it is off or there is nothing to say.
pub fn note(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Option<String> {
    let plugin = &spec.plugin;
    if !plugin.error_feedback() || plugin.manifest().norm != NormEffect::Raises {
        return None;
    }
    // What fails here fails in the first round, which names the client.
    let loss = loss(spec, run_seed, layout).ok().filter(|loss| *loss >= 1.0)?;
    // One digit is as much as one vector can tell.
    let (name, times) = (&plugin.manifest().name, short((10.0 * loss.sqrt()).round() / 10.0));
    let advice = match plugin.parameters().bool("unbiased") {
        Some(true) => "set its `unbiased` to false",
        _ => "turn it off, or let the codec lose less",
    };
    Some(format!(
        "`{name}` with `error-feedback`: of a random vector it loses {times} times the length. Error feedback adds what is \
         lost to the next upload, so that it grows from round to round, and the run may diverge; {advice}"
    ))
}

/// ‖x − C(x)‖² / ‖x‖² for a vector x of normal values.
fn loss(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<f64> {
    let mut stream = Stream::new(run_seed, Purpose::FeedbackTrial, 0, 0);
    let given: Vec<f32> = (0..layout.len()).map(|_| (DEVIATION * stream.normal()) as f32).collect();
    let mut decoded = given.clone();
    let states = ClientStates::default();
    let upload = Upload { round: 1, client: ClientId(0), received: &spec.initial_weights, states: &states };
    Compressor::new(spec, run_seed, layout)?.transfer(0, &mut decoded, &upload)?;
    let lost: Vec<f32> = given.iter().zip(&decoded).map(|(given, decoded)| given - decoded).collect();
    Ok(squared_norm(&lost) / squared_norm(&given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config, plugin,
        train::{TensorInfo, TensorRole},
    };

    /// Of a compressor on a matrix of 40,000 weights.
    fn note_of(name: &str, parameters: &str) -> Option<String> {
        let parameters = toml::from_str(&format!("error-feedback = true\n{parameters}")).unwrap();
        let given = config::Plugin { parameters, ..config::Plugin::shipped(name) };
        let plugin = plugin::load(&given, &[]).unwrap();
        let spec = StageSpec { plugin, position: 0, initial_weights: vec![0.0; 40_000].into() };
        let tensor = TensorInfo { name: "w".into(), shape: vec![200, 200], role: TensorRole::Weight, offset: 0 };
        note(&spec, 42, &Layout { tensors: vec![tensor] })
    }

    #[test]
    fn codecs_that_lose_more_than_they_are_given_are_told_of_with_what_to_do() {
        // (n/k − 1) times the square: √99 = 9.95 times the length.
        let randk = note_of("randk", "ratio = 0.01").unwrap();
        let times: f64 = randk.split("it loses ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((times - 9.95).abs() < 1.0, "{randk}");
        assert!(randk.starts_with("`randk` with `error-feedback`: ") && randk.ends_with("set its `unbiased` to false"));
        for (name, parameters) in [("qsgd", "bits = 2"), ("count-sketch", ""), ("signsgd", "scale = 'unit'")] {
            let note = note_of(name, parameters).unwrap_or_else(|| panic!("nothing is said of {name}"));
            assert!(note.ends_with("; turn it off, or let the codec lose less"), "{note}");
        }
    }

    #[test]
    fn nothing_is_said_of_codecs_that_lose_less() {
        for (name, parameters) in [
            ("randk", "ratio = 0.01\nunbiased = false"),
            ("topk", "ratio = 0.01"),
            ("qsgd", "bits = 8"),
            ("quantize", ""),
            ("half", ""),
            ("signsgd", ""),
            ("powersgd", ""),
            ("eden", "unbiased = false"),
        ] {
            assert_eq!(note_of(name, parameters), None, "{name}");
        }
    }
}
