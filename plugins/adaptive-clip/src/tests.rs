use super::*;
use colla_plugin_sdk::abi::op;
use colla_plugin_sdk::testing::Testbed;

fn plugin(parameters: &[(&str, f64)]) -> Testbed<AdaptiveClip> {
    let given: Vec<_> = parameters.iter().map(|&(name, value)| (name, value.into())).collect();
    Testbed::new(&given)
}

/// A round in which the updates of ten clients are clipped and summed: the bound that it had.
fn round(plugin: &mut Testbed<AdaptiveClip>, number: u64, norms: &[f32; 10]) -> f64 {
    plugin.circumstances(number, 0);
    let bound = plugin.call(op::ROUND_BEGIN, &Map::new()).unwrap().f64(NORM_BOUND).unwrap();
    let rows = norms.map(|norm| {
        let sent = plugin.apply(&[0.6 * norm, -0.8 * norm], 1).unwrap();
        let norm2 = sent.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        assert!(norm2 <= bound * bound);
        [10.0, 1.0, 0.1, 0.0, 0.0, 0.0, norm2]
    });
    assert_eq!(plugin.weigh(&rows.map(|row| [row[0], row[1], row[2], row[3]])).unwrap(), [1.0; 10]);
    assert_eq!(plugin.denominator(&rows, &[1.0; 10]), Ok(10.0));
    let metrics = plugin.call(op::ROUND_END, &Map::new()).unwrap();
    assert_eq!(metrics.f64("clip_norm"), Some(bound));
    bound
}

const NORMS: [f32; 10] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];

#[test]
fn the_bound_moves_by_the_distance_of_the_share_from_the_quantile() {
    // Three of ten within 3.5, against a half: C·exp(−0.2·(0.3 − 0.5)).
    let mut plugin = plugin(&[("norm", 3.5), ("count-noise", 0.0)]);
    assert_eq!(round(&mut plugin, 1, &NORMS), 3.5);
    let second = round(&mut plugin, 2, &NORMS);
    assert!((second - 3.5 * 0.04f64.exp()).abs() < 1e-12, "{second}");
    // The same three once more.
    assert!((round(&mut plugin, 3, &NORMS) - 3.5 * 0.08f64.exp()).abs() < 1e-12);
}

#[test]
fn without_noise_the_bound_ends_at_the_quantile() {
    for (quantile, below, above) in [(0.5, 5.0, 6.0), (0.8, 8.0, 9.0), (0.1, 1.0, 2.0)] {
        let mut plugin = plugin(&[("quantile", quantile), ("count-noise", 0.0)]);
        let bound = (1..=400).map(|number| round(&mut plugin, number, &NORMS)).last().unwrap();
        assert!(bound > 0.99 * below && bound < 1.01 * above, "{quantile}: {bound}");
    }
}

#[test]
fn the_share_has_the_deviation_of_the_count_noise() {
    let shares: Vec<f64> = (1..=4_000)
        .map(|number| {
            let mut plugin = plugin(&[("norm", 3.5), ("count-noise", 0.1)]);
            plugin.circumstances(number, 0);
            plugin.call(op::ROUND_BEGIN, &Map::new()).unwrap();
            let rows = NORMS.map(|norm| [10.0, 1.0, 0.1, 0.0, 0.0, 0.0, f64::from(norm).powi(2)]);
            plugin.denominator(&rows, &[1.0; 10]).unwrap();
            plugin.call(op::ROUND_END, &Map::new()).unwrap().f64("share_within_bound").unwrap()
        })
        .collect();
    let mean = shares.iter().sum::<f64>() / 4_000.0;
    let deviation = (shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4_000.0).sqrt();
    // Five standard errors each.
    assert!((mean - 0.3).abs() < 5.0 * 0.1 / 4_000f64.sqrt(), "{mean}");
    assert!((deviation / 0.1 - 1.0).abs() < 5.0 / 8_000f64.sqrt(), "{deviation}");
}

#[test]
fn a_round_without_a_sum_keeps_the_bound_and_the_data_plane_learns_it_through_sync() {
    let mut control = plugin(&[("norm", 2.5)]);
    control.call(op::ROUND_BEGIN, &Map::new()).unwrap();
    assert_eq!(control.call(op::ROUND_END, &Map::new()).unwrap(), Map::new().with("clip_norm", 2.5));
    let mut data = plugin(&[]);
    let broadcast = control.call(op::ROUND_BEGIN, &Map::new()).unwrap();
    data.call(op::SYNC, &broadcast).unwrap();
    let clipped = data.apply(&[3.0, 4.0], 1).unwrap();
    assert!((clipped[0] - 1.5).abs() < 1e-6 && (clipped[1] - 2.0).abs() < 1e-6, "{clipped:?}");
}

#[test]
fn a_resumed_run_goes_on_with_the_bound() {
    let mut lived = plugin(&[]);
    for number in 1..=5 {
        round(&mut lived, number, &NORMS);
    }
    let saved = lived.call(op::SAVE, &Map::new()).unwrap();
    let mut resumed = plugin(&[]);
    resumed.call(op::LOAD, &saved).unwrap();
    assert_eq!(round(&mut resumed, 6, &NORMS), round(&mut lived, 6, &NORMS));
    let error = resumed.call(op::LOAD, &Map::new()).unwrap_err();
    assert_eq!(error.message, "what was saved has no `norm`");
}

#[test]
fn a_cohort_without_norms_is_refused() {
    let error = plugin(&[]).denominator(&[[10.0, 1.0, 0.1, 0.0]], &[1.0]).unwrap_err();
    assert_eq!(error.message, "the table of the cohort has no norms of updates");
}
